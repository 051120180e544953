package cgi

import (
	"bytes"

	"github.com/containerd/log"
)

const (
	maxStderrLine = 4 << 10 // bytes; a longer line is logged in pieces
	maxStderr     = 1 << 20 // bytes of one guest
)

// stderr sends what a guest prints on its standard error to the log, a line at a time.
type stderr struct {
	logger func() *log.Entry
	line   []byte
	left   int // bytes that may still be logged
}

func newStderr(logger func() *log.Entry) *stderr {
	return &stderr{logger: logger, left: maxStderr}
}

func (s *stderr) Write(p []byte) (int, error) {
	n := len(p)
	if s.left < 0 {
		return n, nil
	}
	if s.left -= n; s.left < 0 {
		s.flush()
		s.logger().Warn("guest prints too much on its standard error: the rest is dropped")
		return n, nil
	}
	for len(p) > 0 {
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
	return n, nil
}

// flush logs the line unless it is blank.
func (s *stderr) flush() {
	if line := bytes.TrimRight(s.line, "\r"); len(line) > 0 {
		s.logger().WithField("line", string(line)).Info("guest stderr")
	}
	s.line = s.line[:0]
}
