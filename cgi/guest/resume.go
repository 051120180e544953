package guest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/containerd/log"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

// renewResumed is how many guests go on in an instance: each snapshot of its stack is 16 bytes longer than the last.
const renewResumed = 4096

// phase says where a guest is on its way through the resume point.
type phase int

const (
	awake    phase = iota // it is past the point, or has none
	starting              // it has not come to the point
	parked                // it has, and was stopped there
	waking                // it is put back to the point
)

// arrive is what happens at the resume point: a guest that starts is stopped here, and one that was put back is let go on
// once there is a snapshot for the next one.
func (g *guest) arrive(s experimental.Snapshotter) {
	g.instance.snapshot = s.Snapshot()
	if g.phase == starting {
		if h := g.stack.handlers; h.IsValid() && h.Len() > 0 {
			g.journal.end(errTry) // snapshots lack them
		}
		g.phase = parked
		panic(sys.NewExitError(0))
	}
	g.phase = awake
}

// resumption serves the guests of a module that go on from its resume point.
//
// Each instance has to come to the point by itself, as the engine cannot copy a stack from one to another. The first one
// does; the others repeat what it did, with the answers that its system calls got, and so come to the same state.
type resumption struct {
	module     *Module
	runner     wazero.CompiledModule
	transcript transcript
	state      state         // at the point
	open       []openAtPoint // descriptors at the point, by number
	clock      uint64        // monotonic clock at the point, in ns
	large      bool          // the stack is, at the point

	idle     *pool
	ctx      context.Context // of starters
	cancel   context.CancelFunc
	starters sync.WaitGroup

	waiters  atomic.Int32   // length of waiting
	mu       sync.Mutex     // taken before that of a shard
	waiting  []chan started // guarded by mu; guests without an instance, the oldest first
	wanted   int            // guarded by mu; instances to start though no guest waits for them
	starting int            // guarded by mu; starters that run
}

// started is an instance at the resume point, or why there is none.
type started struct {
	instance *instance
	err      error
}

// run runs one guest from the resume point.
func (r *resumption) run(ctx context.Context, call *Call) error {
	home := r.idle.begin()
	i, err := r.take(ctx, home)
	if err != nil {
		home.running.Done()
		return err
	}
	g := r.module.newBareGuest(ctx, call)
	defer g.free()
	g.instance, g.clock = i, r.clock
	if err := r.thaw(g); err != nil {
		r.put(home, i)
		home.running.Done()
		return err
	}
	g.phase = waking
	i.runs++
	err = r.invoke(g)
	usable := g.phase == awake && intact(err)
	if g.remains() {
		g.work.putBack = func() { r.release(home, i, usable) }
	} else {
		r.release(home, i, usable)
	}
	return g.result(err)
}

// release puts the instance back to the resume point, or else closes it and wants another.
func (r *resumption) release(home *shard, i *instance, usable bool) {
	defer home.running.Done()
	m := r.module
	old := i.runs >= renewResumed || i.stack.large() && !r.large
	if m.config.NoReuse || old || !usable || m.reset(i) != nil {
		i.close()
		r.want(1)
		return
	}
	r.put(home, i)
}

// take gives a guest an instance: an idle one, or the first that another guest or a starter has done with.
func (r *resumption) take(ctx context.Context, home *shard) (*instance, error) {
	if ctx.Err() != nil {
		return nil, stopped(ctx)
	}
	if i := r.idle.take(home); i != nil {
		return i, nil
	}
	w := make(chan started, 1)
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	r.waiters.Add(1)
	r.mu.Unlock()
	r.feed() // one may have become idle meanwhile
	r.grow()
	select {
	case s := <-w:
		return s.instance, s.err
	case <-ctx.Done():
		r.leave(home, w)
		return nil, stopped(ctx)
	}
}

// put makes an instance idle, or gives it to the guest that has waited longest.
func (r *resumption) put(home *shard, i *instance) {
	if !r.idle.put(home, i) {
		i.close()
	}
	if r.waiters.Load() > 0 {
		r.feed()
	}
}

// feed gives idle instances to guests that wait.
func (r *resumption) feed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting) > 0 {
		i := r.idle.take(&r.idle.shards[0])
		if i == nil {
			return
		}
		r.next() <- started{instance: i}
	}
}

// next removes the guest that has waited longest. The caller holds mu.
func (r *resumption) next() chan started {
	w := r.waiting[0]
	r.waiting = r.waiting[1:]
	r.waiters.Add(-1)
	return w
}

// leave ends the waiting of a guest.
func (r *resumption) leave(home *shard, w chan started) {
	r.mu.Lock()
	at := slices.Index(r.waiting, w)
	if at >= 0 {
		r.waiting = slices.Delete(r.waiting, at, at+1)
		r.waiters.Add(-1)
	}
	r.mu.Unlock()
	if at >= 0 {
		return
	}
	if s := <-w; s.instance != nil {
		r.put(home, s.instance)
	}
}

// want asks for so many instances that no guest waits for.
func (r *resumption) want(n int) {
	r.mu.Lock()
	r.wanted = min(r.wanted+n, len(r.idle.shards))
	r.mu.Unlock()
	r.grow()
}

// grow runs as many starters as there is need for.
func (r *resumption) grow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starting < min(len(r.waiting)+r.wanted, len(r.idle.shards)) && r.ctx.Err() == nil {
		r.starting++
		r.starters.Go(r.starter)
	}
}

// starter starts instances while there is need for them.
func (r *resumption) starter() {
	for r.needed() {
		i, err := r.repeat(r.ctx)
		if err == nil {
			r.put(&r.idle.shards[0], i)
			continue
		}
		if r.ctx.Err() == nil {
			log.G(r.ctx).WithError(err).WithField("module", r.module.config.Name).Warn("resume point was not reached again")
		}
		r.fail(err)
	}
}

// needed says whether the starter has to start one more instance; else it ends.
func (r *resumption) needed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ctx.Err() != nil:
	case len(r.waiting) > 0:
		return true
	case r.wanted > 0:
		r.wanted--
		return true
	}
	r.starting--
	return false
}

// fail tells the guest that has waited longest why there is no instance for it.
func (r *resumption) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 {
		r.next() <- started{err: err}
	}
}

// close ends the starters, and closes all instances when all guests have ended.
func (r *resumption) close() {
	r.idle.wait()
	r.cancel()
	r.starters.Wait()
	r.idle.close()
	if r.state.image != nil {
		r.state.image.close()
	}
}
