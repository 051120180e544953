package guest

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// smallMemory is the memory limit of the process (GOMEMLIMIT), in bytes, under which memory matters more than time.
const smallMemory = 256 << 20

// Compilers is how many modules should be compiled at a time: as many as there are processors and memory for.
func Compilers() int {
	return int(max(1, min(int64(runtime.GOMAXPROCS(0)), debug.SetMemoryLimit(-1)/smallMemory)))
}

// compileWorkers is how many workers compile one module. Each needs memory for the largest function:
// a Go program of 6 MB takes 97 MB with one and 120 MB with two.
func compileWorkers() int {
	if debug.SetMemoryLimit(-1) < smallMemory {
		return 1
	}
	return 2
}

// SaveMemory makes Go's collector run often in a small container, until the function that it returns is called: what is left of reading
// and rewriting modules would stand beside their code.
func SaveMemory() (end func()) {
	if debug.SetMemoryLimit(-1) >= smallMemory {
		return func() {}
	}
	percent := debug.SetGCPercent(20)
	return func() { debug.SetGCPercent(percent) }
}

// load rewrites the module and gives it to the engine. What cannot be rewritten the engine must not see: guests of it could
// not be stopped, and a count that nothing stands behind makes the engine allocate gigabytes.
func (m *Module) load(ctx context.Context, wasm []byte) (*instrument.Module, error) {
	code, err := instrument.Rewrite(wasm)
	if err != nil {
		return nil, compileError(err)
	}
	if m.image, err = newImage(code.Data); err != nil {
		return nil, err
	}
	code.Data = nil
	if debug.SetMemoryLimit(-1) < smallMemory {
		debug.FreeOSMemory() // of the rewriting, and of the original
	}
	if err := m.loadRewritten(ctx, code.Binary); err != nil {
		return nil, compileError(err)
	}
	code.Binary = nil // what is not needed any more is not kept while the module serves
	return code, nil
}

// loadRewritten takes the code of the module from a cache, or compiles it. A cache can fail, but not the module for that.
func (m *Module) loadRewritten(ctx context.Context, binary []byte) error {
	entry := m.findCode(ctx, binary)
	if entry != nil {
		defer entry.Close()
		err := m.loadCode(ctx, binary, entry)
		if err == nil {
			return nil
		}
		m.warn(ctx, err, "compiled code cannot be used")
		_ = m.closeEngine(ctx)
	}
	if m.config.CompileCache == "" {
		return m.loadBinary(ctx, binary)
	}
	return m.compileAndKeep(ctx, binary)
}

func (m *Module) loadBinary(ctx context.Context, wasm []byte) (err error) {
	rc := wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExceptionHandling |
						experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst).
		WithDebugInfoEnabled(false) // reading DWARF costs more than all the rest of a cached start
	if m.cache != nil {
		rc = rc.WithCompilationCache(m.cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	m.compiled, err = m.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, compileWorkers()), wasm)
	return err
}
