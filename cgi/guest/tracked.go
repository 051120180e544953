package guest

import (
	"bytes"
	"context"
	"math/bits"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// A small module gets a second form, tracked, whose guests note the pages that they write to, so that the system need not be
// asked. That saves less than 2 µs of each reset, and makes code that stores a lot slower, so it is for guests that take some µs
// themselves. The form is made while the module serves, when it has had some hundred guests, and shares the initial state.
const (
	trackedTime  = 6 * time.Microsecond        // that guests may take, in the mean
	sampledTime  = 20 * time.Microsecond       // that one is taken to take at most, and the mean at first
	sampleEvery  = 16                          // guests of an instance
	trackedSize  = 128 << 10                   // bytes of a module; the original is kept until the form is made
	trackedBytes = 64 * instrument.TrackedPage // of memory: more pages cannot be told apart
	everyPage    = ^uint64(0)                  // of a guest that does not note them
)

// tracker makes the tracked form of a module and says when it is used.
type tracker struct {
	module   *Module
	original []byte
	mean     atomic.Int64 // time of the module's guests, in which the last ones weigh most, in ns
	begun    atomic.Bool  // to make the form
	ctx      context.Context
	cancel   context.CancelFunc
	making   sync.WaitGroup
	form     atomic.Pointer[Module] // nil: not made, or there is none
}

// newTracker is nil where there is nothing to gain, and for modules whose guests send requests: those system calls note no pages.
func (m *Module) newTracker(ctx context.Context, wasm []byte, pages uint64) *tracker {
	if !m.recyclable || !m.memory || m.config.NoReuse || m.config.Resume || m.outbound != nil ||
		len(wasm) > maxTracked() || max(pages*pageSize, m.least) > trackedBytes {
		return nil
	}
	t := &tracker{module: m, original: bytes.Clone(wasm)}
	t.mean.Store(int64(sampledTime))
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return t
}

// maxTracked is of how many bytes a module may be that gets a tracked form: less where memory is short, as to make the form may take three
// times that of the plain one.
func maxTracked() int {
	if debug.SetMemoryLimit(-1) < smallMemory {
		return trackedSize / 4
	}
	return trackedSize
}

// samples says whether the time of an instance's next guest is to be measured. Its first one has the instance made.
func (t *tracker) samples(i *instance) bool {
	return t != nil && i.runs%sampleEvery == sampleEvery-1
}

// add notes the time of a guest. Of two at once one may be lost.
func (t *tracker) add(used time.Duration) {
	const weight = 16
	mean := t.mean.Load()
	t.mean.Store(mean + int64(min(used, sampledTime)-time.Duration(mean))/weight)
	if t.quick() && t.begun.CompareAndSwap(false, true) {
		t.making.Go(t.make)
	}
}

// timeCall is call for a guest whose time may be measured.
func (m *Module) timeCall(g *guest, i *instance, entrypoint string) error {
	if !m.tracker.samples(i) {
		return m.call(g, i, entrypoint)
	}
	start := now()
	err := m.call(g, i, entrypoint)
	m.tracker.add(now() - start)
	return err
}

func (t *tracker) quick() bool {
	return t.mean.Load() < int64(trackedTime)
}

// forms has an element while a form is made. It is one at a time: for a module of 100 KB that can take 140 MB.
var forms = make(chan struct{}, 1)

// make makes the tracked form.
func (t *tracker) make() {
	select {
	case forms <- struct{}{}:
		defer func() { <-forms }()
	case <-t.ctx.Done():
		return
	}
	form, err := t.module.newTracked(t.ctx, t.original)
	t.original = nil
	if err != nil {
		log.G(t.ctx).WithError(err).WithField("module", t.module.config.Name).Debug("module has no tracked form")
		return
	}
	t.form.Store(form)
}

// newTracked is the module in its tracked form.
func (m *Module) newTracked(ctx context.Context, wasm []byte) (*Module, error) {
	code, err := instrument.RewriteTracked(wasm)
	if err != nil {
		return nil, err
	}
	form := &Module{
		config: m.config, instance: m.instance, memory: true, limit: m.limit, state: m.state, idle: newPool(),
		recyclable: true, globalNames: code.Globals, written: code.Written, tracker: m.tracker,
	}
	if err = form.loadRewritten(ctx, code.Binary); err == nil {
		err = form.link(ctx, outline{memory: true})
	}
	if err != nil {
		_ = form.closeEngine(ctx)
		return nil, err
	}
	return form, nil
}

// form is the module in the form that its next guest is to have.
func (m *Module) form() *Module {
	if t := m.tracker; t != nil && t.quick() {
		if form := t.form.Load(); form != nil {
			return form
		}
	}
	return m
}

// close closes the tracked form once its guests have ended. None of the module may run any more.
func (t *tracker) close(ctx context.Context) error {
	t.cancel()
	t.making.Wait()
	form := t.form.Load()
	if form == nil {
		return nil
	}
	form.idle.close()
	return form.closeEngine(ctx)
}

// note notes that a system call is going to write to memory, as tracked guests do.
func (g *guest) note(addr, size uint32) {
	if size == 0 {
		return
	}
	first := uint64(addr) / instrument.TrackedPage
	more := (uint64(addr)+uint64(size)-1)/instrument.TrackedPage - first
	g.written |= bits.RotateLeft64(everyPage>>(63-min(more, 63)), int(first%64))
}

// takeWritten says what pages the instance's guest and its system calls have written to, and forgets the guest's.
func (i *instance) takeWritten() uint64 {
	if i.written == nil {
		return everyPage
	}
	pages := i.written.Get() | i.hostWritten
	i.written.Set(0)
	return pages
}
