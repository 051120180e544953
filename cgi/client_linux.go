package cgi

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp says whether the other end of a connection has closed it, or at least will send no more. What it has sent before may
// still be unread.
func hungUp(conn syscall.RawConn) bool {
	var n int
	err := conn.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 0) // where it fails n is not 1
	})
	return err == nil && n == 1
}
