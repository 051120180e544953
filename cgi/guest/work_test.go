package guest

import (
	"context"
	"errors"
	"testing"
	"time"
)

// What a guest's Stdout waits for is not the guest's time, if Stdout says so.
func TestPause(t *testing.T) {
	const wait = 50 * time.Millisecond
	m := compileFile(t, "testdata/hello.wasm", Config{})
	for name, pauses := range map[string]bool{"waits": true, "works": false} {
		t.Run(name, func(t *testing.T) {
			var w Work
			m.Begin(t.Context(), &w)
			call := &Call{Work: &w, Stdout: writerFunc(func(b []byte) (int, error) {
				if pauses {
					w.Pause()
				}
				time.Sleep(wait)
				return len(b), nil
			})}
			if err := m.Run(t.Context(), call); err != nil {
				t.Fatal(err)
			}
			w.End()
			if used := w.meter.used; pauses == (used >= wait) {
				t.Errorf("used %v", used)
			}
			if call.Took < wait {
				t.Errorf("took %v", call.Took)
			}
		})
	}
}

// A guest goes no further when a write has ended its context, whether that had to wait or not.
func TestStopByWrite(t *testing.T) {
	m := compileFile(t, "testdata/misbehave.wasm", Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var w Work
	m.Begin(ctx, &w)
	defer w.End()
	writes := 0
	err := m.Run(ctx, &Call{Entrypoint: "write", Work: &w, Stdout: writerFunc(func([]byte) (int, error) {
		writes++
		cancel()
		return 0, ctx.Err()
	})})
	if !errors.Is(err, context.Canceled) || writes != 1 {
		t.Errorf("got %v after %d writes", err, writes)
	}
}

// A guest whose context has ended while its work waited for a turn does not run.
func TestEndBeforeTurn(t *testing.T) {
	m := compileFile(t, "testdata/misbehave.wasm", Config{})
	m.turns = newTurns(1)
	m.turns.take(t.Context(), &turn{lane: m.lane})
	m.lane.history.mean.Store(int64(longest))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var w Work
	m.Begin(ctx, &w)
	defer w.End()
	if err := m.Run(ctx, &Call{Entrypoint: "exit7", Work: &w}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// What is left of a guest with a large memory is put back when its work ends.
func TestWorkPutsBack(t *testing.T) {
	m, err := compileText(t, `(module (memory 512) (func (export "_start") (i32.store (i32.const 0x1000000) (i32.const 1))))`, Config{})
	if err != nil {
		t.Fatal(err)
	}
	var w Work
	m.Begin(t.Context(), &w)
	if err := m.Run(t.Context(), &Call{Work: &w}); err != nil {
		t.Fatal(err)
	}
	if i := m.idle.take(&m.idle.shards[0]); i != nil || !w.Remains() {
		t.Errorf("an instance is idle: %t; work remains: %t", i != nil, w.Remains())
	}
	w.End()
	if i := m.idle.take(&m.idle.shards[0]); i == nil || w.Remains() || i.memory.content()[0x1000000] != 0 {
		t.Errorf("an instance is idle: %t; work remains: %t", i != nil, w.Remains())
	} else {
		i.close()
	}
}
