package cgi

import (
	"context"
	"math"
	"net"
	"syscall"
	"time"
)

// How often a look is taken whether the client of a script that runs for longer is still there: while its body is unread, and after
// that, when net/http looks, but not if the client has sent more than the request.
const (
	watchInterval     = 50 * time.Millisecond
	slowWatchInterval = time.Second
)

// connectionKey is the key of a context under which the connection of a client is found.
type connectionKey struct{}

// WithConnection makes the gateway see that a client of HTTP/1 has gone though the script has not read the request's body: net/http
// sees that only after it. It is for the ConnContext of an [http.Server]; conn is the system's own connection, below TLS.
func WithConnection(ctx context.Context, conn net.Conn) context.Context {
	system, ok := conn.(syscall.Conn)
	if !ok {
		return ctx
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, connectionKey{}, raw)
}

// watchClient ends a script whose client has gone. It begins to look after delay.
func (a *awaited) watchClient(conn syscall.RawConn, body *incoming, delay time.Duration) {
	a.watch = time.AfterFunc(math.MaxInt64, func() {
		switch {
		case a.Err() != nil:
		case hungUp(conn):
			a.cancel(errEnded)
		case !body.last():
			a.watch.Reset(slowWatchInterval)
		default:
			a.watch.Reset(watchInterval)
		}
	})
	a.watch.Reset(delay)
}
