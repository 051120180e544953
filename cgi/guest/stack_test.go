package guest

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// Functions that call each other without an end, by all ways there are, stop when their stack is longer than the limit,
// and soon after. None of it is kept.
func TestStack(t *testing.T) {
	const limit = leastStack
	for name, text := range map[string]string{
		"plain":        `(func $f (export "_start") (call $f))`,
		"ring":         `(func $f (export "_start") (call $g)) (func $g (call $h)) (func $h (call $f))`,
		"many locals":  `(func $f (export "_start") (local ` + strings.Repeat("i64 ", 1000) + `) (call $f) ` + uses(1000) + `)`,
		"many results": `(func $i (result i64) (i64.const 1)) (func $f (export "_start") ` + strings.Repeat("(call $i) ", 500) + `(call $f) ` + strings.Repeat("drop ", 500) + `)`,
		"table":        `(type $t (func)) (table funcref (elem $f)) (func $f (export "_start") (call_indirect (type $t) (i32.const 0)))`,
		"table, leaf": `(type $t (func)) (table funcref (elem $f)) (func $f (call $g)) (func $g (call_indirect (type $t) (i32.const 0)))
			(func (export "_start") (call $f))`,
		"tries":  `(func $f (export "_start") (block (try_table (catch_all 0) (call $f))))`,
		"throws": `(tag $e) (func $f (export "_start") (block (try_table (catch_all 0) (call $f))) (throw $e))`,
		"start":  `(func $f (call $f)) (start $f) (func (export "_start"))`,
	} {
		t.Run(name, func(t *testing.T) {
			m, err := compileText(t, "(module "+text+")", Config{Memory: limit})
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			debug.FreeOSMemory()
			runtime.ReadMemStats(&before)
			err = m.Run(t.Context(), &Call{})
			runtime.ReadMemStats(&after)
			if trap, ok := errors.AsType[*TrapError](err); !ok || trap.Reason != stackOverflow {
				t.Errorf("got %v, want a stack overflow", err)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16*limit {
				t.Errorf("%d MiB were allocated for it", allocated>>20)
			}
			debug.FreeOSMemory()
			runtime.ReadMemStats(&after)
			if after.HeapAlloc > before.HeapAlloc+limit/2 {
				t.Errorf("%d KiB are kept", (after.HeapAlloc-before.HeapAlloc)>>10)
			}
		})
	}
}

// uses is code that uses each of n locals.
func uses(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "(local.set %d (i64.add (local.get %d) (local.get %d))) ", i, i, (i+1)%n)
	}
	return text.String()
}

// What a C program with a shadow stack of 1 MiB can call one in another runs: 16 bytes of it are the least that a call takes.
func TestStackDeep(t *testing.T) {
	m, err := compileText(t, `(module (memory 17) (global $sp (mut i32) (i32.const 0x100000))
		(func $f (param $n i32) (result i32) (local $sum i32)
			(global.set $sp (i32.sub (global.get $sp) (i32.const 16)))
			(i32.store (global.get $sp) (local.get $n))
			(if (local.get $n) (then (local.set $sum (i32.add (local.get $n) (call $f (i32.sub (local.get $n) (i32.const 1)))))))
			(global.set $sp (i32.add (global.get $sp) (i32.const 16)))
			(i32.add (local.get $sum) (i32.load (i32.sub (global.get $sp) (i32.const 16)))))
		(func (export "_start") (if (i32.eqz (call $f (i32.const 65535))) (then unreachable))))`, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := m.Run(t.Context(), &Call{}); err != nil {
			t.Fatal(err)
		}
	}
}
