package command

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// deadlineListener accepts connections whose read deadlines cost nothing until a read waits for long. net/http sets six of them for each
// request.
type deadlineListener struct{ net.Listener }

func (l deadlineListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &deadlineConn{Conn: conn}, nil
}

// deadlineConn keeps the read deadline to itself. The connection below has an earlier one or the same, and when that ends a read too early,
// the read goes on.
type deadlineConn struct {
	net.Conn

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

// pass gives Conn the deadline, if its own is later or over. It is called with mu held.
func (c *deadlineConn) pass() error {
	switch {
	case c.below.IsZero() && c.deadline.IsZero():
		return nil
	case !c.below.IsZero() && (c.deadline.IsZero() || !c.deadline.Before(c.below)) && time.Until(c.below) > 0:
		return nil
	}
	c.below = c.deadline
	return c.Conn.SetReadDeadline(c.deadline)
}

// Read is part of [net.Conn].
func (c *deadlineConn) Read(p []byte) (int, error) {
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
	if c.over() {
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
	return errors.Is(err, os.ErrDeadlineExceeded) && !c.over()
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
