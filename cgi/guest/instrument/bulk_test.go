package instrument

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// memoryEnd is the size of the memory that the tests of bulk instructions have: three pieces and a page.
const memoryEnd = 3*piece + pageSize

// bulkText is a module whose functions are bulk instructions, with a data segment of three pieces.
var bulkText = fmt.Sprintf(`(memory %d) (data $d "%s")
	(func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
	(func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
	(func (export "init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
	(func (export "drop") (data.drop $d))`, memoryEnd/pageSize, pattern(3*piece, 'a', 23))

// pattern is n letters, in a pattern whose length divides no piece.
func pattern(n int, first byte, length int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i%length)
	}
	return b
}

// bulkInstances are instances of a module as it is, and rewritten so that each check calls the interrupt.
func bulkInstances(t testing.TB, e *engine) (plain, checked api.Module) {
	t.Helper()
	wasm := assemble(t, bulkText)
	m, err := rewrite(wasm, 0)
	if err != nil {
		t.Fatal(err)
	}
	return instantiate(t, e, &Module{Binary: wasm}), instantiate(t, e, m)
}

func instantiate(t testing.TB, e *engine, m *Module) api.Module {
	t.Helper()
	instance, err := e.instantiate(context.Background(), m, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	return instance
}

// FuzzBulk carries out a bulk instruction as it is and rewritten. It has to trap at the same, and to leave the same in memory.
func FuzzBulk(f *testing.F) {
	const most = 1<<32 - 1
	names := []string{"copy", "fill", "init"}
	for op := range names {
		for _, size := range []uint32{0, 8, piece, piece + 1, 2*piece + 1, 3 * piece, memoryEnd, memoryEnd + 1, most} {
			for _, to := range []uint32{0, 1, piece, memoryEnd - size, memoryEnd - size + 1, -size, most} {
				for _, from := range []uint32{0, to + 1, to - 1, to + piece, to - piece - 1, memoryEnd - size, memoryEnd - size + 1, 3*piece - size, 3*piece - size + 1, -size} {
					f.Add(byte(op), to, from, size)
				}
			}
		}
	}
	e := newEngine(f, context.Background())
	plain, checked := bulkInstances(f, e)
	original := pattern(memoryEnd, 'A', 19)
	f.Fuzz(func(t *testing.T, op byte, to, from, size uint32) {
		name := names[int(op)%len(names)]
		want, wanted := doBulk(t, plain, original, name, to, from, size)
		got, left := doBulk(t, checked, original, name, to, from, size)
		if got != want {
			t.Errorf("%s(%#x, %#x, %#x): got %s, want %s", name, to, from, size, got, want)
		}
		if !bytes.Equal(left, wanted) {
			t.Errorf("%s(%#x, %#x, %#x) leaves other bytes", name, to, from, size)
		}
	})
}

// doBulk carries out an instruction on the original memory. It says how that ended, and what is left.
func doBulk(t testing.TB, instance api.Module, original []byte, name string, params ...uint32) (outcome string, left []byte) {
	t.Helper()
	memory := instance.Memory()
	memory.Write(0, original)
	_, err := instance.ExportedFunction(name).Call(context.Background(), uint64(params[0]), uint64(params[1]), uint64(params[2]))
	outcome, _, _ = strings.Cut(fmt.Sprint(err), "\n")
	left, _ = memory.Read(0, memory.Size())
	return outcome, left
}

// A large instruction comes to the interrupt before each piece, and ends where that does not return.
func TestPieces(t *testing.T) {
	e := newEngine(t, t.Context())
	_, checked := bulkInstances(t, e)
	original := pattern(memoryEnd, 'A', 19)
	for _, c := range []struct {
		name     string
		to, from uint32
	}{{"copy", 0, 1}, {"copy", 1, 0}, {"fill", 0, 1<<32 - 1}, {"init", 0, 0}} {
		interrupts := 0
		e.interrupted = func() { interrupts++ }
		if outcome, _ := doBulk(t, checked, original, c.name, c.to, c.from, 3*piece); outcome != "<nil>" || interrupts != 3 {
			t.Errorf("%v: %d interrupts in three pieces, %s", c, interrupts, outcome)
		}
		e.interrupted = func() { panic("stopped") }
		if outcome, left := doBulk(t, checked, original, c.name, c.to, c.from, 3*piece); !strings.HasPrefix(outcome, "stopped") || !bytes.Equal(left, original) {
			t.Errorf("%v stopped at its begin: %s", c, outcome)
		}
	}
}

// Nothing can be copied from a segment that was dropped.
func TestDropped(t *testing.T) {
	plain, checked := bulkInstances(t, newEngine(t, t.Context()))
	original := pattern(memoryEnd, 'A', 19)
	for _, instance := range []api.Module{plain, checked} {
		if _, err := instance.ExportedFunction("drop").Call(t.Context()); err != nil {
			t.Fatal(err)
		}
		const want = "wasm error: out of bounds memory access"
		if outcome, left := doBulk(t, instance, original, "init", 0, 0, 2*piece); outcome != want || !bytes.Equal(left, original) {
			t.Errorf("got %s, want %s", outcome, want)
		}
	}
}

// BenchmarkBulk does copies and fills of a size as they are and rewritten in turn. The ratio is the median of the pairs.
func BenchmarkBulk(b *testing.B) {
	ctx := context.Background()
	const text = `(memory 2048)
		(func (export "copy") (param $size i32) (param $n i32) (loop
			(memory.copy (i32.const 0) (i32.const 0x4000000) (local.get $size))
			(br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
		(func (export "fill") (param $size i32) (param $n i32) (loop
			(memory.fill (i32.const 0) (i32.const 1) (local.get $size))
			(br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))`
	e := newEngine(b, ctx)
	wasm := assemble(b, text)
	m, err := Rewrite(wasm)
	if err != nil {
		b.Fatal(err)
	}
	plain, checked := instantiate(b, e, &Module{Binary: wasm}), instantiate(b, e, m)
	for _, name := range []string{"copy", "fill"} {
		for size, n := range map[uint64]uint64{16: 30000, 64: 30000, 4 << 10: 10000, 1 << 20: 20, 64 << 20: 1} {
			b.Run(fmt.Sprintf("%s of %d", name, size), func(b *testing.B) {
				run := func(instance api.Module) float64 {
					start := time.Now()
					if _, err := instance.ExportedFunction(name).Call(ctx, size, n); err != nil {
						b.Fatal(err)
					}
					return float64(time.Since(start))
				}
				var times, ratios []float64
				for b.Loop() {
					t := run(plain)
					times = append(times, t/float64(n))
					ratios = append(ratios, run(checked)/t)
				}
				slices.Sort(times)
				slices.Sort(ratios)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(times[len(times)/2], "plain-ns")
				b.ReportMetric(ratios[len(ratios)/2], "ratio")
			})
		}
	}
}
