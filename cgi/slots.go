package cgi

import (
	"context"
	"sync/atomic"
)

// slots bound how many guests run at a time, and how many requests wait for one to end. While none waits they share a
// counter and no lock. Nil slots bound nothing.
type slots struct {
	free   atomic.Int64  // slots; below 0: so many requests wait
	queue  int64         // how many may
	handed chan struct{} // slots on their way to requests that wait, the first to the one that has waited longest
}

func newSlots(guests, queue int) *slots {
	s := &slots{queue: int64(max(queue, 0)), handed: make(chan struct{}, guests)}
	s.free.Store(int64(guests))
	return s
}

// acquire takes a slot and waits for one if need be. Its error is errBusy or the cause of the end of ctx. The caller releases the slot.
func (s *slots) acquire(ctx context.Context, metrics *routeMetrics) error {
	if s == nil {
		return nil
	}
	n := s.free.Add(-1)
	if n >= 0 {
		return nil
	}
	if n < -s.queue && s.leave() {
		return errBusy
	}
	if metrics != nil {
		metrics.queued.Inc()
		defer metrics.queued.Dec()
	}
	select {
	case <-s.handed:
		return nil
	case <-ctx.Done():
	}
	if s.leave() {
		return context.Cause(ctx)
	}
	<-s.handed
	return nil
}

// leave gives up waiting. It says no if a slot is on its way already.
func (s *slots) leave() bool {
	for n := s.free.Load(); n < 0; n = s.free.Load() {
		if s.free.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

func (s *slots) release() {
	if s != nil && s.free.Add(1) <= 0 {
		s.handed <- struct{}{}
	}
}
