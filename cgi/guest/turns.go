package guest

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// slice is how long a guest computes before it lets others compute.
const slice = time.Millisecond

// turns bound how many guests compute for long at the same time. A guest that computes for less than a slice needs no
// turn, so guests that spin do not stand in the way of those that are quick. One that is in a system call keeps its
// turn, unless the call takes longer than a slice and others wait.
type turns struct {
	mu      sync.Mutex
	free    int     // guarded by mu
	holders []*turn // guarded by mu
	queue   []*turn // guarded by mu: those that wait for one, the first first
	ticking bool    // guarded by mu: tick is going to be called
}

// turn is a guest's part in the turns.
type turn struct {
	taken  bool          // the guest has one, or had when it began a system call
	inside bool          // a system call, with a turn at its begin
	calls  atomic.Uint64 // odd in a system call that began with a turn, until that is taken away
	seen   uint64        // guarded by turns.mu: calls at the last tick
	given  chan struct{} // gets an element when a guest that waits gets a turn
}

// processTurns are those of all modules, as the processors are. They leave a processor of Go's scheduler free, if there
// are two, which looks after everything else at once.
var processTurns = sync.OnceValue(func() *turns { return &turns{free: max(runtime.GOMAXPROCS(0)-1, 1)} })

// take waits for a turn, behind the others that do, or until ctx ends.
func (s *turns) take(ctx context.Context, t *turn) {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.holders = append(s.holders, t)
		t.taken = true
		s.mu.Unlock()
		return
	}
	if t.given == nil {
		t.given = make(chan struct{}, 1)
	}
	s.queue = append(s.queue, t)
	s.tickLater()
	s.mu.Unlock()
	select {
	case <-t.given:
		t.taken = true
	case <-ctx.Done():
		t.taken = !s.withdraw(t)
	}
}

// withdraw ends the wait for a turn. It says whether that was in time; else the turn has come.
func (s *turns) withdraw(t *turn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, t)
	if i < 0 {
		<-t.given
		return false
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	return true
}

// release gives the turn back, if the guest has one.
func (s *turns) release(t *turn) {
	if t.leave(); !t.taken {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.taken = false
	s.pass(t)
}

// pass gives a turn to the guest that has waited longest. It is called with mu held.
func (s *turns) pass(from *turn) {
	i := slices.Index(s.holders, from)
	if len(s.queue) == 0 {
		s.holders = slices.Delete(s.holders, i, i+1)
		s.free++
		return
	}
	next := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.holders[i] = next
	next.seen = 0
	next.given <- struct{}{}
}

// tickLater is called with mu held.
func (s *turns) tickLater() {
	if !s.ticking && len(s.queue) > 0 {
		s.ticking = true
		time.AfterFunc(slice, s.tick)
	}
}

// tick takes the turns of guests that are in the same system call as at the last tick.
func (s *turns) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticking = false
	for _, t := range slices.Clone(s.holders) {
		calls := t.calls.Load()
		if calls%2 == 1 && calls == t.seen && len(s.queue) > 0 && t.calls.CompareAndSwap(calls, calls+1) {
			s.pass(t)
		}
		t.seen = calls
	}
	s.tickLater()
}

// enter begins a system call.
func (t *turn) enter() {
	if t.taken {
		t.inside = true
		t.calls.Add(1)
	}
}

// leave ends a system call, if the guest is in one. It says whether the guest has lost its turn in it.
func (t *turn) leave() (lost bool) {
	if !t.inside {
		return false
	}
	t.inside = false
	calls := t.calls.Load()
	t.taken = calls%2 == 1 && t.calls.CompareAndSwap(calls, calls+1)
	return !t.taken
}
