package instrument

import (
	"bytes"
	"context"
	"math"
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
	{"sha256", 60}, {"sort", 1}, {"search", 40}, {"parse", 200}, {"crc32", 100}, {"nbody", 40},
}

func readKernels(t testing.TB) []byte {
	t.Helper()
	wasm, err := os.ReadFile("testdata/kernels.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func kernelInstance(t testing.TB, wasm []byte, rewrite func([]byte) (*Module, error)) api.Module {
	t.Helper()
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
	wasm := readKernels(t)
	plain := kernelInstance(t, wasm, keep)
	for _, c := range []struct {
		fill    int32
		rewrite func([]byte, int32) (*Module, error)
	}{{fill, rewrite}, {0, rewrite}, {fill, rewriteTracked}, {0, rewriteTracked}} {
		fill := c.fill
		checked := kernelInstance(t, wasm, func(wasm []byte) (*Module, error) { return c.rewrite(wasm, fill) })
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

// moved moves the code of the kernels: their first function, which does nothing, gets n stores.
func moved(wasm []byte, n int) []byte {
	body := append([]byte{0}, bytes.Repeat([]byte{opI32Const, 0, opI32Const, 0, opI32Store, 2, 0}, n)...)
	b := []byte(magic)
	for r := (&reader{data: wasm, at: len(magic)}); r.more(); {
		id, content := r.byte(), r.part(r.uint())
		items := content.data[content.at:]
		if id == sectionCode {
			count := content.uint()
			content.part(content.uint())
			items = append(appendBody(appendUint(nil, count), append(body, opEnd)), content.data[content.at:]...)
		}
		b = appendBody(append(b, id), items)
	}
	return b
}

// BenchmarkChecks runs each kernel as it is, rewritten and tracked in turn. The engine aligns no loops, so that the same code can take
// 1.4 times as long elsewhere: a ratio is that of the sums over several places, of the least time at each.
func BenchmarkChecks(b *testing.B) {
	const places = 12
	wasm := readKernels(b)
	var instances [places][3]api.Module
	for i := range places {
		wasm := moved(wasm, 3*i)
		for n, rewrite := range []func([]byte) (*Module, error){keep, Rewrite, RewriteTracked} {
			instances[i][n] = kernelInstance(b, wasm, rewrite)
		}
	}
	for _, k := range kernels {
		b.Run(k.name, func(b *testing.B) {
			run := func(instance api.Module, least *time.Duration) {
				start := time.Now()
				callKernel(b, instance, k.name, k.n)
				*least = min(*least, time.Since(start))
			}
			var least [3][places]time.Duration
			for n := range least {
				for i := range places {
					least[n][i] = math.MaxInt64
				}
			}
			for b.Loop() {
				for i := range places {
					for n, instance := range instances[i] {
						run(instance, &least[n][i])
					}
				}
			}
			var sums [3]float64
			for n := range sums {
				for _, t := range least[n] {
					sums[n] += float64(t)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(sums[0]/places, "plain-ns")
			b.ReportMetric(sums[1]/sums[0], "ratio")
			b.ReportMetric(sums[2]/sums[1], "tracked/rewritten")
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
