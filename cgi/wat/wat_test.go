package wat

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

var update = flag.Bool("update", false, "write testdata/*.wasm anew")

func TestIsText(t *testing.T) {
	for source, want := range map[string]bool{"(module)": true, "": true, "\x00as": true, "\x00asm": false, "\x00asm\x01\x00\x00\x00": false} {
		if got := IsText([]byte(source)); got != want {
			t.Errorf("%q: got %v, want %v", source, got, want)
		}
	}
}

// TestPrograms assembles testdata/*.wat into the .wasm beside it and runs it.
func TestPrograms(t *testing.T) {
	programs, _ := filepath.Glob("testdata/*.wat")
	if len(programs) == 0 {
		t.Fatal("no programs in testdata")
	}
	for _, path := range programs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Assemble(source)
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".wat") + ".wasm"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil {
				t.Error(err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("\n got %x\nwant %x", got, want)
			}
			run(t, got)
		})
	}
}

// run runs a program with all features of wazero: main returns 42, _start
// says hello.
func run(t *testing.T, module []byte) {
	ctx := context.Background()
	features := api.CoreFeaturesV2 | experimental.CoreFeaturesThreads | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst |
		experimental.CoreFeaturesExceptionHandling | experimental.CoreFeaturesTypedFunctionReferences
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features))
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	var stdout bytes.Buffer
	guest, err := r.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithStdout(&stdout))
	if err != nil {
		t.Fatal(err)
	}
	main := guest.ExportedFunction("main")
	if main == nil {
		if want := "Content-Type: text/plain; charset=utf-8\n\nhello 🌍\n"; stdout.String() != want {
			t.Errorf("got %q, want %q", &stdout, want)
		}
		return
	}
	if got, err := main.Call(ctx); err != nil || got[0] != 42 {
		t.Errorf("got %v, %v, want 42", got, err)
	}
}

// TestSameAs compares forms that wat2wasm lacks with forms that it has.
func TestSameAs(t *testing.T) {
	for form, same := range map[string]string{
		``:       `(module)`,
		`(func)`: `(module (func))`,
		`(module quote "(func (export \"f\"))" "(memory 1)")`: `(module (func (export "f")) (memory 1))`,
		`(module $m quote)`: `(module)`,
		`(@a "with" (anything) at, all; [in] {it} "x;y" "z"(; c ;)) (func (@name "f") (@"n") nop)`:                                      `(func nop)`,
		`(func $"a b" (call $"a b") (call $"c") (call $d)) (func $c) (func $"\64")`:                                                     `(func (call 0) (call 1) (call 2)) (func) (func)`,
		`(memory 1) (data "\u{10_ffff}")`:                                                                                               `(memory 1) (data "\f4\8f\bf\bf")`,
		`(table 1 funcref) (func (drop (table.get (i32.const 0))) (drop (table.size)))`:                                                 `(table 1 funcref) (func (drop (table.get 0 (i32.const 0))) (drop (table.size 0)))`,
		`(memory $m 1) (func (drop (i32.load $m offset=1 (i32.const 0))) (memory.copy $m 0 (i32.const 0) (i32.const 0) (i32.const 0)))`: `(memory 1) (func (drop (i32.load offset=1 (i32.const 0))) (memory.copy (i32.const 0) (i32.const 0) (i32.const 0)))`,
		`(func (param (ref null func) (ref null extern) (ref null exn)))`:                                                               `(func (param funcref externref exnref))`,
		`(type $t (func)) (func $f) (table (ref null $t) (elem $f))`:                                                                    `(type $t (func)) (func $f) (table 1 1 (ref null $t)) (elem (table 0) (i32.const 0) (ref null $t) (ref.func $f))`,
		"(func)\r\n;; a\r(func)": "(func) (func)",
	} {
		got, err := Assemble([]byte(form))
		want, wantErr := Assemble([]byte(same))
		if err != nil || wantErr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s\n got %x, %v\nwant %x, %v", form, got, err, want, wantErr)
		}
	}
}

// TestLeftToRuntime: what is well-formed but not valid is assembled, and the
// runtime says what is wrong with it.
func TestLeftToRuntime(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	for _, source := range []string{"(global i32)", "(elem funcref (item))", "(func i32.add)", "(func (result i32))", "(table 1 funcref) (elem (offset))"} {
		module, err := Assemble([]byte(source))
		if err != nil {
			t.Errorf("%s: %v", source, err)
		} else if _, err := r.CompileModule(ctx, module); err == nil {
			t.Errorf("%s: compiled", source)
		}
	}
}

func TestErrors(t *testing.T) {
	for source, want := range map[string]string{
		// Characters and tokens.
		"(module\n  (func)":              `1:1: parenthesis is never closed`,
		"(module (func)":                 `1:1: parenthesis is never closed`,
		"(module (func (nop)":            `1:9: parenthesis is never closed`,
		"(module))":                      `1:9: unexpected ")": nothing is open`,
		"(module)\n(; (; ;)":             `2:1: comment is never closed`,
		"(module (data \"abc":            `1:15: string is never closed`,
		"(module (data \"abc\n\"))":      `1:15: string is not closed on its line`,
		"(data \"a\tb\")":                `1:9: control character in a string: write it as \09`,
		"(data \"a\\q\")":                `1:9: unknown escape \q`,
		"(data \"\\é\")":                 `1:8: unknown escape \é`,
		"(data \"\\u{d800}\")":           `1:8: bad escape: wanted \u{…} with a Unicode scalar value in hexadecimal`,
		"(data \"a\"\"b\")":              `1:10: space is missing between "a" and "`,
		"(func $)":                       `1:7: name is empty`,
		"(func [)":                       `1:7: unexpected character '['`,
		"(func é)":                       `1:7: unexpected character 'é'`,
		"(func \xff)":                    `1:7: malformed UTF-8`,
		"(@ )":                           `1:1: annotation has no name`,
		"(import \"a\" \"\\ff\" (func))": `1:13: "\ff" is not UTF-8`,

		// Fields.
		"(module) (module)":                             `1:10: unexpected (, wanted the end`,
		"(module (fun))":                                `1:10: unexpected fun, wanted a field of a module`,
		"(module func)":                                 `1:9: unexpected func, wanted "("`,
		"(func) (import \"a\" \"b\" (func))":            `1:9: imports must come before all functions, tables, memories, globals and tags of the module`,
		"(func)\n(memory (import \"a\" \"b\") 1)":       `2:2: imports must come before all functions, tables, memories, globals and tags of the module`,
		"(func $f)\n(func $f)":                          `2:7: duplicate function $f`,
		"(func (param $x i32)\n(local $x i32))":         `2:8: duplicate local $x`,
		"(func (export \"a\") (export \"a\"))":          `1:28: duplicate export "a"`,
		"(export \"a\" (elem 0))":                       `1:14: unexpected elem, wanted func, table, memory, global or tag`,
		"(start 0) (start 0) (func)":                    `1:12: a module has one start function at most`,
		"(type (func (param i31)))":                     `1:20: unexpected i31, wanted a value type`,
		"(type (fnc))":                                  `1:7: unexpected (, wanted (func …)`,
		"(type $t (func)) (func (type $t) (param i32))": `1:24: the inline function type differs from type 0`,
		"(func (type 3))":                               `1:13: unknown type 3: there are 0`,
		"(memory)":                                      `1:8: unexpected ), wanted a number`,
		"(memory 0x1_0000_0000)":                        `1:9: number out of range: 0x1_0000_0000`,
		"(table 1 i32)":                                 `1:10: unexpected i32, wanted a reference type`,
		"(elem declare $f)":                             `1:15: unexpected $f, wanted func or a reference type`,
		"(module quote \"(func\" \"\n)\")":              `1:23: string is not closed on its line`,
		"(module\n quote \"(func)\" \"(fun)\")":         `2:8: quoted module: 1:8: unexpected fun, wanted a field of a module`,

		// Instructions.
		"(func\n  i32.addd)":                  `2:3: unknown instruction i32.addd, is it i32.add?`,
		"(func get_local)":                    `1:7: unknown instruction get_local`,
		"(func xyzzyxyzzy)":                   `1:7: unknown instruction xyzzyxyzzy`,
		"(func (local.get $x))":               `1:18: unknown local $x`,
		"(func (local.get 1))":                `1:18: unknown local 1: there are 0`,
		"(func call nop)":                     `1:12: unexpected nop, wanted a name or an index`,
		"(func br (nop))":                     `1:10: unexpected (, wanted a label`,
		"(func call -1)":                      `1:12: unexpected -1, wanted a name or an index`,
		"(func f32.const nan:canonical)":      `1:17: malformed number: nan:canonical`,
		"(func f32.const nan:0x_1)":           `1:17: malformed number: nan:0x_1`,
		"(func $\"\")":                        `1:8: name is empty`,
		"(memory 1) (data 0 \"a\")":           `1:20: unexpected "a", wanted "("`,
		"(table funcref)":                     `1:15: unexpected ), wanted (elem …)`,
		"(func call $f)":                      `1:12: unknown function $f`,
		"(func block $a br $b end)":           `1:19: unknown label $b`,
		"(func block $a end br $a)":           `1:23: unknown label $a`,
		"(func block br 2 end)":               `1:16: unknown label 2: there are 2`,
		"(func block $a end $b)":              `1:20: label $b is not that of the innermost block`,
		"(func\n block loop end)":             `2:2: block has no end`,
		"(func (block loop) end)":             `1:14: loop has no end`,
		"(func (block end))":                  `1:14: end without a block`,
		"(func end)":                          `1:7: end without a block`,
		"(func block else end)":               `1:13: else without if`,
		"(func (if (i32.const 1)))":           `1:24: unexpected ), wanted (then …)`,
		"(func (if i32.const 1 (then)))":      `1:11: unexpected i32.const, wanted an operand in parentheses`,
		"(func (i32.add 1))":                  `1:16: unexpected 1, wanted an operand in parentheses`,
		"(func (end))":                        `1:8: unexpected end, wanted an instruction that can be folded`,
		"(func i32.const 0x1_0000_0000)":      `1:17: number out of range: 0x1_0000_0000`,
		"(func i32.const -2147483649)":        `1:17: number out of range: -2147483649`,
		"(func i32.const 1__0)":               `1:17: malformed number: 1__0`,
		"(func i32.const)":                    `1:16: unexpected ), wanted a number`,
		"(func f32.const 1e39)":               `1:17: number out of range: 1e39`,
		"(func f32.const nan:0x800000)":       `1:17: number out of range: nan:0x800000`,
		"(func f64.const 0X1)":                `1:17: malformed number: 0X1`,
		"(func f64.const .5)":                 `1:17: malformed number: .5`,
		"(func f64.const infinity)":           `1:17: malformed number: infinity`,
		"(func i32.load align=3)":             `1:22: alignment must be a power of two`,
		"(func i32.load align=0)":             `1:22: alignment must be a power of two`,
		"(func i32.load align=8)":             `1:22: alignment must not be larger than the access of 4 bytes`,
		"(func i32.atomic.load align=2)":      `1:29: alignment of an atomic access must be its width of 4 bytes`,
		"(func i32.load offset=4294967296)":   `1:23: number out of range: 4294967296`,
		"(func v128.const i32 1)":             `1:18: unexpected i32, wanted a shape such as i32x4`,
		"(func v128.const i8x16 256)":         `1:24: number out of range: 256`,
		"(func i8x16.extract_lane_s -1)":      `1:28: malformed number: -1`,
		"(func try_table (catch $e 0) end)":   `1:24: unknown tag $e`,
		"(func call_indirect (param $x i32))": `1:28: unexpected $x, wanted ")"`,
		"(func (result i32) (param i32))":     `1:21: unknown instruction param`,
	} {
		_, err := Assemble([]byte(source))
		var located *Error
		if !errors.As(err, &located) || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", source, err, want)
		}
	}
}
