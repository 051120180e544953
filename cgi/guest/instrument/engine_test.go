package instrument

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

const allFeatures = api.CoreFeaturesV2 | experimental.CoreFeaturesThreads | experimental.CoreFeaturesTailCall |
	experimental.CoreFeaturesExtendedConst | experimental.CoreFeaturesExceptionHandling |
	experimental.CoreFeaturesTypedFunctionReferences

// engine is a runtime whose guests call interrupted.
type engine struct {
	wazero.Runtime
	interrupted func()
}

func newEngine(t testing.TB, ctx context.Context) *engine {
	t.Helper()
	e := &engine{interrupted: func() {}}
	e.Runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(allFeatures).WithMemoryLimitPages(1<<12))
	t.Cleanup(func() { e.Close(ctx) })
	e.exportInterrupt(t, ctx)
	return e
}

func (e *engine) exportInterrupt(t testing.TB, ctx context.Context) {
	t.Helper()
	interrupt := api.GoFunc(func(context.Context, []uint64) { e.interrupted() })
	_, err := e.NewHostModuleBuilder(InterruptModule).
		NewFunctionBuilder().WithGoFunction(interrupt, nil, nil).Export(InterruptName).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
}

// compile compiles a module. wazero panics on a few that are cut off.
func (e *engine) compile(ctx context.Context, wasm []byte) (c wazero.CompiledModule, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return e.CompileModule(ctx, wasm)
}

// instantiate makes an instance of a rewritten module, the way that a host has to.
func (e *engine) instantiate(ctx context.Context, m *Module, config wazero.ModuleConfig) (api.Module, error) {
	instance, err := e.InstantiateWithConfig(experimental.WithMemoryAllocator(ctx, image(m.Data)), m.Binary, config)
	if err == nil && m.Start != "" {
		if _, err = instance.ExportedFunction(m.Start).Call(ctx); err != nil {
			instance.Close(ctx)
		}
	}
	return instance, err
}

// image allocates memories that begin with data.
type image []Segment

func (i image) Allocate(_, max uint64) experimental.LinearMemory {
	return &memory{image: i, max: max}
}

type memory struct {
	image image
	bytes []byte
	max   uint64
}

func (m *memory) Reallocate(size uint64) []byte {
	if m.bytes == nil {
		m.bytes = make([]byte, size, min(m.max, 1<<24))
		for _, s := range m.image {
			copy(m.bytes[s.Offset:], s.Bytes)
		}
	}
	for uint64(len(m.bytes)) < size {
		m.bytes = append(m.bytes, make([]byte, size-uint64(len(m.bytes)))...)
	}
	return m.bytes
}

func (m *memory) Free() {}

// skip skips the test, or with E2E=1 fails it.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
