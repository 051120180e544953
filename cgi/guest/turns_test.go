package guest

import (
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// hurried is the beginning of a module whose guests meet the turns each in another way.
const hurried = `(module
	(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
	(memory (export "memory") 32)
	(table 1 funcref)
	(func $spin (param $turns i32)
		(loop $again (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1))))))
	(func (export "spin") (call $spin (i32.const 0)))
	(func (export "spin a while") (call $spin (i32.const 3000000)))
	(func (export "spin and trap") (call $spin (i32.const 3000000)) unreachable)
	(func (export "spin and exit") (call $spin (i32.const 3000000)) (call $proc_exit (i32.const 1)))
	(func (export "overflow") (call $spin (i32.const 1000000)) (call $deep))
	(func $deep (call $deep) (call $deep))
	(func (export "long calls") (loop $again (br_if $again (i32.eqz (call $random_get (i32.const 0) (i32.const 0x200000))))))
	(func (export "short calls") (loop $again (br_if $again (i32.eqz (call $random_get (i32.const 0) (i32.const 8))))))
	(func (export "sleep") ;; 0.2 ms, again and again, after some computing
		(i32.store (i32.const 16) (i32.const 1))
		(i64.store (i32.const 24) (i64.const 200000))
		(loop $again
			(call $spin (i32.const 300000))
			(br_if $again (i32.eqz (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))))
	(func (export "read") ;; what never comes
		(i32.store (i32.const 4) (i32.const 16))
		(call $spin (i32.const 3000000))
		(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))
	(func (export "write") ;; to a client that takes a while
		(i32.store (i32.const 4) (i32.const 16))
		(loop $again
			(call $spin (i32.const 300000))
			(br_if $again (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))))
	`

// Guests of several modules that spin, call, sleep and wait are cancelled in the midst of it, and end in all other ways:
// each gives its turn back, none is left in the queue, and nothing of the turns goes on.
func TestTurnsComeBack(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	shared := newTurns(2)
	var modules []*Module
	for _, more := range []string{
		``,
		`(func (export "_initialize") (call $spin (i32.const 100000)))`,
		`(start $begin) (func $begin (call $spin (i32.const 3000000)))
			(func (export "_initialize") (table.set (i32.const 0) (ref.null func)) (call $spin (i32.const 3000000)))`,
	} {
		m, err := compileText(t, hurried+more+")", Config{Memory: 4 << 20, CPU: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		m.turns = shared
		modules = append(modules, m)
	}
	entrypoints := []string{
		"spin", "spin a while", "spin and trap", "spin and exit", "overflow", "long calls", "short calls", "sleep", "read", "write",
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 3 * len(entrypoints) {
				hurry(modules[(n+i)%len(modules)], entrypoints[(n+i)%len(entrypoints)])
			}
		})
	}
	all.Wait()
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines || shared.ticks(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before; ticking: %v", runtime.NumGoroutine(), goroutines, shared.ticks())
		}
	}
	if shared.free != 1 || len(shared.holders) != 0 || len(shared.waiting) != 0 {
		t.Errorf("%d turns are free, of 1; %d guests have one, those of %d modules wait", shared.free, len(shared.holders), len(shared.waiting))
	}
}

// hurry runs a guest whose client goes away after some time, before or while it waits for a turn, or has one.
func hurry(m *Module, entrypoint string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stdin, writer := io.Pipe()
	context.AfterFunc(ctx, func() { writer.Close() })
	time.AfterFunc(time.Duration(rand.IntN(8000))*time.Microsecond, cancel)
	m.Run(ctx, &Call{Entrypoint: entrypoint, Stdin: stdin, Stdout: slowWriter{}})
}

type slowWriter struct{}

func (slowWriter) Write(b []byte) (int, error) {
	time.Sleep(300 * time.Microsecond)
	return len(b), nil
}

// A module that has many requests at a time takes turns from their begin while another one works that has few.
func TestBusyModulesTakeTurns(t *testing.T) {
	s := newTurns(2)
	var light, busy lane
	want := func(l *lane, after time.Duration, want bool) {
		t.Helper()
		if got := s.begin(l, after); got != want {
			t.Errorf("request %d, after %v: needs a turn: %v", l.running.Load(), after, got)
		}
	}
	for range 5 {
		want(&busy, fresh, false) // it is alone
	}
	want(&light, fresh, false)
	want(&busy, fresh, true)
	busy.running.Store(0)
	want(&busy, fresh, false) // it has few itself for a moment
	busy.running.Store(5)
	want(&busy, fresh, true)
	want(&busy, 2*fresh, false) // the other one has ended
	want(&light, 2*fresh, false)
	want(&busy, 2*fresh, true)
}

// Modules take turns with each other, however many of their guests wait.
func TestTurnsOfModules(t *testing.T) {
	s := newTurns(2)
	var many, one lane
	holder := &turn{lane: &many}
	s.take(t.Context(), holder)
	ended := make(chan string)
	wait := func(name string, l *lane, place int) {
		go func() {
			mine := &turn{lane: l}
			s.take(t.Context(), mine)
			ended <- name
			s.release(mine)
		}()
		for waiting := 0; waiting < place; runtime.Gosched() {
			s.mu.Lock()
			waiting = len(l.queue)
			s.mu.Unlock()
		}
	}
	wait("first of many", &many, 1)
	wait("second of many", &many, 2)
	wait("third of many", &many, 3)
	wait("one", &one, 1)
	s.release(holder)
	for _, want := range []string{"first of many", "one", "second of many", "third of many"} {
		if got := <-ended; got != want {
			t.Errorf("%s has a turn, want %s", got, want)
		}
	}
}

// ticks says whether tick is going to be called.
func (s *turns) ticks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ticking
}
