package instrument

import (
	"fmt"
	"strings"
	"testing"
)

// costly are modules for which the engine's time or memory grows faster than their size: n of one thing and m of another.
var costly = map[string]struct {
	n, m int // too many
	want string
	text func(n, m int) string
}{
	"ifs, then locals": {4000, 4000, "too many locals for its branches", func(n, m int) string {
		return "(func " + locals(m) + repeat(n, "(if (local.get 0) (then (local.set %d (i32.const 1))))", m) + repeat(m, "(drop (local.get %d))", m) + ")"
	}},
	"ifs that use locals": {3000, 3000, "too many values held over branches", func(n, m int) string {
		return "(memory 1) (func " + locals(m) + repeat(m, "(local.set %d (i32.load (i32.const 0)))", m) + repeat(n, "(if (local.get 0) (then (local.set %d (i32.load (i32.const 1)))))", m) + repeat(m, "(i32.store (i32.const 0) (local.get %d))", m) + ")"
	}},
	"nested ifs, then reads": {12000, 12000, "too many branches in a row", func(n, m int) string {
		return "(func " + locals(1) + strings.Repeat("local.get 0 if ", n) + strings.Repeat("local.get 0 drop ", m) + strings.Repeat("end ", n) + ")"
	}},
	"branches, then reads": {12000, 12000, "too many branches in a row", func(n, m int) string {
		return "(func " + locals(1) + strings.Repeat("(br_if 0 (local.get 0))", n) + strings.Repeat("(drop (local.get 0))", m) + ")"
	}},
	"ifs, then reads": {12000, 12000, "too many values held over branches", func(n, m int) string {
		return "(memory 1) (func " + locals(2) + strings.Repeat("(if (local.get 0) (then (nop))) (i32.store (i32.const 0) (local.get 1))", n) + strings.Repeat("(i32.store (i32.const 0) (local.get 1))", m) + ")"
	}},
	"nested blocks": {2000, 2000, "too many locals for its branches", func(n, m int) string {
		return "(func " + locals(m) + strings.Repeat("block ", n) + repeat(n, "local.get 0 br_if %d ", n) + repeat(n, "end local.get %d drop ", m) + ")"
	}},
	"loops in a row": {3000, 3000, "too many locals for its branches", func(n, m int) string {
		return "(func " + locals(m) + repeat(n, "(loop (br_if 0 (local.get %d)))", m) + repeat(m, "(drop (local.get %d))", m) + ")"
	}},
	"nested loops": {300, 300, "too many locals or nested loops for its branches", func(n, m int) string {
		return "(func " + locals(m) + strings.Repeat("loop ", n) + repeat(m, "(drop (local.get %d))", m) + strings.Repeat("(br_if 0 (local.get 0)) end ", n) + ")"
	}},
	"switch": {2000, 2000, "too many locals or nested loops for its branches", func(n, m int) string {
		return "(func " + locals(m) + "(block " + strings.Repeat("block ", n) + "(br_table " + repeat(n, "%d ", n) + "(local.get 0))" +
			repeat(n, "end (local.set %d (i32.const 1)) br "+"0 ", m) + ")" + repeat(m, "(drop (local.get %d))", m) + ")"
	}},
	"values, then branches": {4000, 4000, "too many values held over branches", func(n, m int) string {
		return "(memory 1) (func (result i32) (local i32) " + repeat(m, "(i32.load (i32.const %d))", m) + strings.Repeat("(if (local.get 0) (then (nop)))", n) + strings.Repeat("i32.add ", m-1) + ")"
	}},
	"values through loops": {4000, 4000, "too many values held over branches", func(n, m int) string {
		return "(memory 1) (func (result i32) (local i32) " + repeat(m, "(i32.load (i32.const %d))", m) + strings.Repeat("(loop (br_if 0 (local.get 0)))", n) + strings.Repeat("i32.add ", m-1) + ")"
	}},
	"addresses, then branches": {4000, 4000, "too many values held over branches", func(n, m int) string {
		return "(memory 1) (func " + locals(1) + repeat(m, "(drop (i32.load (i32.const %d)))", m) + strings.Repeat("(br_if 0 (local.get 0))", n) + ")"
	}},
	"globals and calls": {4000, 4000, "too many calls for the module's mutable globals", func(n, m int) string {
		return strings.Repeat("(global (mut i32) (i32.const 0))", m) + "(func $f) (func " + strings.Repeat("call $f ", n) + ")"
	}},
	"globals and fills": {4000, 4000, "too many calls for the module's mutable globals", func(n, m int) string {
		return "(memory 1)" + strings.Repeat("(global (mut i32) (i32.const 0))", m) + "(func " + strings.Repeat("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))", n) + ")"
	}},
	"values, then fills": {4000, 4000, "too many values held over branches", func(n, m int) string {
		return "(memory 1) (func (result i32) " + repeat(m, "(i32.load (i32.const %d))", m) + strings.Repeat("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))", n) + strings.Repeat("i32.add ", m-1) + ")"
	}},
	"branches out of tries": {1000, 1000, "too many branches out of its try_tables", func(n, m int) string {
		return "(func " + locals(1) + strings.Repeat("block try_table (catch_all 0) ", m) + strings.Repeat(fmt.Sprintf("local.get 0 br_if %d ", 2*m), n) + strings.Repeat("end end ", m) + ")"
	}},
	"shifts by nothing": {30000, 30000, "too many branches in a row", func(n, m int) string {
		return "(memory 1) (func (local i32) (local.set 0 (i32.load (i32.const 0)))" + strings.Repeat("(local.set 0 (i32.shl (local.get 0) (i32.const 0)))", n) + strings.Repeat("(i32.store (i32.const 0) (local.get 0))", m) + ")"
	}},
	"rotation": {1, 6000, "too many locals that change in its loops", func(n, m int) string {
		return "(func " + locals(m+1) + "i32.const 0 (loop (param i32) drop " + repeat(m-1, "(local.set %d (local.get %d))", m) + "i32.const 0 (br_if 0 (local.get 0)) drop))"
	}},
	"types": {70000, 70000, "70000 functions with 70000 types", func(n, m int) string {
		return strings.Repeat("(type (func))", m) + strings.Repeat("(func)", n)
	}},
	"globals": {70000, 70000, "70000 functions with 1 types, 70000 globals", func(n, m int) string {
		return strings.Repeat("(global i32 (i32.const 0))", m) + strings.Repeat("(func)", n)
	}},
	"functions after a large one": {900000, 10000, "900001 functions", func(n, m int) string {
		return "(func (local i32) " + strings.Repeat("(br_if 0 (local.get 0))", m) + ")" + strings.Repeat("(func)", n)
	}},
}

// locals declares m locals.
func locals(m int) string { return "(local" + strings.Repeat(" i32", m) + ")" }

// repeat repeats text n times, with the numbers from 0 modulo m in it, and if it has two verbs the next number too.
func repeat(n int, text string, m int) string {
	var b strings.Builder
	for i := range n {
		numbers := []any{i % m, (i + 1) % m}
		fmt.Fprintf(&b, text, numbers[:strings.Count(text, "%d")]...)
	}
	return b.String()
}

// What is small passes, whatever it is. What the engine would take minutes for does not.
func TestWork(t *testing.T) {
	for name, f := range costly {
		if _, err := Rewrite(assemble(t, f.text(40, 40))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := Rewrite(assemble(t, f.text(f.n, f.m)))
		if err == nil || !strings.Contains(err.Error(), "too much work to compile: "+f.want) {
			t.Errorf("%d %d %s: got %v, want %q", f.n, f.m, name, err, f.want)
		}
	}
}
