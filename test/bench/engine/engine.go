// Package engine runs WASI commands by engines as their documents show it, to compare the gateway with.
package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/bytecodealliance/wasmtime-go/v40"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/cgi/guest"
)

// Call is what one guest is given.
type Call struct {
	Args, Env []string // Env: NAME=value
	Stdin     io.Reader
	Stdout    io.Writer
}

// A Run runs one guest.
type Run func(context.Context, *Call) error

// Gateway is the gateway's own engine.
func Gateway(ctx context.Context, file string) (Run, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	module, err := guest.Compile(ctx, wasm, guest.Config{Name: file})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, call *Call) error {
		env := guest.NewEnvironment(call.Env...)
		return module.Run(ctx, &guest.Call{Args: call.Args, Env: env, Stdin: call.Stdin, Stdout: call.Stdout})
	}, nil
}

// Wazero instantiates the module for each guest.
func Wazero(ctx context.Context, file string) (Run, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	runtime := wazero.NewRuntime(ctx)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, runtime); err != nil {
		return nil, err
	}
	compiled, err := runtime.CompileModule(ctx, wasm)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, call *Call) error {
		config := wazero.NewModuleConfig().WithName("").WithArgs(call.Args...).WithStdin(call.Stdin).WithStdout(call.Stdout)
		for _, e := range call.Env {
			name, value, _ := strings.Cut(e, "=")
			config = config.WithEnv(name, value)
		}
		instance, err := runtime.InstantiateModule(ctx, compiled, config)
		if err != nil {
			return err
		}
		return instance.Close(ctx)
	}, nil
}

// Wasmtime instantiates the module for each guest, its memory a copy-on-write image. Its standard output must be a file, its
// standard input is empty.
func Wasmtime(_ context.Context, file string) (Run, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	config := wasmtime.NewConfig()
	config.SetMemoryInitCOWSet(true)
	engine := wasmtime.NewEngineWithConfig(config)
	module, err := wasmtime.NewModule(engine, wasm)
	if err != nil {
		return nil, err
	}
	linker := wasmtime.NewLinker(engine)
	if err := linker.DefineWasi(); err != nil {
		return nil, err
	}
	outputs := sync.Pool{New: func() any { return newOutput() }}
	return func(_ context.Context, call *Call) error {
		out := outputs.Get().(*output)
		defer outputs.Put(out)
		return out.run(engine, linker, module, call)
	}, nil
}

// output is a file in memory.
type output struct {
	file *os.File
	path string
	err  error
}

func newOutput() *output {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	return &output{os.NewFile(uintptr(fd), "output"), fmt.Sprintf("/proc/self/fd/%d", fd), err}
}

func (o *output) run(engine *wasmtime.Engine, linker *wasmtime.Linker, module *wasmtime.Module, call *Call) error {
	if o.err != nil {
		return o.err
	}
	names, values := make([]string, len(call.Env)), make([]string, len(call.Env))
	for i, e := range call.Env {
		names[i], values[i], _ = strings.Cut(e, "=")
	}
	wasi := wasmtime.NewWasiConfig()
	wasi.SetArgv(call.Args)
	wasi.SetEnv(names, values)
	if err := wasi.SetStdoutFile(o.path); err != nil { // which empties it
		return err
	}
	store := wasmtime.NewStore(engine)
	defer store.Close()
	store.SetWasi(wasi)
	instance, err := linker.Instantiate(store, module)
	if err != nil {
		return err
	}
	if _, err = instance.GetFunc(store, "_start").Call(store); err != nil && !returned(err) {
		return err
	}
	if _, err = o.file.Seek(0, io.SeekStart); err == nil {
		_, err = io.Copy(call.Stdout, o.file)
	}
	return err
}

// returned says whether the guest has ended by exit(0).
func returned(err error) bool {
	e, ok := err.(*wasmtime.Error)
	if !ok {
		return false
	}
	status, exited := e.ExitStatus()
	return exited && status == 0
}
