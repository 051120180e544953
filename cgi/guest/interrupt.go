package guest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

const (
	blocked  = 100 * time.Microsecond // a read or write that takes longer has waited for the client
	transfer = 16 << 10               // bytes of input, which are as much work for any server: they are not the guest's
	longest  = 10 * slice             // CPU time that a guest is charged with at a time

	// lookAfter is how much work in system calls, in about so many ns, may pass between two looks at the clock.
	lookAfter    = 1 << 14
	callWork     = 1 << 7  // a call
	fileWork     = 1 << 13 // a call that the host's file system has to do with
	partWork     = 1 << 8  // a byte of a path, each second of which may be a directory to go through
	entryWork    = 1 << 10 // an entry of a directory
	stringWork   = 1 << 5  // an argument or a variable
	bytesPerWork = 1 << 3  // that are read or written in a ns
)

var clockStart = time.Now()

// history is what guests of a module have computed so far, each: a mean in ns in which the last ones weigh most.
type history struct {
	mean atomic.Int64
}

// add counts a guest. Where two are added at once one of them may be lost. Among quick ones a quick one makes no difference,
// and processors do not have to pass the mean on to each other.
// One that others held up weighs no more than it must to be seen.
func (h *history) add(used time.Duration) {
	const weight = 16
	mean := h.mean.Load()
	if quick := int64(slice / 8); mean > quick || int64(used) > quick {
		h.mean.Store(mean + (int64(min(used, longest))-mean)/weight)
	}
}

// long says whether the next guest is likely to compute for long.
func (h *history) long() bool {
	return h.mean.Load() > int64(slice)
}

// meter measures how long a guest computes, and takes turns for it. System calls are computing, but for the time in
// which they wait.
type meter struct {
	turns *turns
	turn  turn
	limit time.Duration // of CPU time; 0: none

	start  time.Duration // on the clock of now
	since  time.Duration // on the clock of now, that the guest computes
	thread time.Duration // threadTime then, with a limit
	used   time.Duration // for computing, before that
	cpu    time.Duration // used of it as CPU time, with a limit
	until  time.Duration // used at the end of the slice
	work   int           // in system calls since the last look at the clock
	waited bool          // the guest may have waited in the system call that it is in, or for its turn to begin
}

// pause begins a time in which the guest may have to wait.
func (m *meter) pause() {
	m.count()
	m.waited = true
}

// resume ends that time.
func (m *meter) resume() {
	if at := now(); at-m.since < blocked {
		m.countTo(at)
	} else {
		m.restartAt(at)
	}
}

// wait is pause where the guest is sure to wait: it gives its turn back.
func (m *meter) wait() {
	m.pause()
	if m.turn.taken {
		m.turns.release(&m.turn)
		m.oweTurn()
	}
}

// restart begins to measure.
func (m *meter) restart() {
	m.restartAt(now())
}

func (m *meter) restartAt(now time.Duration) {
	m.since = now
	if m.limit > 0 {
		m.thread = threadTime()
	}
}

// now is the time on a clock of the meters' own: that of time.Now costs twice as much.
func now() time.Duration {
	return time.Since(clockStart)
}

func (m *meter) count() {
	m.countTo(now())
}

// countTo adds what the guest has computed. Where a system call has brought it to another thread, the difference of the
// threads' times means nothing, but is never taken for more than the time that has passed, or for much.
func (m *meter) countTo(now time.Duration) {
	passed := now - m.since
	m.used, m.since = m.used+passed, now
	if m.limit > 0 {
		thread := threadTime()
		m.cpu += min(max(thread-m.thread, 0), passed, longest)
		m.thread = thread
	}
}

// oweTurn makes the guest wait for a turn before it goes on for long.
func (m *meter) oweTurn() {
	m.until = m.used
}

// yield waits for a turn if the guest needs one, behind the others that do.
func (m *meter) yield(ctx context.Context) {
	m.count()
	m.work = 0
	if m.used >= m.until {
		m.turns.release(&m.turn)
		m.turns.take(ctx, &m.turn)
		m.until = m.used + slice
		m.restart()
	}
}

// enter and leave are the beginning and the end of a system call.
func (m *meter) enter() {
	m.turn.enter()
}

func (m *meter) leave() {
	if m.turn.leave() {
		m.oweTurn()
	}
}

// due says whether it is time for a look at the clock, or for others to compute.
func (m *meter) due() bool {
	return m.work >= lookAfter || m.used >= m.until
}

// interrupt is called by a guest that computes, each 0.1 to 1 ms. It does not return to one that is to stop.
func interrupt(ctx context.Context, _ []uint64) {
	guestOf(ctx).interrupt()
}

func (g *guest) interrupt() {
	g.goOn()
	g.meter.yield(g.ctx)
	if g.meter.limit > 0 && g.meter.cpu > g.meter.limit {
		g.limit = &LimitError{g.meter.limit}
	}
	g.overflow = g.stack.size() > g.maxStack
	if g.limit != nil || g.overflow || g.ctx.Err() != nil {
		panic(sys.NewExitError(sys.ExitCodeContextCanceled))
	}
}

// worked counts work of a system call that may have much to do: between two parts of it the guest is interrupted as if
// it computed itself.
func (g *guest) worked(ns int) {
	if g.meter.work += ns; g.meter.due() {
		g.interruptCall()
	}
}

// interruptCall interrupts a system call. It stands apart so that worked is inlined.
func (g *guest) interruptCall() {
	g.meter.leave()
	g.interrupt()
	g.meter.enter()
}
