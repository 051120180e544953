package guest

import (
	"context"
	"strings"
	"testing"
	"time"

	"containerd-shim-wagi-v1/cgi/wat"
)

// What the initializers do is done once, in their order, and each guest begins with it: memory, its size, globals.
func TestInitialize(t *testing.T) {
	const module = `(module
		(import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
		(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
		(memory 1)
		(table 1 funcref)
		(global $runs (mut i32) (i32.const 0))
		(data (i32.const 100) "data")
		(func $expect (param $number i32) (param $true i32)
			(if (i32.eqz (local.get $true)) (then (call $proc_exit (local.get $number)))))
		(func (export "_initialize")
			(call $expect (i32.const 1) (i32.eqz (global.get $runs)))
			(drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
			(call $expect (i32.const 2) (i32.eqz (i32.load (i32.const 0))))
			(global.set $runs (i32.const 1)))
		(func (export "wizer-initialize")
			(call $expect (i32.const 3) (i32.eq (global.get $runs) (i32.const 1)))
			(global.set $runs (i32.const 2))
			(drop (memory.grow (i32.const 2)))
			(i32.store (i32.const 102) (i32.const 7))
			(i32.store (i32.const 150000) (i32.const 8)))
		(func (export "_start")
			(call $expect (i32.const 4) (i32.eq (global.get $runs) (i32.const 2)))
			(call $expect (i32.const 5) (i32.eq (memory.size) (i32.const 3)))
			(call $expect (i32.const 6) (i32.eq (i32.load (i32.const 102)) (i32.const 7)))
			(call $expect (i32.const 7) (i32.eq (i32.load (i32.const 150000)) (i32.const 8)))
			(call $expect (i32.const 8) (i32.eqz (i32.load (i32.const 150004))))
			(global.set $runs (i32.const 9))
			(drop (memory.grow (i32.const 1)))
			(memory.fill (i32.const 0) (i32.const 9) (i32.mul (memory.size) (i32.const 65536))))
		CHANGE)`
	tests := []struct {
		name, change string
		config       Config
		recyclable   bool
	}{
		{"recycled", "", Config{}, true},
		{"fresh", "", Config{NoReuse: true}, true},
		{"not recyclable", `(func (table.set (i32.const 0) (ref.null func)))`, Config{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := compileText(t, strings.Replace(module, "CHANGE", test.change, 1), test.config)
			if err != nil {
				t.Fatal(err)
			}
			if m.recyclable != test.recyclable {
				t.Errorf("recyclable: %v", m.recyclable)
			}
			for range 3 {
				if err := m.Run(t.Context(), &Call{Args: []string{"argument"}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What runs when a module is loaded cannot keep it from an end.
func TestStartTimeout(t *testing.T) {
	for text, want := range map[string]string{
		`(module (func (export "_initialize") (loop (br 0))))`:                      "_initialize: guest stopped",
		`(module (func $s (loop (br 0))) (start $s) (func (export "_initialize")))`: "does not instantiate: guest stopped",
	} {
		_, err := compileText(t, text, Config{StartTimeout: time.Millisecond})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "did not return within 1ms") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestInitializeErrors(t *testing.T) {
	const head = `(module (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32))) `
	tests := []struct{ text, want string }{
		{head + `(func (export "_initialize") unreachable))`, "_initialize: guest trapped: unreachable"},
		{head + `(func (export "wizer.initialize") (call $proc_exit (i32.const 3))))`, "wizer.initialize: guest exited with status 3"},
		{head + `(func (export "wizer.initialize") (call $proc_exit (i32.const 0))))`, "wizer.initialize: guest exited"},
	}
	for _, test := range tests {
		if _, err := compileText(t, test.text, Config{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q in it", err, test.want)
		}
	}
}

// compileText compiles a module in the text format.
func compileText(t *testing.T, text string, cfg Config) (*Module, error) {
	t.Helper()
	m, err := Compile(t.Context(), assemble(t, text), cfg)
	if err == nil {
		t.Cleanup(func() { m.Close(context.Background()) })
	}
	return m, err
}

// The initializer takes a turn where the guest that it belongs to has had the only one.
func TestInitializeTurns(t *testing.T) {
	m, err := compileText(t, `(module (table 1 funcref)
		(func $spin (local i32) (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 10000000)))))
		(start $spin)
		(func (export "_initialize") (table.set (i32.const 0) (ref.null func)) (call $spin))
		(func (export "_start")))`, Config{})
	if err != nil {
		t.Fatal(err)
	}
	m.turns = newTurns(2)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 3 {
		if err := m.Run(ctx, &Call{}); err != nil {
			t.Fatal(err)
		}
	}
}

func assemble(t *testing.T, text string) []byte {
	t.Helper()
	binary, err := wat.Assemble([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
