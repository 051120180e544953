package guest

import (
	"context"
	"errors"
	"strings"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

// renewAfter is how many guests share a function: it keeps the stack of the deepest.
const renewAfter = 64

// state is what an instance is put back to after each guest.
type state struct {
	image   *image   // content of the memory
	least   uint64   // bytes of it; 0: as many as the module says
	globals []uint64 // values of those that the guest can change
}

// instance is what a guest runs in. It serves one guest after the other, each from the same state.
type instance struct {
	state      *state
	memory     *memory    // nil: the module has none
	module     api.Module // nil: each guest gets its own
	globals    []api.MutableGlobal
	written    api.MutableGlobal // of the pages that the guest has written to; nil: it does not tell
	budget     api.MutableGlobal // of elements that its tables may grow by; nil: they do not grow
	entrypoint string
	function   api.Function // the entrypoint; nil: not looked up yet
	stack      *stack       // of function
	runs       int

	hostWritten uint64 // pages that the guest's system calls have written to

	runner   api.Module            // nil: guests start at the beginning
	snapshot experimental.Snapshot // the stack at the resume point; nil: it has not been there
}

// newInstance makes an instance without the engine's part.
func (m *Module) newInstance() (*instance, error) {
	i := &instance{state: &m.state}
	if !m.memory {
		return i, nil
	}
	var err error
	i.memory, err = newMemory(m.image, m.limit)
	return i, err
}

// instantiate makes the engine's part, and runs the start function if there is one.
func (m *Module) instantiate(g *guest, i *instance) (err error) {
	ctx := context.Context(&g.engine)
	if i.memory != nil {
		ctx = experimental.WithMemoryAllocator(ctx, i.memory)
	}
	i.module, err = m.runtime.InstantiateModule(ctx, m.compiled, m.instance)
	if err != nil {
		i.module = nil
		return err
	}
	for _, name := range m.globalNames {
		i.globals = append(i.globals, i.module.ExportedGlobal(name).(api.MutableGlobal))
	}
	i.restoreGlobals()
	if m.written != "" {
		i.written = i.module.ExportedGlobal(m.written).(api.MutableGlobal)
	}
	if m.tableBudget != "" {
		i.budget = i.module.ExportedGlobal(m.tableBudget).(api.MutableGlobal)
		i.budget.Set(m.maxElements() - m.elements)
	}
	if err := m.growToLeast(i); err != nil || m.start == "" {
		return err
	}
	start := i.module.ExportedFunction(m.start)
	return g.invoke(start, stackOf(start))
}

// maxElements is how many elements its tables may have.
func (m *Module) maxElements() uint64 {
	return min(m.limit/elementSize, maxElements)
}

// growToLeast gives the memory the size that it has in the initial state, if that is more than the module says.
func (m *Module) growToLeast(i *instance) error {
	if i.memory == nil || m.least <= i.memory.least {
		return nil
	}
	if _, ok := i.module.Memory().Grow(uint32((m.least - i.memory.least) / pageSize)); !ok {
		return errors.New("memory cannot grow to its initial size")
	}
	i.memory.least = m.least
	return nil
}

func (i *instance) restoreGlobals() {
	for n, value := range i.state.globals {
		i.globals[n].Set(value)
	}
}

// call calls the entrypoint for a guest.
func (m *Module) call(g *guest, i *instance, entrypoint string) error {
	if i.module == nil {
		if err := m.instantiate(g, i); err != nil {
			return err
		}
		if err := m.initializeEach(g, i); err != nil {
			return err
		}
	}
	if i.runs++; i.function == nil || i.entrypoint != entrypoint || i.runs%renewAfter == 0 {
		i.function, i.entrypoint = i.module.ExportedFunction(entrypoint), entrypoint
		i.stack = stackOf(i.function)
	}
	err := g.invoke(i.function, i.stack)
	if i.stack.large() {
		m.garbage.add(i.stack.rest())
		i.function, i.stack = nil, nil
	}
	return err
}

// release puts the instance back to the initial state, for the next guest, or else closes it. The error is the guest's.
func (m *Module) release(home *shard, i *instance, err error) {
	defer home.running.Done()
	if m.config.NoReuse || !intact(err) || m.reset(i) != nil || !m.idle.put(home, i) {
		i.close()
	}
}

// intact says whether the engine has ended a guest in a way that leaves its instance usable. After a fault in the engine
// or in a system call it is not; after a stack overflow it is, less its stack, which call has dropped.
func intact(err error) bool {
	if err == nil {
		return true
	}
	_, exit := errors.AsType[*sys.ExitError](err)
	return exit || strings.HasPrefix(err.Error(), "wasm error: ")
}

var errShrink = errors.New("memory is as large as it may be and cannot shrink")

// reset puts the instance back to the initial state.
func (m *Module) reset(i *instance) error {
	if !m.recyclable {
		if i.budget != nil {
			m.garbage.add((m.maxElements() - i.budget.Get()) * elementSize)
		}
		i.dropModule()
		if i.memory == nil {
			return nil
		}
		return i.memory.reset(everyPage)
	}
	if i.memory != nil {
		if err := i.memory.reset(i.takeWritten()); err != nil {
			return err
		}
		if !i.shrink() {
			return errShrink
		}
	}
	i.restoreGlobals()
	return nil
}

// shrink gives the memory the size that a guest begins with. The engine can only grow: it asks for more and gets less.
func (i *instance) shrink() bool {
	if uint64(len(i.memory.content())) == i.memory.least {
		return true
	}
	i.memory.shrinking = true
	defer func() { i.memory.shrinking = false }()
	_, ok := i.module.Memory().Grow(1)
	return ok
}

// dropModule gives the engine's part up. The memory stays.
func (i *instance) dropModule() {
	if i.module != nil {
		_ = i.module.Close(context.Background()) // nothing of it can fail: files are ours
	}
	if i.runner != nil {
		_ = i.runner.Close(context.Background())
	}
	i.module, i.runner, i.globals, i.budget, i.function, i.snapshot, i.stack = nil, nil, nil, nil, nil, nil, nil
}

func (i *instance) close() {
	i.dropModule()
	if i.memory != nil {
		i.memory.close()
	}
}
