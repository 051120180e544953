package guest

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	slice = time.Millisecond // that a guest computes before it lets others compute
	fresh = 100 * slice      // for which a light module counts as one that works
)

// turns bound how many guests compute for long at the same time. A guest that computes for less than a slice needs no
// turn, so guests that spin do not stand in the way of those that are quick. One that is in a system call keeps its
// turn, unless the call takes longer than a slice and others wait. Modules that wait take turns with each other.
//
// Many quick guests stand in the way as well. While a light module works, one that has only a few requests at a time, the
// requests of modules that have more need a turn from their begin.
type turns struct {
	few   int64                   // requests at a time of a light module
	held  atomic.Bool             // there are holders
	light [2]atomic.Pointer[lane] // light modules, the last ones that were none before

	mu      sync.Mutex
	free    int     // guarded by mu
	holders []*turn // guarded by mu
	waiting []*lane // guarded by mu: those with guests that wait, the next one first
	ticking bool    // guarded by mu: tick is going to be called
}

// lane is a module's part in the turns, which know it for longer than there is the module.
type lane struct {
	running atomic.Int64 // requests that have begun and not ended
	lightAt atomic.Int64 // when the module was last light, in ns, or somewhat earlier
	history history
	queue   []*turn // guarded by turns.mu: those that wait for a turn, the first first
}

// turn is a guest's part in the turns.
type turn struct {
	lane   *lane
	taken  bool          // the guest has one, or had when it began a system call
	inside bool          // a system call, with a turn at its begin
	calls  atomic.Uint64 // odd in a system call that began with a turn, until that is taken away
	seen   uint64        // guarded by turns.mu: calls at the last tick
	given  chan struct{} // gets an element when a guest that waits gets a turn
}

// processTurns are those of all modules, as the processors are. They leave a processor of Go's scheduler free, if there
// are two, which looks after everything else at once.
var processTurns = sync.OnceValue(func() *turns { return newTurns(runtime.GOMAXPROCS(0)) })

// Computing says whether guests are at work that compute for long.
func Computing() bool { return processTurns().held.Load() }

func newTurns(processors int) *turns {
	return &turns{few: int64(processors), free: max(processors-1, 1)}
}

// begin counts a request of a module. It says whether the request needs a turn at once.
func (s *turns) begin(l *lane, now time.Duration) bool {
	running := l.running.Add(1)
	if running > s.few {
		return l.history.long() || s.lightBeside(l, now)
	}
	// Nothing is written that is so already: processors would have to pass it on to each other.
	if now-time.Duration(l.lightAt.Load()) > fresh/8 {
		l.lightAt.Store(int64(now))
	}
	if s.light[0].Load() != l && s.light[1].Load() != l {
		s.light[1].Store(s.light[0].Swap(l))
	}
	return l.history.long()
}

// lightBeside says whether a light module works beside this one. A busy module is light itself now and then.
func (s *turns) lightBeside(l *lane, now time.Duration) bool {
	for i := range s.light {
		if other := s.light[i].Load(); other != nil && other != l && now-time.Duration(other.lightAt.Load()) < fresh {
			return true
		}
	}
	return false
}

// take waits for a turn, behind the others of the module that do, or until ctx ends.
func (s *turns) take(ctx context.Context, t *turn) {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.holders = append(s.holders, t)
		s.held.Store(true)
		t.taken = true
		s.mu.Unlock()
		return
	}
	if t.given == nil {
		t.given = make(chan struct{}, 1)
	}
	if len(t.lane.queue) == 0 {
		s.waiting = append(s.waiting, t.lane)
	}
	t.lane.queue = append(t.lane.queue, t)
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
	i := slices.Index(t.lane.queue, t)
	if i < 0 {
		<-t.given
		return false
	}
	if t.lane.queue = slices.Delete(t.lane.queue, i, i+1); len(t.lane.queue) == 0 {
		n := slices.Index(s.waiting, t.lane)
		s.waiting = slices.Delete(s.waiting, n, n+1)
	}
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

// pass gives a turn to the guest that has waited longest, of the module whose guests have. It is called with mu held.
func (s *turns) pass(from *turn) {
	i := slices.Index(s.holders, from)
	if len(s.waiting) == 0 {
		s.holders = slices.Delete(s.holders, i, i+1)
		s.held.Store(len(s.holders) > 0)
		s.free++
		return
	}
	l := s.waiting[0]
	s.waiting = slices.Delete(s.waiting, 0, 1)
	next := l.queue[0]
	if l.queue = slices.Delete(l.queue, 0, 1); len(l.queue) > 0 {
		s.waiting = append(s.waiting, l)
	}
	s.holders[i] = next
	next.seen = 0
	next.given <- struct{}{}
}

// tickLater is called with mu held.
func (s *turns) tickLater() {
	if !s.ticking && len(s.waiting) > 0 {
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
		if calls%2 == 1 && calls == t.seen && len(s.waiting) > 0 && t.calls.CompareAndSwap(calls, calls+1) {
			s.pass(t)
		}
		t.seen = calls
	}
	s.tickLater()
}

// enter begins a system call. A guest that has ended in one is still in it.
func (t *turn) enter() {
	if t.taken && !t.inside {
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
