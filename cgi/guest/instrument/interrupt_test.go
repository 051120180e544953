package instrument

import (
	"fmt"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/cgi/wat"
)

func assemble(t testing.TB, text string) []byte {
	t.Helper()
	wasm, err := wat.Assemble([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%.1000s", err, text)
	}
	return wasm
}

// endless are modules whose function run never ends, or in years.
var endless = map[string]string{
	"loop": `(func (export "run") (loop br 0))`,
	"nested loops": `(func (export "run") (local i32) (loop (local.set 0 (i32.const 3))
		(loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) br 0))`,
	"loop with parameter": `(func (export "run") i32.const 1 (loop (param i32) (result i32) i32.const 2 i32.add br 0) drop)`,
	"loop by table":       `(func (export "run") (loop (br_table 0 0 0 (i32.const 7))))`,
	"loop from a block":   `(func (export "run") (loop (block (block (br 2)))))`,
	"loop of tries":       `(func (export "run") (loop (try_table (catch_all 0) (br 1))))`,
	"loop of exceptions":  `(tag) (func (export "run") (loop (block (try_table (catch_all 0) (throw 0))) (br 0)))`,
	"loop of known turns": `(func (export "run") (local i32) (loop (local.set 0 (i32.const 1600))
		(loop (br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const -1))))) br 0))`,
	"loop of fills":       `(memory 256) (func (export "run") (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000)) br 0))`,
	"loop of table fills": `(table 100000 funcref) (func (export "run") (loop (table.fill (i32.const 0) (ref.null func) (i32.const 100000)) br 0))`,
	"tail recursion":      `(func $a (export "run") return_call $b) (func $b return_call $c) (func $c return_call $a)`,
	"fib": `(func $fib (param i32) (result i32) (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
		(else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
		(func (export "run") (drop (call $fib (i32.const 60))))`,
	"recursion with two results": `(func $f (param i32) (result i32 i32)
		(if (i32.eqz (local.get 0)) (then (return (i32.const 0) (i32.const 0))))
		(call $f (i32.sub (local.get 0) (i32.const 1))) drop drop (call $f (i32.sub (local.get 0) (i32.const 1))))
		(func (export "run") (call $f (i32.const 60)) drop drop)`,
	"ring through a table": `(type $t (func)) (table funcref (elem $a $b))
		(func $a (export "run") (return_call_indirect (type $t) (i32.const 1)))
		(func $b (return_call $c)) (func $c (return_call_indirect (type $t) (i32.const 0)))`,
	"recursion by reference": `(type $t (func (param i32))) (elem declare func $a)
		(func $a (type $t) (if (local.get 0) (then (call $twice (i32.sub (local.get 0) (i32.const 1))))))
		(func $twice (param i32) (call_ref $t (local.get 0) (ref.func $a)) (call_ref $t (local.get 0) (ref.func $a)))
		(func (export "run") (call $a (i32.const 60)))`,
	"calls without a cycle": doubling("(call $f%d)"),
	"indirect calls without a cycle": `(type $t (func)) (table funcref (elem $f0 $f1 $f2 $f3 $f4)) ` +
		doubling("(call_indirect (type $t) (i32.const 0)) (call $f%d)"),
	"loop of long paths":       `(memory 1) (func (export "run") (loop ` + strings.Repeat("(drop (memory.grow (i32.const 0)))", 30000) + ` br 0))`,
	"loop dearer than a fill":  `(func (export "run") (loop ` + dear + ` br 0)) (func $f ` + strings.Repeat("nop ", 1000) + `)`,
	"call dearer than a fill":  `(func (export "run") (loop (call $g) br 0)) (func $g ` + dear + `) (func $f ` + strings.Repeat("nop ", 1000) + `)`,
	"start function":           `(func $f (loop br 0)) (start $f) (func (export "run"))`,
	"unreachable code in loop": `(func (export "run") (loop (br 0) (loop (br 1)) (block (br 0))))`,
}

// dear is the text of calls of a function $f of 1000 instructions, which cost more than a whole fill of the counter.
var dear = strings.Repeat("(call $f)", fill*perUnit/1000)

// doubling is the text of functions that call no function that leads to themselves, but all in all 2 to the power of
// 60 times. The text of a call has the number of the callee.
func doubling(call string) string {
	var text strings.Builder
	text.WriteString(`(func $f0) (func (export "run") (call $f60))`)
	for i := range 60 {
		fmt.Fprintf(&text, "(func $f%d "+call+" "+call+")", i+1, i, i)
	}
	return text.String()
}
