package command

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quickBytes is how much a system call moves in a few µs: for so long a processor of Go's scheduler can wait for it.
const quickBytes = 16 << 10

// quickConn is a connection whose short reads and writes do not tell Go's scheduler of their system calls: those of a socket that
// does not block take less time than two processors of the scheduler that change places for it.
type quickConn struct {
	net.Conn
	raw   syscall.RawConn
	read  transfer
	write transfer
}

// transfer is a system call on some bytes, which may have to wait.
type transfer struct {
	call uintptr                      // number of the system call
	try  func(fd uintptr) (done bool) // once, for all calls

	mu    sync.Mutex
	bytes []byte     // guarded by mu
	n     int        // guarded by mu: bytes that were moved
	errno unix.Errno // guarded by mu
}

// newQuickConn is conn itself if it is no socket.
func newQuickConn(conn net.Conn) net.Conn {
	var socket syscall.Conn
	switch conn := conn.(type) {
	case *net.TCPConn:
		socket = conn
	case *net.UnixConn:
		socket = conn
	default:
		return conn
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return conn
	}
	c := &quickConn{Conn: conn, raw: raw}
	c.read.call, c.read.try = unix.SYS_READ, c.read.once
	c.write.call, c.write.try = unix.SYS_WRITE, c.write.once
	return c
}

// once makes the system call, with mu held. It says no if that would have had to wait.
func (t *transfer) once(fd uintptr) (done bool) {
	for {
		n, _, errno := unix.RawSyscall(t.call, fd, uintptr(unsafe.Pointer(&t.bytes[0])), uintptr(len(t.bytes)))
		if errno == unix.EINTR {
			continue
		}
		t.n, t.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// Read is part of [net.Conn].
func (c *quickConn) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > quickBytes {
		return c.Conn.Read(p)
	}
	t := &c.read
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes = p
	err := c.raw.Read(t.try)
	t.bytes = nil
	switch {
	case err != nil:
		return 0, err
	case t.errno != 0:
		return 0, c.fail("read", t.errno)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Write is part of [net.Conn].
func (c *quickConn) Write(p []byte) (n int, err error) {
	if len(p) > quickBytes {
		return c.Conn.Write(p)
	}
	t := &c.write
	t.mu.Lock()
	defer t.mu.Unlock()
	for n < len(p) && err == nil {
		t.bytes = p[n:]
		switch err = c.raw.Write(t.try); {
		case err != nil:
		case t.errno != 0:
			err = c.fail("write", t.errno)
		default:
			n += t.n
		}
	}
	t.bytes = nil
	return n, err
}

// fail is the error that the connection itself would give.
func (c *quickConn) fail(call string, errno unix.Errno) error {
	return &net.OpError{
		Op: call, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(call, errno),
	}
}

// CloseWrite is that of the socket.
func (c *quickConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// SyscallConn is part of [syscall.Conn].
func (c *quickConn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }
