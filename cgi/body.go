package cgi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// maxSpoolMemory is how many bytes of a body of unknown length are kept in memory before a file is made.
const maxSpoolMemory = 64 << 10

// What a script leaves of a body is read, for so long, to keep the connection.
// When more than lingerBytes are left net/http closes the connection.
const (
	lingerBytes = 256 << 10
	lingerTime  = 5 * time.Second
)

// ambiguous says whether another server might see the end of r elsewhere, so that the connection must end with it, RFC 9112 §6.1:
// it came with Transfer-Encoding and Content-Length, or with Transfer-Encoding by HTTP/1.0. As net/http hides the field that it
// does not obey, every chunked request and every body by HTTP/1.0 counts.
func ambiguous(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.ContentLength < 0 || r.ContentLength > 0 && r.ProtoMinor == 0)
}

// body is the request's message-body as the script reads it: exactly length bytes, RFC 3875 §4.2.
type body struct {
	io.Reader
	length int64
	live   *liveBody // nil: the body has all arrived
	file   *os.File  // nil: none
	named  bool      // file could not be removed while it is open: Windows
}

// openBody prepares the request's body. A body of known length comes from the client as the script reads; when it breaks
// off, cancel gets the reason. A body of unknown length is received first, so that its length is known.
func openBody(r *http.Request, limit int64, tempDir string, cancel context.CancelCauseFunc) (*body, error) {
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		return &body{Reader: http.NoBody}, nil
	case limit >= 0 && r.ContentLength > limit:
		return nil, errBodyTooLarge
	case r.ContentLength > 0:
		live := &liveBody{r: r.Body, cancel: cancel}
		live.left.Store(r.ContentLength)
		return &body{Reader: live, length: r.ContentLength, live: live}, nil
	}
	src := io.Reader(r.Body)
	if limit >= 0 {
		src = io.LimitReader(src, limit+1)
	}
	b, err := spool(src, tempDir)
	if err == nil && limit >= 0 && b.length > limit {
		b.Close()
		return nil, errBodyTooLarge
	}
	return b, err
}

// spool reads all of src, into memory while it is short, else into a file.
func spool(src io.Reader, tempDir string) (*body, error) {
	var head bytes.Buffer
	n, err := io.CopyN(&head, src, maxSpoolMemory)
	switch {
	case err == io.EOF:
		return &body{Reader: &head, length: n}, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	b := &body{}
	if b.file, err = os.CreateTemp(tempDir, "wagi-body-"); err != nil {
		return nil, fmt.Errorf("spool request body: %w", err)
	}
	b.named = os.Remove(b.file.Name()) != nil
	dst := &spoolFile{file: b.file}
	if b.length, err = io.Copy(dst, io.MultiReader(&head, src)); err == nil {
		_, err = b.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		b.Close()
		if dst.err != nil {
			return nil, fmt.Errorf("spool request body: %w", dst.err)
		}
		return nil, fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	b.Reader = b.file
	return b, nil
}

// Close removes the file of a spooled body.
func (b *body) Close() {
	if b.file != nil {
		b.file.Close()
	}
	if b.named {
		_ = os.Remove(b.file.Name()) // nothing more can be done about a file in a temporary directory
	}
}

// spoolFile remembers that it was the file that failed, not the client.
type spoolFile struct {
	file *os.File
	err  error
}

func (s *spoolFile) Write(p []byte) (n int, err error) {
	n, s.err = s.file.Write(p)
	return n, s.err
}

// liveBody is a body that is still coming.
type liveBody struct {
	r      io.Reader
	left   atomic.Int64 // bytes that the script has not read
	cancel context.CancelCauseFunc
}

// long is whether what is left is too much to be read for the sake of the connection.
func (l *liveBody) long() bool {
	return l.left.Load() > lingerBytes
}

func (l *liveBody) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.left.Add(-int64(n))
	if err != nil && err != io.EOF {
		l.cancel(fmt.Errorf("%w: %w", errBodyBroken, err))
	}
	return n, err
}
