package cgi

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lifetime is the context of a script: it ends with the request, at the timeout or by cancel. As most scripts have ended before
// anybody waits for that, the timer and all else that waiting takes are made by the first Done; before it, Err looks.
// The script's own end is close.
type lifetime struct {
	request context.Context
	begun   time.Time
	timeout time.Duration // after begun; 0 and negative: none
	watches bool          // for the client to go: by HTTP/1, where net/http does not always
	body    *incoming     // as in exchange

	over    atomic.Bool // cause is set
	awaited atomic.Pointer[awaited]
	mu      sync.Mutex // is held while one of these is set
	cause   error
}

// awaited is a lifetime for those who wait.
type awaited struct {
	context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer // nil: no timeout
	watch  *time.Timer // nil: nobody looks whether the client is there
}

// cancel ends the script. It does nothing if something else has.
func (l *lifetime) cancel(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.awaited.Load(); a != nil {
		a.cancel(cause)
	} else if !l.over.Load() && l.request.Err() == nil {
		l.cause = cause
		l.over.Store(true)
	}
}

// close frees what waiting took.
func (l *lifetime) close() {
	l.cancel(nil)
	if a := l.awaited.Load(); a != nil {
		a.stop()
	}
}

func (a *awaited) stop() {
	for _, timer := range []*time.Timer{a.timer, a.watch} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// Err is part of [context.Context]. It looks at the clock itself: on a busy machine timers are late.
func (l *lifetime) Err() error {
	switch passed := time.Since(l.begun); {
	case l.timeout > 0 && passed >= l.timeout:
		l.cancel(errTimeout)
	case l.watches && passed >= watchInterval:
		l.await()
	}
	return l.err()
}

// err is Err without a look at the clock, for where the guest is going to look, at its next interrupt, or has ended.
func (l *lifetime) err() error {
	switch a := l.awaited.Load(); {
	case a != nil:
		return a.Err()
	case l.over.Load():
		return context.Canceled
	}
	return l.request.Err()
}

// Done is part of [context.Context].
func (l *lifetime) Done() <-chan struct{} { return l.await().Done() }

// Value is part of [context.Context]. By it a derived context, and [context.Cause], find what Done has made.
func (l *lifetime) Value(key any) any { return l.await().Value(key) }

// Deadline is part of [context.Context]. The timeout is no deadline: its cause is errTimeout.
func (l *lifetime) Deadline() (time.Time, bool) { return l.request.Deadline() }

func (l *lifetime) await() *awaited {
	if a := l.awaited.Load(); a != nil {
		return a
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.awaited.Load(); a != nil {
		return a
	}
	a := &awaited{}
	switch {
	case l.over.Load():
		a.Context, a.cancel = context.WithCancelCause(context.WithoutCancel(l.request))
		a.cancel(l.cause)
	default:
		a.Context, a.cancel = context.WithCancelCause(l.request)
		if l.timeout > 0 {
			a.timer = time.AfterFunc(l.timeout-time.Since(l.begun), func() { a.cancel(errTimeout) })
		}
		if conn, ok := l.request.Value(connectionKey{}).(syscall.RawConn); ok && l.watches {
			a.watchClient(conn, l.body, watchInterval-time.Since(l.begun))
		}
	}
	l.awaited.Store(a)
	return a
}
