package cgi

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestLifetime ends lifetimes in all ways, before and after somebody waits for the end.
func TestLifetime(t *testing.T) {
	reason := errors.New("reason")
	gone := errors.New("client gone")
	for _, test := range []struct {
		name    string
		timeout time.Duration
		end     func(l *lifetime, request context.CancelCauseFunc)
		cause   error
	}{
		{"cancel", time.Hour, func(l *lifetime, _ context.CancelCauseFunc) { l.cancel(reason) }, reason},
		{"the first cancel counts", 0, func(l *lifetime, _ context.CancelCauseFunc) { l.cancel(reason); l.cancel(gone) }, reason},
		{"close", 0, func(l *lifetime, _ context.CancelCauseFunc) { l.close() }, context.Canceled},
		{"request", time.Hour, func(_ *lifetime, end context.CancelCauseFunc) { end(gone) }, gone},
		{"request, then cancel", 0, func(l *lifetime, end context.CancelCauseFunc) { end(gone); l.cancel(reason) }, gone},
		{"cancel, then request", 0, func(l *lifetime, end context.CancelCauseFunc) { l.cancel(reason); end(gone) }, reason},
		{"timeout", time.Nanosecond, func(*lifetime, context.CancelCauseFunc) {}, errTimeout},
	} {
		for _, waits := range []bool{false, true} {
			request, end := context.WithCancelCause(t.Context())
			l := &lifetime{request: request, begun: time.Now(), timeout: test.timeout}
			if waits {
				l.Done()
			}
			test.end(l, end)
			derived, cancel := context.WithCancel(l)
			select {
			case <-derived.Done():
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: a derived context does not end", test.name)
			}
			if err := l.Err(); err != context.Canceled {
				t.Errorf("%s: Err is %v, want %v", test.name, err, context.Canceled)
			}
			if cause := context.Cause(derived); cause != test.cause {
				t.Errorf("%s: cause is %v, want %v", test.name, cause, test.cause)
			}
			cancel()
			l.close()
			end(nil)
		}
	}
}

// TestLifetimeErr looks that the end is seen without Done: by the clock, too.
func TestLifetimeErr(t *testing.T) {
	l := &lifetime{request: t.Context(), begun: time.Now(), timeout: time.Hour}
	if err := l.Err(); err != nil {
		t.Errorf("at the beginning Err is %v", err)
	}
	l.begun = l.begun.Add(-time.Hour)
	if err := l.Err(); err != context.Canceled || l.awaited.Load() != nil {
		t.Errorf("after the timeout Err is %v, somebody waits: %t", err, l.awaited.Load() != nil)
	}
	if cause := context.Cause(l); cause != errTimeout {
		t.Errorf("cause is %v, want %v", cause, errTimeout)
	}
}
