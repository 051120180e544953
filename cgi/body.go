package cgi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// maxSpoolMemory is how many bytes of a body of unknown length are kept in memory before a file is made.
const maxSpoolMemory = 64 << 10

// defaultBodyTimeout is how long the next bytes of a body may take.
const defaultBodyTimeout = time.Minute

// body is the request's message-body as the script reads it: exactly length bytes, RFC 3875 §4.2.
type body struct {
	io.Reader
	length int64
	live   *clientBody // nil: the body has all arrived
	file   *os.File    // nil: none
	named  bool        // file could not be removed while it is open: Windows
}

// openBody prepares a body of length bytes. One of known length comes from the client as the script reads; when it breaks
// off, its canceller gets the reason. A body of unknown length, -1, is received first, so that its length is known.
func openBody(client *clientBody, length, limit int64, tempDir string) (*body, error) {
	switch {
	case limit >= 0 && length > limit:
		return nil, errBodyTooLarge
	case length > 0:
		return &body{Reader: liveBody{client}, length: length, live: client}, nil
	}
	src := io.Reader(client)
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
		return nil, err
	}
	b := &body{}
	if b.file, err = os.CreateTemp(tempDir, "wagi-body-"); err != nil {
		return nil, spoolError(err)
	}
	b.named = os.Remove(b.file.Name()) != nil
	if err := b.fill(io.MultiReader(&head, src)); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// fill reads all of src into b's file.
func (b *body) fill(src io.Reader) (err error) {
	dst := &spoolFile{file: b.file}
	if b.length, err = io.Copy(dst, src); dst.err != nil {
		return spoolError(dst.err)
	}
	if err == nil {
		_, err = b.file.Seek(0, io.SeekStart)
	}
	b.Reader = b.file
	return err
}

// spoolError is about a file, which err names.
func spoolError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", errNoSpace, err)
	}
	return fmt.Errorf("spool request body: %w", err)
}

// Close removes the file of a spooled body and ends the timeout of a live one.
func (b *body) Close() {
	if b.live != nil {
		b.live.stop()
	}
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

// liveBody is a body that is still coming: when it breaks off the script ends.
type liveBody struct {
	client *clientBody
}

func (l liveBody) Read(p []byte) (int, error) {
	n, err := l.client.Read(p)
	if err != nil && err != io.EOF {
		l.client.cancel(err)
	}
	return n, err
}

// clientBody is a body as the client sends it. When a read of it waits longer than timeout, cancel gets errBodySlow;
// that the read then ends is the canceller's affair.
type clientBody struct {
	r       io.Reader
	ctx     context.Context
	cancel  context.CancelCauseFunc // of ctx
	timeout time.Duration
	timer   *time.Timer  // nil: no timeout
	since   atomic.Int64 // when the read began that waits, in Unix nanoseconds; 0: none waits
	broken  atomic.Bool  // a read has failed
}

func newClientBody(ctx context.Context, cancel context.CancelCauseFunc, r io.Reader, timeout time.Duration) *clientBody {
	c := &clientBody{r: r, ctx: ctx, cancel: cancel, timeout: timeout}
	if timeout > 0 {
		c.timer = time.AfterFunc(math.MaxInt64, c.check)
		c.timer.Reset(timeout)
	}
	return c
}

// check looks for a read that waits, and looks again when one may have waited too long.
func (c *clientBody) check() {
	left := c.timeout
	if since := c.since.Load(); since != 0 {
		left -= time.Since(time.Unix(0, since))
	}
	switch {
	case c.ctx.Err() != nil:
	case left <= 0:
		c.cancel(errBodySlow)
	default:
		c.timer.Reset(left)
	}
}

func (c *clientBody) Read(p []byte) (int, error) {
	c.since.Store(time.Now().UnixNano())
	n, err := c.r.Read(p)
	c.since.Store(0)
	if err != nil && err != io.EOF {
		c.broken.Store(true)
		err = fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	return n, err
}

// stop ends the timeout.
func (c *clientBody) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}
