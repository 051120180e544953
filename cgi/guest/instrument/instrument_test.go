package instrument

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

func TestModule(t *testing.T) {
	got, err := Rewrite(assemble(t, `
		(import "a" "b" (func))
		(memory 2 5)
		(global $unset (mut i32) (i32.const 0))
		(global $set (mut i64) (i64.const 0))
		(global $exported (export "g") (mut f64) (f64.const 0))
		(export "wagi.global.1" (global $unset))
		(data (i32.const 1) "one")
		(data (offset (i32.add (i32.const 10) (i32.mul (i32.const -3) (i32.sub (i32.const 1) (i32.const 3))))) "two")
		(data "passive")
		(start 0)
		(func (global.set $set (i64.const 1)) (global.set $exported (f64.const 1)))`))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Binary) == 0 {
		t.Error("no binary")
	}
	got.Binary = nil
	want := &Module{
		Memory:     "wagi.memory",
		MinPages:   2,
		MaxPages:   5,
		Recyclable: true,
		Data:       []Segment{{1, []byte("one")}, {16, []byte("two")}},
		Globals:    []string{"wagi.global.1_", "g"},
		Start:      "wagi.start",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestReason(t *testing.T) {
	const table, data, elements = `(table 1 funcref)`, `(memory 1) (data "x")`, `(elem func)`
	for text, want := range map[string]string{
		table + `(func (table.set (i32.const 0) (ref.null func)))`:                                            "function 0 uses table.set",
		`(import "a" "f" (func))` + table + `(func) (func (drop (table.grow (ref.null func) (i32.const 0))))`: "function 2 uses table.grow",
		table + `(func (table.fill (i32.const 0) (ref.null func) (i32.const 1)))`:                             "function 0 uses table.fill",
		table + `(func (table.copy (i32.const 0) (i32.const 0) (i32.const 1)))`:                               "function 0 uses table.copy",
		table + elements + `(func (table.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))`:                  "function 0 uses table.init",
		elements + `(func (elem.drop 0))`:                                                                     "function 0 uses elem.drop",
		data + `(func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)))`:                             "function 0 uses memory.init",
		data + `(func (data.drop 0))`:                                                                         "function 0 uses data.drop",
		`(global (mut funcref) (ref.null func)) (func (global.set 0 (ref.null func)))`:                        "sets global 0, which is no number",
		`(global (mut v128) (v128.const i64x2 0 0)) (func (global.set 0 (v128.const i64x2 1 1)))`:             "sets global 0, which is no number",
		`(import "m" "n" (memory 1))`:                                                                         `imports the memory "m"."n"`,
		`(import "m" "n" (global i32)) (memory 1) (data (global.get 0) "x")`:                                  `imports the global "m"."n"`,
		`(memory 1) (data (i32.const 65535) "12")`:                                                            "data segment 0 lies outside of the memory",
		`(memory 1) (data (i32.const -1) "1")`:                                                                "data segment 0 lies outside of the memory",
		`(global (mut funcref) (ref.null func)) (memory 1) (data (i32.const 65535) "1")
			(func (drop (table.get 0 (i32.const 0))) (drop (table.size 0)))` + table: "",
	} {
		m, err := Rewrite(assemble(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if m.Reason != want || m.Recyclable != (want == "") {
			t.Errorf("%s: recyclable is %t, because it %q, want %q", text, m.Recyclable, m.Reason, want)
		}
	}
}

func TestError(t *testing.T) {
	for name, c := range map[string]struct{ wasm, want string }{
		"no module":          {"GIF89a", "not a WebAssembly module of version 1"},
		"cut off":            {magic + "\x01", "offset 0x9: cut off in the middle"},
		"section too long":   {magic + "\x01\x05\x00", "offset 0xa: cut off in the middle: 4 bytes are missing"},
		"section twice":      {magic + "\x01\x01\x00\x01\x01\x00", "offset 0xd: section 1 is unknown or out of order"},
		"unknown section":    {magic + "\x0e\x01\x00", "offset 0xa: section 14 is unknown or out of order"},
		"too many items":     {magic + "\x01\x05\xff\xff\xff\xff\x0f", "type section: offset 0xf: cut off in the middle: 4294967295 items in 0 bytes"},
		"bytes left":         {magic + "\x01\x02\x00\x00", "type section: offset 0xb: 1 bytes behind the last item"},
		"no code":            {magic + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00", "1 functions have 0 bodies"},
		"unknown opcode":     {string(moduleWith([]byte{0x06, opEnd})), "function 0: offset 0x47: unknown instruction 0x6"},
		"unknown misc":       {string(moduleWith([]byte{prefixMisc, 0x12, opEnd})), "function 0: offset 0x48: unknown instruction 0xfc 0x12"},
		"counter out of it":  {string(moduleWith([]byte{opGlobalGet, 1, 0x1a, opEnd})), "function 0: offset 0x48: global 1 of 1"},
		"local out of it":    {string(moduleWith([]byte{opLocalGet, 1, opDrop, opEnd})), "function 0: offset 0x48: local 1 of 1"},
		"branch out of code": {string(moduleWith([]byte{opBr, 1, opEnd})), "function 0: offset 0x48: branch out of more than 1 blocks"},
		"locals":             {magic + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x08\x01\x06\x01\xd1\x86\x03\x7f\x0b", "function 0: offset 0x1b: too many locals: 50001, of 50000 at most"},
		"wide type":          {magic + "\x01\xee\x07\x01\x60\xe9\x07" + strings.Repeat("\x7f", 1001) + "\x00", "type section: offset 0x3f9: type 0 has 1001 parameters and 0 results, of 1000 at most"},

		"no end": {string(moduleWith([]byte{opBlock, typeEmpty, opEnd})), "function 0: offset 0x49: blocks and their ends do not match"},
	} {
		if _, err := Rewrite([]byte(c.wasm)); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

// Each function may have many locals, but not all of them.
func TestAllLocals(t *testing.T) {
	const n = maxAllLocals/maxLocals + 1
	locals := appendUint([]byte{1}, maxLocals)
	body := append(locals, typeI32, opEnd)
	wasm := []byte(magic)
	for _, s := range [][]byte{
		{sectionType, 1, formFunction, 0, 0},
		append(appendUint([]byte{sectionFunction}, n), make([]byte, n)...),
		append(appendUint([]byte{sectionCode}, n), bytes.Repeat(append([]byte{byte(len(body))}, body...), n)...),
	} {
		wasm = append(appendUint(append(wasm, s[0]), uint32(len(s)-1)), s[1:]...)
	}
	if _, err := Rewrite(wasm); !errors.Is(err, errLocals) || !strings.Contains(err.Error(), "all functions") {
		t.Errorf("got %v, want %v", err, errLocals)
	}
}

// TestLinear rewrites what would take long if time were quadratic in size.
func TestLinear(t *testing.T) {
	const n = 10_000
	for name, text := range map[string]string{
		"nested blocks": "(func " + strings.Repeat("block ", n) + strings.Repeat("end ", n) + ")",
		"wide branches": "(func " + strings.Repeat("block ", n) + strings.Repeat(fmt.Sprintf("br %d ", n-1), n) + strings.Repeat("end ", n) + ")",
		"calls":         "(func $f) (table funcref (elem $f" + strings.Repeat(" $f", n) + ")) (func " + strings.Repeat("call $f ", n) + ")",
		"call chain":    chain(n),
	} {
		wasm := assemble(t, text)
		if m, err := Rewrite(wasm); err != nil || len(m.Binary) > 40*len(wasm) {
			t.Errorf("%s: %d bytes become %d, %v", name, len(wasm), len(m.Binary), err)
		}
	}
}

func chain(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "(func call %d)", (i+1)%n)
	}
	return text.String()
}

// TestGuest runs a program of Go in its original form and rewritten, with an interrupt at each check. It has to do and leave
// in memory the same.
func TestGuest(t *testing.T) {
	wasm := buildGuest(t)
	plain := runGuest(t, &Module{Binary: wasm})
	if !strings.Contains(plain, "exit_code(4)") || !strings.Contains(plain, "recovered: runtime error") {
		t.Fatalf("the guest itself fails: %s", plain)
	}
	for _, rewrite := range []func([]byte, int32) (*Module, error){rewrite, rewriteTracked} {
		m, err := rewrite(wasm, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !m.Recyclable {
			t.Errorf("not recyclable: %s", m.Reason)
		}
		if got := runGuest(t, m); got != plain {
			t.Errorf("got %s\nwant %s", got, plain)
		}
	}
}

func buildGuest(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testdata/go")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, out)
	}
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// runGuest says all that a guest did: its output, how it ended, how much memory it has.
func runGuest(t testing.TB, m *Module) string {
	t.Helper()
	ctx := context.Background()
	e := newEngine(t, ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, e)
	var output bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithArgs("guest", "argument").WithEnv("NAME", "value").
		WithStdin(strings.NewReader("to be or not to be")).WithStdout(&output).WithStderr(&output)
	instance, err := e.instantiate(ctx, m, config)
	if err != nil {
		t.Fatal(err)
	}
	check := checkTracked(instance, m.Written)
	_, err = instance.ExportedFunction("_start").Call(ctx)
	if err := check(); err != nil {
		t.Error(err)
	}
	cause, _, _ := strings.Cut(fmt.Sprint(err), "\n")
	return fmt.Sprintf("%s\n%s\n%d bytes", &output, cause, instance.Memory().Size())
}

// Wide calls, blocks and branches make the engine allocate far more than the module has bytes. Few of them are taken.
func TestWide(t *testing.T) {
	const width = 1000
	values := func(s string) string { return strings.Repeat(s, width) }
	wide := "(type $wide (func (param" + values(" i32") + ") (result" + values(" i32") + "))) (type $results (func (result" + values(" i32") + "))) "
	for name, text := range map[string]func(n int) string{
		"calls": func(n int) string {
			return "(func $f (type $wide) unreachable) (func " + values("i32.const 0 ") + strings.Repeat("call $f ", n) + values("drop ") + ")"
		},
		"indirect calls": func(n int) string {
			return "(table 1 funcref) (func " + values("i32.const 0 ") + strings.Repeat("i32.const 0 call_indirect (type $wide) ", n) + values("drop ") + ")"
		},
		"blocks": func(n int) string {
			return "(func " + values("i32.const 0 ") + strings.Repeat("block (type $wide) end ", n) + values("drop ") + ")"
		},
		"branch": func(n int) string {
			return "(func block (type $results) " + values("i32.const 0 ") + "i32.const 0 br_table" + strings.Repeat(" 0", n) + " 0 end " + values("drop ") + ")"
		},
		"returns": func(n int) string {
			return "(func (type $results) " + values("i32.const 0 ") + strings.Repeat("i32.const 0 br_if 0 ", n) + ")"
		},
	} {
		for n, ok := range map[int]bool{100: true, 600: false} {
			_, err := Rewrite(assemble(t, wide+text(n)))
			if ok && err != nil || !ok && (err == nil || !strings.Contains(err.Error(), "too many values passed on")) {
				t.Errorf("%d %s: %v", n, name, err)
			}
		}
	}
}
