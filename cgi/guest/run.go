package guest

import (
	"context"
	"crypto/rand"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// guest is one run of a module, as its system calls see it.
type guest struct {
	ctx         context.Context
	call        *Call
	env         *Environment // of call
	volumes     []*volume
	engine      engineContext
	descriptors []*descriptor // by number; nil: free
	streams     [3]descriptor
	table       [8]*descriptor // room for the first descriptors
	memory      api.Memory     // set for each system call
	exit        *ExitError     // nil: proc_exit was not called
	limit       *LimitError    // nil: it has not computed for too long
	stack       *stack         // of the function that was called
	maxStack    uint64         // bytes
	overflow    bool           // the stack was longer
	written     uint64         // pages, by its system calls
	printed     bool           // to its standard output, in its last system call
	meter       *meter
	began       time.Duration // on the clock of now
	work        *Work
	http        httpSession

	instance *instance // that it runs in
	phase    phase
	journal  *journal // nil: system calls are neither recorded nor answered from a record
	clock    uint64   // ns that the monotonic clock was ahead at the resume point
}

// guests are zero guests: one is too large to be made for each request.
var guests = sync.Pool{New: func() any { return new(guest) }}

// noInput is a stream that is at its end.
var noInput io.Reader = strings.NewReader("")

// guestKey is the key of a context under which system calls find their guest.
type guestKey struct{}

// engineContext is what the engine gets of a guest's context: it looks up the values that it knows in each call.
type engineContext struct {
	context.Context
	guest *guest
}

// Value finds the guest, and nothing else.
func (c *engineContext) Value(key any) any {
	if key == (guestKey{}) {
		return c.guest
	}
	return nil
}

// guestOf finds the guest whose system call has the context: the engine's, which may have wrapped it.
func guestOf(ctx context.Context) *guest {
	if c, ok := ctx.(*engineContext); ok {
		return c.guest
	}
	return ctx.Value(guestKey{}).(*guest)
}

// newGuest makes a guest with the descriptors that guests begin with.
func (m *Module) newGuest(ctx context.Context, call *Call) *guest {
	g := m.newBareGuest(ctx, call)
	g.descriptors = append(g.table[:0], &g.streams[0], &g.streams[1], &g.streams[2])
	if !call.NoVolumes {
		g.openVolumes(m)
	}
	return g
}

// newBareGuest makes a guest without descriptors.
func (m *Module) newBareGuest(ctx context.Context, call *Call) *guest {
	g := guests.Get().(*guest)
	g.ctx, g.call, g.maxStack = ctx, call, m.maxStack()
	g.http.outbound = m.outbound
	g.engine = engineContext{ctx, g}
	if g.work = call.Work; g.work == nil {
		g.work = &Work{}
		m.Begin(ctx, g.work)
	}
	g.work.beginGuest()
	g.meter = &g.work.meter
	g.began = g.meter.since
	if g.env = call.Env; g.env == nil {
		g.env = &Environment{}
	}
	stdin, stdout, stderr := call.Stdin, call.Stdout, call.Stderr
	if stdin == nil {
		stdin = noInput
	}
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	g.streams[0].reader, g.streams[1].writer, g.streams[2].writer = stdin, stdout, stderr
	g.streams[0].waits, g.streams[1].waits = call.Stdin != nil, call.Stdout != nil && call.Work == nil
	return g
}

// instanceConfig is the engine's part of a guest, the same for all: what differs is in the context.
func instanceConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().
		WithName("").               // a named module could run only once at a time
		WithStartFunctions().       // call calls the entrypoint
		WithRandSource(rand.Reader) // unused, but the default is seeded anew for each instance
}

// run runs the guest in an instance, an idle one if there is one.
func (g *guest) run(m *Module, entrypoint string) error {
	home := m.idle.begin()
	i := m.idle.take(home)
	if i == nil {
		var err error
		if i, err = m.newInstance(); err != nil {
			home.running.Done()
			return err
		}
	}
	g.instance = i
	err := m.timeCall(g, i, entrypoint)
	if i.memory != nil {
		g.call.Memory = uint64(len(i.memory.content()))
	}
	i.hostWritten = g.written
	if used := i; g.remains() { // i is set twice: in the closure it would be an allocation for each guest
		g.work.putBack = func() { m.release(home, used, err) }
	} else {
		m.release(home, used, err)
	}
	result := g.result(err)
	if result != nil {
		m.garbage.add(failedGarbage)
	}
	return result
}

// largeMemory is how many bytes a memory has at most that is put back before the answer leaves: it takes 0.1 µs a page.
const largeMemory = 16 << 20

// remains says whether the guest's instance is put back at the end of the work, as its memory is large.
func (g *guest) remains() bool {
	return g.call.Work != nil && g.instance.memory != nil && len(g.instance.memory.content()) > largeMemory
}

// result says how the guest ended, by the engine's error. The engine ends it by one of two means for many reasons.
func (g *guest) result(err error) error {
	switch {
	case err == nil:
		return nil
	case g.exit != nil && g.exit.Code == 0:
		return nil
	case g.exit != nil:
		return g.exit
	case g.limit != nil:
		return g.limit
	case g.overflow:
		return &TrapError{Reason: stackOverflow}
	case g.ctx.Err() != nil:
		return stopped(g.ctx)
	}
	return newTrapError(err)
}

// free closes the guest and keeps it for another run, unless requests of its own may still know it.
func (g *guest) free() {
	g.close()
	if g.http.outbound == nil {
		*g = guest{}
		guests.Put(g)
	}
}

// close ends what the guest has left open.
func (g *guest) close() {
	g.work.endGuest()
	g.call.Took = g.meter.since - g.began
	for _, d := range g.descriptors {
		if d != nil {
			d.close()
		}
	}
	for _, v := range g.volumes {
		v.root.Close()
	}
	g.http.close()
	if g.call.Work == nil {
		g.work.End()
	}
}
