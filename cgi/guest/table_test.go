package guest

import (
	"strings"
	"testing"
)

// Tables count as memory, all of a module together: 64 KiB are 8192 elements. No module has more than 262,144.
func TestTables(t *testing.T) {
	m, err := compileText(t, `(module (table $a 8000 funcref) (table $b 92 100 externref)
		(func $want (param i32 i32) (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
		(func (export "_start")
			(call $want (table.grow $a (ref.null func) (i32.const 101)) (i32.const -1))
			(call $want (table.grow $a (ref.null func) (i32.const -1)) (i32.const -1))
			(call $want (table.grow $a (ref.null func) (i32.const 60)) (i32.const 8000))
			(call $want (table.grow $b (ref.null extern) (i32.const 41)) (i32.const -1))
			(call $want (table.grow $b (ref.null extern) (i32.const 8)) (i32.const 92))
			(call $want (table.grow $b (ref.null extern) (i32.const 0)) (i32.const 100))
			(call $want (table.size $a) (i32.const 8060))))`, Config{Memory: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.Run(t.Context(), &Call{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = compileText(t, `(module (table 8000 funcref) (table 193 externref) (func (export "_start")))`, Config{Memory: pageSize})
	if want := "begins with 8193 elements in its tables, more than the 8192 that its memory limit of 0.0625 MiB allows: raise the limit"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	m, err = compileText(t, `(module (table $t 0 externref) (func (export "_start")
		(if (i32.ne (table.grow $t (ref.null extern) (i32.const 0x40001)) (i32.const -1)) (then unreachable))
		(if (table.grow $t (ref.null extern) (i32.const 0x40000)) (then unreachable))))`, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), &Call{}); err != nil {
		t.Error(err)
	}
	_, err = compileText(t, `(module (table 0x40001 funcref) (func (export "_start")))`, Config{})
	if want := "begins with 262145 elements in its tables, more than 262144"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
