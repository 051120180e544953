package command

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"containerd-shim-wagi-v1/cgi/guest"
)

// started lies after the deadline by which net/http ends a read, and before all others.
var started = time.Now()

// deadlineListener accepts connections whose read deadlines cost nothing until a read waits for long. net/http sets six of them for each
// request.
type deadlineListener struct{ net.Listener }

func (l deadlineListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &deadlineConn{Conn: newQuickConn(conn)}, nil
}

// deadlineConn keeps the read deadline to itself. The connection below has an earlier one or the same, and when that ends a read too early,
// the read goes on.
type deadlineConn struct {
	net.Conn
	wrote   atomic.Bool   // since the last read of a request
	answers atomic.Uint32 // that were followed by such a read

	mu       sync.Mutex
	deadline time.Time // guarded by mu; zero: none
	below    time.Time // guarded by mu: that of Conn
	reading  int       // guarded by mu: reads of Conn that have begun
}

// SetReadDeadline is part of [net.Conn].
func (c *deadlineConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.reading > 0 {
		return c.pass()
	}
	return nil
}

// SetDeadline is part of [net.Conn].
func (c *deadlineConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// pass gives Conn the deadline, unless that of Conn comes first. It is called with mu held.
func (c *deadlineConn) pass() error {
	if c.deadline.IsZero() || !c.below.IsZero() && !c.deadline.Before(c.below) {
		return nil
	}
	return c.set()
}

// set gives Conn the deadline. It is called with mu held.
func (c *deadlineConn) set() error {
	c.below = c.deadline
	return c.Conn.SetReadDeadline(c.deadline)
}

// Write is part of [net.Conn].
func (c *deadlineConn) Write(p []byte) (int, error) {
	c.wrote.Store(true)
	return c.Conn.Write(p)
}

// Read is part of [net.Conn]. After each second response it lets other connections go first, if no guest computes for long: meanwhile the
// next request may come, which then takes one system call instead of two and a wait. It does not after each: while some connections go on
// without a wait Go's scheduler does not look after those that wait.
func (c *deadlineConn) Read(p []byte) (int, error) {
	answered := len(p) > 1 && c.wrote.CompareAndSwap(true, false) // a single byte is read by net/http beside a handler
	if answered && c.answers.Add(1)%2 == 0 && !guest.Computing() {
		runtime.Gosched()
	}
	for {
		if err := c.begin(); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		if again := c.end(err); !again {
			return n, err
		}
	}
}

func (c *deadlineConn) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadline.IsZero() && c.deadline.Before(started) { // neither system nor clock need be asked
		return os.ErrDeadlineExceeded
	}
	c.reading++
	return c.pass()
}

// end says whether the read met a deadline that is not the connection's.
func (c *deadlineConn) end(err error) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading--
	return errors.Is(err, os.ErrDeadlineExceeded) && !c.over() && c.set() == nil
}

func (c *deadlineConn) over() bool {
	return !c.deadline.IsZero() && time.Until(c.deadline) <= 0
}

// CloseWrite ends what the client reads: net/http does so before it closes a connection whose client still sends.
func (c *deadlineConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
