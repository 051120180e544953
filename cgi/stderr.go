package cgi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/containerd/log"
)

const (
	maxStderrLine = 4 << 10 // bytes; a longer line is logged in pieces
	maxStderr     = 1 << 20 // bytes of one guest

	// stderrLineCost is what a line counts beyond its bytes: so much, at least, the log adds to it.
	stderrLineCost = 128
)

// stderr sends what a guest prints on its standard error to the log, a line at a time, and as it is to a file.
type stderr struct {
	logger func() *log.Entry
	name   string   // of the file; empty: none
	file   *os.File // nil: not open yet
	line   []byte
	left   int // bytes that may still be logged
}

// newStderr makes the standard error of a guest. The caller closes it.
func newStderr(logger func() *log.Entry, file string) *stderr {
	return &stderr{logger: logger, name: file, left: maxStderr}
}

// stderrFile is where, below dir, WAGI keeps what the guests of a route print on their standard error; without dir: nowhere.
func stderrFile(dir, route string) string {
	if dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(route))
	return filepath.Join(dir, hex.EncodeToString(sum[:]), "module.stderr")
}

func (s *stderr) Write(p []byte) (int, error) {
	n := len(p)
	if s.left < 0 {
		return n, nil
	}
	if s.left -= n; s.left >= 0 {
		s.keep(p)
	}
	for len(p) > 0 && s.left >= 0 {
		piece := p[:min(len(p), maxStderrLine-len(s.line))]
		end := bytes.IndexByte(piece, '\n')
		if end >= 0 {
			piece = piece[:end]
		}
		s.line = append(s.line, piece...)
		p = p[len(piece):]
		if end >= 0 {
			p = p[1:]
		}
		if end >= 0 || len(s.line) == maxStderrLine {
			s.flush()
		}
	}
	if s.left < 0 {
		s.flush()
		s.logger().Warn("guest prints too much on its standard error: the rest is dropped")
	}
	return n, nil
}

// flush logs the line unless it is blank.
func (s *stderr) flush() {
	if line := bytes.TrimRight(s.line, "\r"); len(line) > 0 {
		s.logger().WithField("line", string(line)).Info("guest stderr")
		s.left -= stderrLineCost
	}
	s.line = s.line[:0]
}

// keep appends p to the file, and gives up on it when that fails.
func (s *stderr) keep(p []byte) {
	if s.name == "" {
		return
	}
	err := s.open()
	if err == nil {
		_, err = s.file.Write(p)
	}
	if err != nil {
		s.logger().WithError(err).Warn("standard error of the guest is not kept")
		s.name = ""
	}
}

func (s *stderr) open() (err error) {
	if s.file != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.name), 0o755); err != nil {
		return err
	}
	s.file, err = os.OpenFile(s.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	return err
}

// close logs the last line and closes the file.
func (s *stderr) close() {
	s.flush()
	if s.file != nil {
		s.file.Close()
	}
}
