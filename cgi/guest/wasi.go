package guest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

const (
	preview1 = "wasi_snapshot_preview1"
	unstable = "wasi_unstable"
)

// function is a system call of WASI. It is an api.GoModuleFunction.
type function struct {
	params string // one letter each: i is an i32, l an i64. The result is an errno, an i32; proc_exit has none
	call   func(*guest, params) error
}

var preview1Functions = map[string]function{
	"args_get":                {"ii", (*guest).argsGet},
	"args_sizes_get":          {"ii", (*guest).argsSizesGet},
	"clock_res_get":           {"ii", (*guest).clockResGet},
	"clock_time_get":          {"ili", (*guest).clockTimeGet},
	"environ_get":             {"ii", (*guest).environGet},
	"environ_sizes_get":       {"ii", (*guest).environSizesGet},
	"fd_advise":               {"illi", (*guest).fdAdvise},
	"fd_allocate":             {"ill", (*guest).fdAllocate},
	"fd_close":                {"i", (*guest).fdClose},
	"fd_datasync":             {"i", (*guest).fdSync},
	"fd_fdstat_get":           {"ii", (*guest).fdFdstatGet},
	"fd_fdstat_set_flags":     {"ii", (*guest).fdFdstatSetFlags},
	"fd_fdstat_set_rights":    {"ill", (*guest).fdFdstatSetRights},
	"fd_filestat_get":         {"ii", (*guest).fdFilestatGet},
	"fd_filestat_set_size":    {"il", (*guest).fdFilestatSetSize},
	"fd_filestat_set_times":   {"illi", (*guest).fdFilestatSetTimes},
	"fd_pread":                {"iiili", (*guest).fdPread},
	"fd_prestat_dir_name":     {"iii", (*guest).fdPrestatDirName},
	"fd_prestat_get":          {"ii", (*guest).fdPrestatGet},
	"fd_pwrite":               {"iiili", (*guest).fdPwrite},
	"fd_read":                 {"iiii", (*guest).fdRead},
	"fd_readdir":              {"iiili", (*guest).fdReaddir},
	"fd_renumber":             {"ii", (*guest).fdRenumber},
	"fd_seek":                 {"ilii", (*guest).fdSeek},
	"fd_sync":                 {"i", (*guest).fdSync},
	"fd_tell":                 {"ii", (*guest).fdTell},
	"fd_write":                {"iiii", (*guest).fdWrite},
	"path_create_directory":   {"iii", (*guest).pathCreateDirectory},
	"path_filestat_get":       {"iiiii", (*guest).pathFilestatGet},
	"path_filestat_set_times": {"iiiilli", (*guest).pathFilestatSetTimes},
	"path_link":               {"iiiiiii", (*guest).pathLink},
	"path_open":               {"iiiiillii", (*guest).pathOpen},
	"path_readlink":           {"iiiiii", (*guest).pathReadlink},
	"path_remove_directory":   {"iii", (*guest).pathRemoveDirectory},
	"path_rename":             {"iiiiii", (*guest).pathRename},
	"path_symlink":            {"iiiii", (*guest).pathSymlink},
	"path_unlink_file":        {"iii", (*guest).pathUnlinkFile},
	"poll_oneoff":             {"iiii", (*guest).pollOneoff},
	"proc_exit":               {"i", (*guest).procExit},
	"proc_raise":              {"i", (*guest).procRaise},
	"random_get":              {"ii", (*guest).randomGet},
	"sched_yield":             {"", (*guest).schedYield},
	"sock_accept":             {"iii", (*guest).sock},
	"sock_recv":               {"iiiiii", (*guest).sock},
	"sock_send":               {"iiiii", (*guest).sock},
	"sock_shutdown":           {"ii", (*guest).sock},
}

// unstableFunctions are the ones that wasi_unstable has in another form; the others are the same in both.
var unstableFunctions = map[string]function{
	"fd_filestat_get":   {"ii", (*guest).fdFilestatGetUnstable},
	"fd_seek":           {"ilii", (*guest).fdSeekUnstable},
	"path_filestat_get": {"iiiii", (*guest).pathFilestatGetUnstable},
	"poll_oneoff":       {"iiii", (*guest).pollOneoffUnstable},
}

// lookupFunction finds the function that a module imports, and its parameters, one letter each.
func lookupFunction(module, name string) (f api.GoModuleFunction, params string, ok bool) {
	if isResume(module, name) {
		return api.GoModuleFunc(goOn), "", true
	}
	if module == experimentalHTTP {
		f, ok := httpFunctions[name]
		return f.call, f.params, ok
	}
	if module == unstable {
		if f, ok := unstableFunctions[name]; ok {
			return &f, f.params, true
		}
	}
	if module == preview1 || module == unstable {
		f, ok := preview1Functions[name]
		return &f, f.params, ok
	}
	return nil, "", false
}

func signature(name, letters string) (params, results []api.ValueType) {
	for _, c := range letters {
		if c == 'i' {
			params = append(params, api.ValueTypeI32)
		} else {
			params = append(params, api.ValueTypeI64)
		}
	}
	if name != "proc_exit" && name != resumeName {
		results = []api.ValueType{api.ValueTypeI32}
	}
	return params, results
}

// link gives the module the functions that it imports.
func (m *Module) link(ctx context.Context, o outline) error {
	builders := map[string]wazero.HostModuleBuilder{}
	export := func(module string) wazero.HostFunctionBuilder {
		if builders[module] == nil {
			builders[module] = m.runtime.NewHostModuleBuilder(m.hostModule(module))
		}
		return builders[module].NewFunctionBuilder()
	}
	for _, i := range m.compiled.ImportedFunctions() {
		module, name, _ := i.Import()
		if module == instrument.InterruptModule && name == instrument.InterruptName {
			export(module).WithGoFunction(api.GoFunc(interrupt), nil, nil).Export(name)
			continue
		}
		f, letters, ok := lookupFunction(module, name)
		if !ok {
			return missingFunction(module, name)
		}
		params, results := signature(name, letters)
		if !slices.Equal(params, i.ParamTypes()) || !slices.Equal(results, i.ResultTypes()) {
			return fmt.Errorf("imports the function %q.%q with other parameters or results than it has%s", module, name, importHint(module, name))
		}
		if !o.memory && name != "proc_exit" && name != resumeName {
			return fmt.Errorf("imports the function %q.%q, which needs a memory, and has none", module, name)
		}
		if m.config.Resume && isPoint(module, name) {
			f, results = crossings[name], []api.ValueType{api.ValueTypeI32}
		}
		export(module).WithGoModuleFunction(f, params, results).Export(name)
	}
	if m.config.Resume {
		export(instrument.InterruptModule).WithGoFunction(api.GoFunc(enter), nil, nil).Export(enterName)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	if m.config.Resume {
		return m.linkBetween(ctx)
	}
	return nil
}

// Call runs the function for the guest that ctx carries. A guest whose context ended while it waited in the call goes no further.
func (f *function) Call(ctx context.Context, instance api.Module, stack []uint64) {
	g := guestOf(ctx)
	g.memory = instance.Memory()
	g.beginCall()
	var e errno
	if g.journal != nil {
		e = g.journal.answer(g, *f, stack)
	} else {
		e = errnoOf(f.call(g, stack))
	}
	g.endCall()
	stack[0] = uint64(e)
}

func (g *guest) beginCall() {
	g.goOn()
	g.meter.enter()
}

// goOn tells the caller that a guest goes on that has printed something.
func (g *guest) goOn() {
	if g.printed && g.call.GoOn != nil {
		g.call.GoOn()
	}
	g.printed = false
}

// endCall ends a system call, and the guest if it is to stop.
func (g *guest) endCall() {
	g.meter.leave()
	if g.meter.work += callWork; g.meter.due() || g.meter.waited && g.ctx.Err() != nil {
		g.interrupt()
	}
	g.meter.waited = false
}

// params are the arguments of a system call.
type params []uint64

// u32 cuts an i32 out: the engine leaves dirt in the upper half.
func (p params) u32(i int) uint32 {
	return uint32(p[i])
}

// access is how a system call gets at the guest's memory: by view or bytes.
type access func(g *guest, addr, size uint32) ([]byte, error)

// view is the guest's memory itself, valid until the guest goes on. Nobody writes to it.
func (g *guest) view(addr, size uint32) ([]byte, error) {
	b, ok := g.memory.Read(addr, size)
	if !ok {
		return nil, errnoFault
	}
	return b, nil
}

// bytes is the guest's memory for a system call to write to.
func (g *guest) bytes(addr, size uint32) ([]byte, error) {
	b, err := g.view(addr, size)
	if err != nil {
		return nil, err
	}
	g.note(addr, size)
	if g.journal != nil {
		g.journal.touch(addr, b)
	}
	return b, nil
}

// array is a number of elements in the guest's memory.
func (g *guest) array(addr, count, size uint32) ([]byte, error) {
	if uint64(count)*uint64(size) > uint64(g.memory.Size()) {
		return nil, errnoFault
	}
	return g.bytes(addr, count*size)
}

func (g *guest) putU32(addr, v uint32) error {
	b, err := g.bytes(addr, 4)
	if err == nil {
		binary.LittleEndian.PutUint32(b, v)
	}
	return err
}

func (g *guest) putU64(addr uint32, v uint64) error {
	b, err := g.bytes(addr, 8)
	if err == nil {
		binary.LittleEndian.PutUint64(b, v)
	}
	return err
}

func (g *guest) argsGet(p params) error {
	return g.putStrings(g.call.Args, p.u32(0), p.u32(1))
}

func (g *guest) argsSizesGet(p params) error {
	g.worked(len(g.call.Args))
	return g.putSizes(p, len(g.call.Args), sizeOf(g.call.Args))
}

func (g *guest) environGet(p params) error {
	env, text := g.env, p.u32(1)
	pointers, err := g.array(p.u32(0), uint32(len(env.ends)), 4)
	if err != nil {
		return err
	}
	b, err := g.bytes(text, uint32(len(env.text)))
	if err != nil {
		return err
	}
	copy(b, env.text)
	start := uint32(0)
	for i, end := range env.ends {
		binary.LittleEndian.PutUint32(pointers[4*i:], text+start)
		start = end
	}
	g.worked(len(env.ends) + len(env.text)/bytesPerWork)
	return nil
}

func (g *guest) environSizesGet(p params) error {
	return g.putSizes(p, g.env.Len(), uint32(len(g.env.text)))
}

// putStrings writes the strings, each ended by a zero, to text, and where each begins to index.
func (g *guest) putStrings(list []string, index, text uint32) error {
	pointers, err := g.array(index, uint32(len(list)), 4)
	if err != nil {
		return err
	}
	b, err := g.bytes(text, sizeOf(list))
	if err != nil {
		return err
	}
	for i, s := range list {
		binary.LittleEndian.PutUint32(pointers[4*i:], text)
		n := copy(b, s)
		b[n] = 0
		b, text = b[n+1:], text+uint32(n+1)
		g.worked(stringWork)
	}
	return nil
}

func (g *guest) putSizes(p params, count int, size uint32) error {
	if err := g.putU32(p.u32(0), uint32(count)); err != nil {
		return err
	}
	return g.putU32(p.u32(1), size)
}

// sizeOf is how many bytes the strings are, each ended by a zero.
func sizeOf(list []string) uint32 {
	n := len(list)
	for _, s := range list {
		n += len(s)
	}
	return uint32(n)
}

// procExit ends the guest: the panic unwinds its stack and is caught by the engine.
func (g *guest) procExit(p params) error {
	g.exit = &ExitError{Code: p.u32(0)}
	panic(sys.NewExitError(g.exit.Code))
}

func (g *guest) procRaise(params) error {
	return errnoNosys
}

func (g *guest) schedYield(params) error {
	runtime.Gosched()
	return nil
}

// randomGet works in pieces, so that a guest that asks for gigabytes can be stopped.
func (g *guest) randomGet(p params) error {
	const piece = 64 << 10
	b, err := g.bytes(p.u32(0), p.u32(1))
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n := min(len(b), piece)
		rand.Read(b[:n])
		b = b[n:]
		g.worked(n)
	}
	return nil
}

// sock is every function on sockets: a guest has none.
func (g *guest) sock(p params) error {
	if _, err := g.lookup(p.u32(0)); err != nil {
		return err
	}
	return errnoNotsock
}
