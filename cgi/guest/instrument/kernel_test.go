package instrument

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// kernels are the functions of testdata/kernels.wasm, and how often one runs for about a millisecond.
var kernels = []struct {
	name string
	n    uint64
}{
	{"xorshift", 1000}, {"matrix", 10}, {"sieve", 10}, {"sha", 2000}, {"recursion", 30}, {"interpreter", 30},
	{"dispatch", 15}, {"closures", 500}, {"lengths", 1000}, {"copies", 2000},
}

func kernelInstance(t testing.TB, rewrite func([]byte) (*Module, error)) api.Module {
	t.Helper()
	wasm, err := os.ReadFile("testdata/kernels.wasm")
	if err != nil {
		t.Fatal(err)
	}
	m, err := rewrite(wasm)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	instance, err := newEngine(t, ctx).instantiate(ctx, m, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	return instance
}

func callKernel(t testing.TB, instance api.Module, name string, n uint64) uint64 {
	t.Helper()
	results, err := instance.ExportedFunction(name).Call(context.Background(), n)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return results[0]
}

func TestKernels(t *testing.T) {
	plain := kernelInstance(t, keep)
	for _, c := range []struct {
		fill    int32
		rewrite func([]byte, int32) (*Module, error)
	}{{fill, rewrite}, {0, rewrite}, {fill, rewriteTracked}, {0, rewriteTracked}} {
		fill := c.fill
		checked := kernelInstance(t, func(wasm []byte) (*Module, error) { return c.rewrite(wasm, fill) })
		for _, k := range kernels {
			want := callKernel(t, plain, k.name, k.n/10)
			if got := callKernel(t, checked, k.name, k.n/10); got != want {
				t.Errorf("%s with fill %d: got %d, want %d", k.name, fill, got, want)
			}
		}
		if got, want := memoryOf(checked), memoryOf(plain); !slices.Equal(got, want) {
			t.Errorf("with fill %d the memory differs", fill)
		}
	}
}

func memoryOf(instance api.Module) []byte {
	b, _ := instance.Memory().Read(0, instance.Memory().Size())
	return b
}

// BenchmarkChecks runs each kernel as it is, rewritten and tracked in turn. The ratios are the medians of the pairs.
func BenchmarkChecks(b *testing.B) {
	plain, checked, tracked := kernelInstance(b, keep), kernelInstance(b, Rewrite), kernelInstance(b, RewriteTracked)
	for _, k := range kernels {
		b.Run(k.name, func(b *testing.B) {
			run := func(instance api.Module) float64 {
				start := time.Now()
				callKernel(b, instance, k.name, k.n)
				return float64(time.Since(start))
			}
			var times, ratios, trackedRatios []float64
			for b.Loop() {
				t := run(plain)
				times = append(times, t)
				c := run(checked)
				ratios = append(ratios, c/t)
				trackedRatios = append(trackedRatios, run(tracked)/c)
			}
			slices.Sort(times)
			slices.Sort(ratios)
			slices.Sort(trackedRatios)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(times[len(times)/2], "plain-ns")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(trackedRatios[len(trackedRatios)/2], "tracked/rewritten")
		})
	}
}

// BenchmarkRewrite rewrites a Go program of 2.5 MB.
func BenchmarkRewrite(b *testing.B) {
	wasm := buildGuest(b)
	b.SetBytes(int64(len(wasm)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Rewrite(wasm); err != nil {
			b.Fatal(err)
		}
	}
}
