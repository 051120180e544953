package instrument

import (
	"context"
	"os"
	"path/filepath"
	"runtime/metrics"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// FuzzRewrite mutates modules. Rewrite never panics, and what it rewrites is valid exactly if it was before.
// What it refuses the engine is not shown: it would allocate gigabytes because of a count before it found out.
func FuzzRewrite(f *testing.F) {
	for _, text := range endless {
		if len(text) < 4096 {
			f.Add(assemble(f, text))
		}
	}
	for _, wasm := range specModules(f) {
		f.Add(wasm)
	}
	ctx := context.Background()
	e := gatewayEngine(ctx)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		wasm = withoutCustom(wasm) // a mistake there is no mistake in what Rewrite makes
		m, err := Rewrite(wasm)
		if err != nil {
			return
		}
		before, after := e.verdict(ctx, wasm), e.verdict(ctx, m.Binary)
		if (before == nil) != (after == nil) {
			t.Fatalf("before: %v, after: %v", before, after)
		}
		if tracked := e.trackedVerdict(ctx, wasm, m); (tracked == nil) != (after == nil) {
			t.Fatalf("after: %v, tracked: %v", after, tracked)
		}
	})
}

// trackedVerdict is verdict for the tracked form, if there is one, of what m is the plain form of.
func (e *engine) trackedVerdict(ctx context.Context, wasm []byte, m *Module) error {
	if t, err := RewriteTracked(wasm); err == nil {
		m = t
	}
	return e.verdict(ctx, m.Binary)
}

// FuzzCode mutates the code of a function. If that is valid, Rewrite takes it and it is valid after.
func FuzzCode(f *testing.F) {
	for _, immediates := range immediates() {
		for _, opcode := range []byte{opBlock, opLoop, opIf, opTryTable, opBrTable, opCall, opGlobalSet, prefixMisc, prefixVector} {
			f.Add(append([]byte{opUnreachable, opcode}, immediates...))
		}
	}
	f.Add([]byte{opUnreachable, prefixMisc, 0x8a, 0, 0, 0}) // memory.copy, longer than the engine takes it where it can be reached
	ctx := context.Background()
	e := gatewayEngine(ctx)
	f.Fuzz(func(t *testing.T, code []byte) {
		wasm := moduleWith(append(code, opEnd))
		before := e.verdict(ctx, wasm)
		m, after := Rewrite(wasm)
		tracked := after
		if after == nil {
			after, tracked = e.verdict(ctx, m.Binary), e.trackedVerdict(ctx, wasm, m)
		}
		if (before == nil) != (after == nil) || (before == nil) != (tracked == nil) {
			t.Fatalf("before: %v, after: %v, tracked: %v", before, after, tracked)
		}
	})
}

// FuzzCompile mutates modules that are a lot of work for their size. What Rewrite takes the engine compiles in bounded memory.
func FuzzCompile(f *testing.F) {
	for _, c := range costly {
		f.Add(assemble(f, c.text(20, 20)))
	}
	ctx := context.Background()
	e := newEngine(f, ctx)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		before := allocated()
		m, err := Rewrite(wasm)
		if err != nil {
			return
		}
		_ = e.verdict(ctx, m.Binary)
		const fixed, each = 1 << 30, 16 << 10
		if got := allocated() - before; got > fixed+each*uint64(len(wasm)) {
			t.Errorf("%d bytes took %d MiB", len(wasm), got>>20)
		}
	})
}

// allocated is how many bytes Go has allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// specModules are some small modules of the specification's test suite.
func specModules(f *testing.F) (modules [][]byte) {
	for _, suite := range []string{"v2", "exception-handling", "extended-const", "tail-call"} {
		paths, _ := filepath.Glob(filepath.Join(specDirectory(f), suite, "testdata/*.wasm"))
		for i := 0; i < len(paths); i += 10 {
			wasm, err := os.ReadFile(paths[i])
			if err != nil {
				f.Fatal(err)
			}
			if len(wasm) < 4096 {
				modules = append(modules, wasm)
			}
		}
	}
	return modules
}

// gatewayEngine compiles what the gateway takes.
func gatewayEngine(ctx context.Context) *engine {
	features := api.CoreFeaturesV2 | experimental.CoreFeaturesExceptionHandling | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features)
	return &engine{Runtime: wazero.NewRuntimeWithConfig(ctx, config)}
}

// verdict is the engine's error if a module is invalid.
func (e *engine) verdict(ctx context.Context, wasm []byte) error {
	compiled, err := e.compile(ctx, wasm)
	if err == nil {
		compiled.Close(ctx)
	}
	return err
}

// withoutCustom drops custom sections, up to where the module is no longer in sections.
func withoutCustom(wasm []byte) []byte {
	if len(wasm) < len(magic) {
		return wasm
	}
	e := edit(reader{data: wasm})
	e.bytes(uint32(len(magic)))
	for e.more() {
		e.copy(e.at)
		custom := e.byte() == sectionCustom
		e.part(e.uint())
		if custom && e.err == nil {
			e.drop()
		}
	}
	return e.done()
}
