package cgi

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSlots lets many requests wait, give up and take turns, and looks that never too many have a slot and none is lost.
func TestSlots(t *testing.T) {
	const guests, queue = 3, 20
	s := newSlots(guests, queue)
	var running, served, busy, gone atomic.Int64
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(200))*time.Microsecond)
				switch err := s.acquire(ctx, nil); {
				case errors.Is(err, errBusy):
					busy.Add(1)
				case err != nil:
					gone.Add(1)
				default:
					if n := running.Add(1); n > guests {
						t.Errorf("%d have one of %d slots", n, guests)
					}
					time.Sleep(10 * time.Microsecond)
					served.Add(1)
					running.Add(-1)
					s.release()
				}
				cancel()
			}
		})
	}
	wait.Wait()
	if served.Load() == 0 || busy.Load() == 0 || gone.Load() == 0 {
		t.Errorf("%d served, %d refused, %d gave up: want some of each", served.Load(), busy.Load(), gone.Load())
	}
	if s.free.Load() != guests || len(s.handed) != 0 {
		t.Errorf("%d free and %d handed slots are left, want %d and 0", s.free.Load(), len(s.handed), guests)
	}
}

// TestSlotsRefused looks that a request is refused when as many wait as may.
func TestSlotsRefused(t *testing.T) {
	for _, queue := range []int{-1, 0, 2} {
		s := newSlots(1, queue)
		s.free.Store(-int64(max(queue, 0))) // so many wait
		if err := s.acquire(t.Context(), nil); err != errBusy {
			t.Errorf("queue of %d: got %v, want %v", queue, err, errBusy)
		}
	}
}
