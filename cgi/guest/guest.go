// Package guest runs WebAssembly modules: one module, compiled once, run afresh for each request.
//
// A guest is one run of a module. It begins with the module's initial state, sees the arguments, environment and
// streams of its [Call] and the volumes of its module, and nothing else: no process, no other guest, and of the network
// only HTTP to the hosts that its module lists. It speaks WASI preview 1 (wasi_snapshot_preview1) or the older wasi_unstable,
// and wasi_experimental_http 0.10.
//
// This package alone knows the engine, wazero.
package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

const (
	defaultEntrypoint = "_start"
	defaultMemory     = 256 << 20
	elementSize       = 8 // bytes of memory that an element of a table counts
	maxElements       = 256 << 10
	pageSize          = 64 << 10
)

// Config says how a module is compiled and what its guests may do.
type Config struct {
	Name         string   // what errors call the module: its reference
	Entrypoint   string   // exported function that a guest starts at; default "_start"
	Memory       uint64   // bytes of linear memory a guest may have, rounded down to pages of 64 KiB; default 256 MiB, at most 4 GiB
	Volumes      []Volume // directories the guests see
	CompileCache string   // directory that keeps compiled code; default none
	Compiler     string   // socket of a node that compiles, see package codecache; default none
	TempDir      string   // directory for what is needed while a module is compiled; default os.TempDir

	CPU     time.Duration // that a guest may compute; default and negative: no limit. Waiting for input, output or a turn does not count
	NoReuse bool          // give each guest an instance and a memory that no other has had; what it does is the same

	StartTimeout time.Duration // for what runs before the first guest: a start function, initializers, the way to the resume point; default 1 min

	// Resume freezes the module in the middle of its entrypoint, where it calls the import wagi.resume or opens the file
	// /dev/wagi/request. Each guest goes on from there. It is an error of the module if it does not come there within
	// StartTimeout, or prints to its standard output before.
	Resume      bool
	StartArgs   []string  // arguments before that point
	StartEnv    []string  // NAME=value, before that point
	StartStderr io.Writer // gets what is printed there before that point, once; default dropped

	// AllowedHosts are the hosts that guests may send HTTP requests to, by wasi_experimental_http; default none.
	// Each is a URL of which the host alone counts: every scheme and port of it is allowed. "insecure:allow-all" stands
	// for all. Addresses that are not public (private, loopback, link-local, metadata of a cloud...) are reached only where
	// an entry has that very address, or localhost, as its host, be there "insecure:allow-all" or not.
	AllowedHosts []string

	HTTPMaxConcurrency int // HTTP responses that a guest may have open; default 64; all guests of a module together have at most 1024
}

// Volume is a directory of the host that guests see. No path and no symlink leads out of it;
// an absolute symlink therefore leads nowhere.
type Volume struct {
	Guest    string // path in the guest, such as "/data"
	Host     string // directory of the host; while it is missing, guests run without the volume
	ReadOnly bool   // what would change the directory fails with EROFS
}

// Module is a compiled module. Its methods may be called at the same time, but for Close.
type Module struct {
	config   Config
	runtime  wazero.Runtime
	cache    wazero.CompilationCache // nil: none
	compiled wazero.CompiledModule
	exports  map[string]api.FunctionDefinition
	instance wazero.ModuleConfig
	memory   bool   // the module has one
	limit    uint64 // bytes of it
	state           // the initial one
	idle     *pool
	turns    *turns
	lane     *lane
	garbage  garbage

	initializers []string // exported functions that lead to the initial state
	recyclable   bool     // an instance can be put back to the initial state
	globalNames  []string // of those that the guest can change
	written      string   // exported global of the pages that the guest has written to; empty: it does not tell
	start        string   // exported function that is called when the module is instantiated; empty: none
	elements     uint64   // that tables begin with
	tableBudget  string   // exported global of how many more they may have; empty: they do not grow

	resumption *resumption // nil: guests start at the beginning
	tracker    *tracker    // nil: there is only the plain form

	missing  []atomic.Bool // the volume was missing, which has been logged
	outbound *outbound     // nil: no host is allowed
}

// Call is what one guest is given. The zero Call is a guest without arguments, environment and input, whose output is dropped.
//
// A guest that reads or writes a stream is blocked in the Reader or Writer, and there the end of the context does not
// reach it: the caller makes Read or Write return, with any error, and then the guest stops.
// The time that it waits there is not its own; with a Work, Stdout says by [Work.Pause] when that begins.
// A stream that is a terminal (*os.File) is one to the guest too.
type Call struct {
	Entrypoint string       // exported function to call; default the module's
	Args       []string     // the first is the program's name
	Env        *Environment // nil: empty
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer
	GoOn       func()        // called when the guest goes on after a write to Stdout: by a system call, or by computing for 0.1 to 1 ms
	NoVolumes  bool          // the guest does not see the module's volumes
	Memory     uint64        // set by Run: bytes of linear memory that the guest had in the end
	Took       time.Duration // set by Run: how long the guest took, with what it waited for
	Work       *Work         // of which the guest is a part; default one of its own
}

// Inspect finds what is wrong with a binary module, as far as that shows without compiling it, and which functions it exports.
// The error is that of [Compile].
func Inspect(wasm []byte, cfg Config) (exports []string, err error) {
	o, err := inspect(wasm)
	if err == nil {
		err = o.check(cfg.pages())
	}
	if err != nil {
		return nil, fmt.Errorf("module %q: %w", cfg.Name, err)
	}
	return o.exports, nil
}

// pages is how many pages of memory a guest may have.
func (c Config) pages() uint32 {
	return uint32(min(cmp.Or(c.Memory, defaultMemory), 4<<30) / pageSize)
}

// Compile compiles a binary module. The error names the module and says what is wrong with it and, where known, the fix.
// A module without a usable entrypoint compiles: see [Module.Check]. The caller closes the module.
func Compile(ctx context.Context, wasm []byte, cfg Config) (*Module, error) {
	if cfg.Entrypoint == "" {
		cfg.Entrypoint = defaultEntrypoint
	}
	if cfg.Memory == 0 {
		cfg.Memory = defaultMemory
	}
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, time.Minute)
	m := &Module{config: cfg, missing: make([]atomic.Bool, len(cfg.Volumes)), idle: newPool(), turns: processTurns(), lane: new(lane)}
	if err := m.compile(ctx, wasm); err != nil {
		m.Close(ctx)
		return nil, fmt.Errorf("module %q: %w", cfg.Name, err)
	}
	return m, nil
}

func (m *Module) compile(ctx context.Context, wasm []byte) error {
	pages := m.config.pages()
	outline, err := inspect(wasm)
	if err != nil {
		return err
	}
	if err := outline.check(pages); err != nil {
		return err
	}
	m.memory, m.limit = outline.memory, uint64(pages)*pageSize
	if m.outbound, err = newOutbound(m.config, outboundTimeout); err != nil {
		return err
	}
	if info, err := os.Stat(m.config.CompileCache); err == nil && !info.IsDir() {
		return fmt.Errorf("compile cache: %s is no directory", m.config.CompileCache)
	}
	code, err := m.load(ctx, wasm)
	if err != nil {
		return err
	}
	if err := m.link(ctx, outline); err != nil {
		return err
	}
	if err := m.prepare(ctx, code); err != nil {
		return err
	}
	if m.config.Resume {
		return m.freeze(ctx, code)
	}
	m.tracker = m.newTracker(ctx, wasm, outline.pages)
	return nil
}

// prepare makes the initial state, and the first instance if it can be used again.
func (m *Module) prepare(ctx context.Context, code *instrument.Module) (err error) {
	switch {
	case code.Elements > maxElements:
		return fmt.Errorf("begins with %d elements in its tables, more than %d", code.Elements, maxElements)
	case code.Elements > m.limit/elementSize:
		return fmt.Errorf("begins with %d elements in its tables, more than the %d that its memory limit of %.5g MiB allows: raise the limit",
			code.Elements, m.limit/elementSize, float64(m.limit)/(1<<20))
	}
	m.exports = m.compiled.ExportedFunctions()
	m.instance = instanceConfig()
	// A start function is a part of the guest: it sees the arguments and the environment.
	m.recyclable = code.Recyclable && code.Start == ""
	m.start, m.elements, m.tableBudget = code.Start, code.Elements, code.TableBudget
	m.initializers = m.findInitializers()
	if !m.recyclable && m.initializers == nil {
		return nil
	}
	m.globalNames = code.Globals
	first, err := m.newInitialized(ctx)
	if err != nil {
		return err
	}
	for _, g := range first.globals {
		m.globals = append(m.globals, g.Get())
	}
	if m.recyclable && m.initializers != nil {
		return m.snapshot(first)
	}
	m.release(m.idle.begin(), first, nil)
	return nil
}

// Run runs one guest from the module's initial state until it ends. It returns nil when the guest returned or exited
// with status 0, else an *[ExitError], a *[TrapError], an *[EntrypointError] when there is nothing to call,
// a *[LimitError] when it has computed too long, or, when ctx ended first and stopped the guest, an error that wraps
// ctx.Err() and context.Cause(ctx).
func (m *Module) Run(ctx context.Context, call *Call) error {
	entrypoint := call.Entrypoint
	if entrypoint == "" {
		entrypoint = m.config.Entrypoint
	}
	if err := m.check(entrypoint); err != nil {
		return err
	}
	if (call.Work == nil || call.Work.meter.waited) && ctx.Err() != nil { // else the work has just begun
		return stopped(ctx)
	}
	if m.resumption != nil && entrypoint == m.config.Entrypoint {
		return m.resumption.run(ctx, call)
	}
	g := m.newGuest(ctx, call)
	defer g.free()
	return g.run(m.form(), entrypoint)
}

// Check reports, as an *[EntrypointError], an entrypoint that cannot be called. Every [Module.Run] of it fails the same way.
func (m *Module) Check() error {
	return m.check(m.config.Entrypoint)
}

func (m *Module) check(entrypoint string) error {
	f, ok := m.exports[entrypoint]
	switch {
	case !ok:
		return &EntrypointError{m.config.Name, entrypoint, "is not an exported function"}
	case len(f.ParamTypes()) != 0 || len(f.ResultTypes()) != 0:
		return &EntrypointError{m.config.Name, entrypoint, "has parameters or results"}
	}
	return nil
}

// Exports says whether the module exports a function of that name.
func (m *Module) Exports(name string) bool {
	_, ok := m.exports[name]
	return ok
}

// Close frees the module's code and connections once all guests have ended. None may begin any more.
func (m *Module) Close(ctx context.Context) (err error) {
	if m.outbound != nil {
		m.outbound.client.CloseIdleConnections()
	}
	m.idle.close()
	if m.tracker != nil {
		err = m.tracker.close(ctx)
	}
	if m.resumption != nil {
		m.resumption.close()
	}
	if m.image != nil {
		m.image.close()
	}
	return errors.Join(err, m.closeEngine(ctx))
}
