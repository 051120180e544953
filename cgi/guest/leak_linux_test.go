package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whatever guests leave behind and however they end, the next one finds nothing of it.
func TestLeak(t *testing.T) {
	ways := map[string]func() dirtyFinder{
		"scan": func() dirtyFinder { return scanPages(openPagemapOf(t)) },
		"read": func() dirtyFinder { return readPages(openPagemapOf(t)) },
		"copy": func() dirtyFinder { return nil },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			m := compileFile(t, "testdata/secret.wasm", Config{
				Memory:  16 * pageSize,
				CPU:     100 * time.Millisecond,
				Volumes: []Volume{{Guest: "/data", Host: volumeWithFile(t)}},
			})
			if !m.recyclable {
				t.Fatal("not recyclable")
			}
			if m.image.dirty = way(); m.image.dirty != nil {
				if _, _, err := m.image.dirty(make([]byte, 1), make([]pageRun, 1)); err != nil {
					t.Skipf("the kernel cannot: %v", err)
				}
			}
			interleave(t, m, m, 3000)
			if m.idle.take(&m.idle.shards[0]) == nil {
				t.Error("no instance was kept")
			}
		})
	}
	t.Run("tracked", func(t *testing.T) {
		m := compileFile(t, "testdata/secret.wasm", Config{
			Memory:  16 * pageSize,
			CPU:     100 * time.Millisecond,
			Volumes: []Volume{{Guest: "/data", Host: volumeWithFile(t)}},
		})
		form := trackedForm(t, m)
		interleave(t, m, form, 3000)
		if form.idle.take(&form.idle.shards[0]) == nil {
			t.Error("no instance was kept")
		}
	})
}

func openPagemapOf(t *testing.T) *os.File {
	pagemap, err := openPagemap()
	if err != nil {
		t.Skip(err)
	}
	return pagemap
}

func volumeWithFile(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/name", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// interleave runs guests in a form of the module that leave secrets and, after each, one that looks for them, four at a time.
func interleave(t *testing.T, m, form *Module, runs int) {
	endings := []string{
		"return", "exit", "unreachable", "bounds", "recurse", "spin", "read", "grow",
		"sprinkle", "sprinkle", "sprinkle-exit", "sprinkle-unreachable", "sprinkle-spin",
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range runs / 4 {
				entrypoint := endings[rand.IntN(len(endings))]
				if entrypoint == "recurse" && rand.IntN(50) > 0 { // takes long
					continue
				}
				leave(m, form, entrypoint)
				if err := m.runIn(t.Context(), form, &Call{Entrypoint: "look"}); err != nil {
					t.Errorf("after %s: %v", entrypoint, err)
				}
			}
		})
	}
	all.Wait()
}

// leave runs a guest, which is stopped by its client, its deadline or its limit if it does not end.
func leave(m, form *Module, entrypoint string) {
	stdin, stdinWriter := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch n := rand.IntN(40); {
	case n < 20:
		time.AfterFunc(time.Millisecond, cancel)
	case n < 39 || !strings.HasSuffix(entrypoint, "spin"):
		ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
	}
	context.AfterFunc(ctx, func() { stdinWriter.CloseWithError(io.ErrUnexpectedEOF) })
	_ = m.runIn(ctx, form, &Call{Entrypoint: entrypoint, Stdin: stdin})
}

// What is not put back leads to a new instance, in a memory that was cleared.
func TestLeakTables(t *testing.T) {
	m := compileFile(t, "testdata/tables.wasm", Config{})
	for range 100 {
		if err := m.Run(t.Context(), &Call{}); err != nil {
			t.Fatal(err)
		}
	}
	if m.recyclable {
		t.Error("recyclable")
	}
}

// After a reset each byte of a memory is the initial one, also of what the guest cannot reach any more.
func TestReset(t *testing.T) {
	m := compileFile(t, "testdata/secret.wasm", Config{})
	for name, form := range map[string]*Module{"plain": m, "tracked": trackedForm(t, m)} {
		t.Run(name, func(t *testing.T) { testReset(t, m, form) })
	}
}

func testReset(t *testing.T, m, form *Module) {
	for run := range 3 * sweepAfter {
		entrypoint := "sprinkle"
		if run%20 == 0 {
			entrypoint = "return"
		}
		if err := m.runIn(t.Context(), form, &Call{Entrypoint: entrypoint}); err != nil {
			t.Fatal(err)
		}
		i := form.idle.take(&form.idle.shards[0])
		memory := i.memory.reserved[:i.memory.writable]
		n := len(m.image.content)
		if !bytes.Equal(memory[:n], m.image.content) || bytes.Count(memory[n:], []byte{0}) != len(memory)-n {
			t.Fatalf("run %d (%s) left something", run, entrypoint)
		}
		if got := i.module.Memory().Size(); got != 4*pageSize {
			t.Fatalf("run %d left %d bytes of memory", run, got)
		}
		form.idle.put(&form.idle.shards[0], i)
	}
}

// Much memory is given back, not copied; the instance stays.
func TestResetLarge(t *testing.T) {
	m := compileFile(t, "testdata/secret.wasm", Config{Memory: 2 * maxKept})
	for range 3 {
		for _, entrypoint := range []string{"grow", "look"} {
			if err := m.Run(t.Context(), &Call{Entrypoint: entrypoint}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if i := m.idle.take(&m.idle.shards[0]); i == nil || i.runs != 6 {
		t.Errorf("got %+v, want an instance that has served all", i)
	}
}

// What a guest has grown to is given back when the guests after it do without.
func TestSweep(t *testing.T) {
	m := compileFile(t, "testdata/secret.wasm", Config{Memory: 32 * pageSize})
	for _, entrypoint := range append([]string{"grow"}, slices.Repeat([]string{"look"}, sweepAfter)...) {
		if err := m.Run(t.Context(), &Call{Entrypoint: entrypoint}); err != nil {
			t.Fatal(err)
		}
	}
	memory := m.idle.take(&m.idle.shards[0]).memory
	defer memory.close()
	if memory.image.dirty == nil {
		t.Skip("the system does not tell which pages there are")
	}
	n, _, err := memory.image.dirty(memory.reserved[16*pageSize:memory.writable], memory.runs[:])
	if err != nil || n > 0 {
		t.Errorf("%d runs of pages are left, %v", n, err)
	}
}

// A memory that a guest has grown to the most that its module allows cannot shrink: the instance is not used again.
func TestResetFull(t *testing.T) {
	m, err := compileText(t, `(module (memory 1 2) (func (export "_start")
		(if (i32.ne (memory.grow (i32.const 1)) (i32.const 1)) (then unreachable))))`, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := m.Run(t.Context(), &Call{}); err != nil {
			t.Fatal(err)
		}
		if m.idle.take(&m.idle.shards[0]) != nil {
			t.Fatal("the instance was kept")
		}
	}
}

// A memory that begins with nothing shrinks to nothing.
func TestResetEmpty(t *testing.T) {
	m, err := compileText(t, `(module (memory 0) (func (export "_start")
		(if (i32.ne (memory.grow (i32.const 1)) (i32.const 0)) (then unreachable))
		(if (i32.load (i32.const 8)) (then unreachable))
		(i32.store (i32.const 8) (i32.const 1))))`, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := m.Run(t.Context(), &Call{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIntact(t *testing.T) {
	m := compileFile(t, "testdata/secret.wasm", Config{Memory: 16 * pageSize})
	tests := []struct {
		entrypoint string
		kept       bool
	}{
		{"return", true}, {"exit", true}, {"unreachable", true}, {"bounds", true}, {"recurse", true},
	}
	for _, test := range tests {
		m.idle.close()
		err := m.Run(t.Context(), &Call{Entrypoint: test.entrypoint})
		if kept := m.idle.take(&m.idle.shards[0]) != nil; kept != test.kept {
			t.Errorf("%s: %v: kept: %v, want %v", test.entrypoint, err, kept, test.kept)
		}
	}
	if intact(errors.New("nil pointer dereference (recovered by wazero)")) {
		t.Error("a fault in a system call leaves an instance intact")
	}
}

// Where the kernel does not tell what was written to, a memory at its resume point is copied, however large it is.
func TestResumeCopied(t *testing.T) {
	m, err := compileText(t, `(module (import "wagi" "resume" (func $resume)) (memory 32) (func (export "_start")
		(i32.store (i32.const 1500000) (i32.const 7))
		(call $resume)
		(if (i32.ne (i32.load (i32.const 1500000)) (i32.const 7)) (then unreachable))
		(if (i32.load (i32.const 2000000)) (then unreachable))
		(i32.store (i32.const 1500000) (i32.const 8))
		(i32.store (i32.const 2000000) (i32.const 8))))`, Config{Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	r := m.resumption
	r.starters.Wait()
	r.state.image.dirty = nil
	const runs = 10
	for range runs {
		if err := m.Run(t.Context(), &Call{}); err != nil {
			t.Fatal(err)
		}
	}
	for served := 0; served < runs; {
		i := r.idle.take(&r.idle.shards[0])
		if i == nil {
			t.Fatalf("the instances that are kept have served %d guests, want %d", served, runs)
		}
		served += i.runs
		i.close()
	}
}
