package guest

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A guest that computes stops within 10 ms, however it goes round, and also while twice as many guests as there are
// processors wait for their turn.
func TestStopSoon(t *testing.T) {
	m, err := compileText(t, `(module
		(type $void (func))
		(table 1 funcref)
		(elem (i32.const 0) $indirect)
		(func $fib (param i32) (result i32)
			(if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (i32.const 1))
				(else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
		(func $indirect (type $void) (return_call_indirect (type $void) (i32.const 0)))
		(func (export "loop") (loop $again (br $again)))
		(func (export "fib") (drop (call $fib (i32.const 60))))
		(func $tail (export "tail") (return_call $tail))
		(memory 4096)
		(func (export "fill") (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x10000000)) (br 0)))
		(func (export "copy") (loop (memory.copy (i32.const 1) (i32.const 0) (i32.const 0xfffffff)) (br 0)))
		(func (export "indirect") (call $indirect)))`, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var spinners sync.WaitGroup
	defer spinners.Wait()
	defer cancel()
	for n := range 1 + 2*runtime.GOMAXPROCS(0) {
		if n > 0 {
			spinners.Go(func() { m.Run(ctx, &Call{Entrypoint: "loop"}) })
		}
		if n == 1 {
			continue
		}
		for _, entrypoint := range []string{"loop", "fib", "tail", "indirect", "fill", "copy"} {
			if took := medianStop(t, m, entrypoint); took > 10*time.Millisecond {
				t.Errorf("%s beside %d others stopped after %v", entrypoint, n, took)
			}
		}
	}
}

// medianStop is how long after the end of its context a guest stops.
func medianStop(t *testing.T, m *Module, entrypoint string) time.Duration {
	var took []time.Duration
	for range 9 {
		ctx, cancel := context.WithCancel(t.Context())
		var canceled time.Time
		time.AfterFunc(5*time.Millisecond, func() { canceled = time.Now(); cancel() })
		if err := m.Run(ctx, &Call{Entrypoint: entrypoint}); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: got %v, want context.Canceled", entrypoint, err)
		}
		took = append(took, time.Since(canceled))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

func TestCPULimit(t *testing.T) {
	const limit = 20 * time.Millisecond
	m := compileFile(t, "testdata/misbehave.wasm", Config{CPU: limit})
	begin := time.Now()
	err := m.Run(t.Context(), &Call{Entrypoint: "spin"})
	if e, ok := errors.AsType[*LimitError](err); !ok || e.CPU != limit {
		t.Errorf("got %v, want a LimitError of %v", err, limit)
	}
	if took := time.Since(begin); took < limit {
		t.Errorf("stopped after %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*limit)
	defer cancel()
	if err := m.Run(ctx, &Call{Entrypoint: "sleep"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sleeping: got %v, want context.DeadlineExceeded", err)
	}
}

// Guests that compute for long take turns: one at a time gets to the end here, but all get on.
func TestTurns(t *testing.T) {
	m := compileFile(t, "testdata/misbehave.wasm", Config{CPU: 20 * time.Millisecond})
	m.turns = newTurns(2)
	var all sync.WaitGroup
	ends := make([]time.Duration, 4)
	begin := time.Now()
	for n := range ends {
		all.Go(func() {
			m.Run(t.Context(), &Call{Entrypoint: "spin"})
			ends[n] = time.Since(begin)
		})
	}
	all.Wait()
	slices.Sort(ends)
	if last := ends[len(ends)-1]; ends[0] < last/2 {
		t.Errorf("ended after %v: the first did not wait for the others", ends)
	}
	if m.turns.free != 1 {
		t.Error("a turn was not given back")
	}
}

// Close waits for the guests, whose code and memory it frees.
func TestCloseWaits(t *testing.T) {
	wasm, err := os.ReadFile("testdata/misbehave.wasm")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Compile(t.Context(), wasm, Config{})
	if err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	var ended atomic.Bool
	go m.Run(t.Context(), &Call{Entrypoint: "read", Stdin: readerFunc(func([]byte) (int, error) {
		close(reading)
		time.Sleep(20 * time.Millisecond)
		ended.Store(true)
		return 0, io.EOF
	})})
	<-reading
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if !ended.Load() {
		t.Error("the guest has not ended")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
