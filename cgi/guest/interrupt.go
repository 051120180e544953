package guest

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

// slice is how long a guest computes before it lets others compute.
const slice = time.Millisecond

// turns bound how many guests compute for long at the same time. A guest that computes for less than a millisecond
// needs no turn, and none that waits has one, so guests that spin do not stand in the way of those that are quick.
type turns chan struct{} // has an element for each guest whose turn it is

// processTurns are those of all modules, as the processors are. They leave a processor of Go's scheduler free, if there
// are two, which looks after everything else at once.
var processTurns = sync.OnceValue(func() turns { return make(turns, max(runtime.GOMAXPROCS(0)-1, 1)) })

// meter measures how long a guest computes, and takes turns for it.
type meter struct {
	turns turns
	limit time.Duration // of CPU time; 0: none
	start time.Time

	since  time.Duration // after start, that the guest computes
	thread time.Duration // threadTime then, with a limit
	used   time.Duration // for computing, before that
	cpu    time.Duration // used of it as CPU time, with a limit
	begun  time.Duration // used at the begin of the slice
	taken  bool          // the guest has a turn
}

// pause begins a time in which the guest does not compute.
func (m *meter) pause() {
	m.count()
	if m.taken {
		m.release()
		m.begun = m.used - slice // to go on for long it needs another turn
	}
}

// resume ends that time, and is the begin of the first.
func (m *meter) resume() {
	m.since = time.Since(m.start)
	if m.limit > 0 {
		m.thread = threadTime()
	}
}

// count adds what the guest has computed. Where a system call has brought it to another thread, the difference of the
// threads' times means nothing, but is never taken for more than the time that has passed.
func (m *meter) count() {
	passed := time.Since(m.start) - m.since
	m.used += passed
	if m.limit > 0 {
		m.cpu += min(max(threadTime()-m.thread, 0), passed)
	}
}

func (m *meter) release() {
	if m.taken {
		<-m.turns
		m.taken = false
	}
}

// yield waits for a turn if the guest needs one, behind the others that do.
func (m *meter) yield(ctx context.Context) {
	m.count()
	if m.used-m.begun >= slice {
		m.release()
		select {
		case m.turns <- struct{}{}:
			m.taken = true
		case <-ctx.Done():
		}
		m.begun = m.used
	}
	m.resume()
}

// interrupt is called by a guest that computes, each 0.1 to 1 ms. It does not return to one that is to stop.
func interrupt(ctx context.Context, _ []uint64) {
	g := ctx.Value(guestKey{}).(*guest)
	g.meter.yield(g.ctx)
	if g.meter.limit > 0 && g.meter.cpu > g.meter.limit {
		g.limit = &LimitError{g.meter.limit}
	}
	if g.limit != nil || g.ctx.Err() != nil {
		panic(sys.NewExitError(sys.ExitCodeContextCanceled))
	}
}
