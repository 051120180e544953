package wat

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHostile assembles sources of a megabyte that would take hours if
// anything took more than linear time, or overflow the stack if anything were
// nested without bound.
func TestHostile(t *testing.T) {
	many := func(s string) string { return strings.Repeat(s, 1<<20/len(s)) }
	for name, source := range map[string]string{
		"open parentheses":       many("("),
		"closed parentheses":     many("(") + many(")"),
		"nested fields":          "(module " + many("(func "),
		"nested instructions":    "(func " + many("(block ") + many(")"),
		"nested operands":        "(func " + many("(drop ") + many(")") + ")",
		"nested conditions":      "(func " + many("(if ") + many(")") + ")",
		"flat blocks":            "(func " + many("block ") + many("end ") + ")",
		"flat labels":            "(func " + many("block $l ") + many("br $l ") + many("end ") + ")",
		"flat outermost label":   "(func block $o " + many("block $l ") + many("br $o ") + many("end ") + "end)",
		"else branches":          "(func " + many("if else ") + many("end ") + ")",
		"nested comments":        many("(;"),
		"line comments":          many(";;\n"),
		"annotations":            many("(@a "),
		"closed annotations":     many("(@a ") + many(")"),
		"quotes":                 many(`"`),
		"escapes":                `(data "` + many(`\`),
		"strings":                `(data ` + many(`"\00" `) + ")",
		"digits":                 "(func i32.const " + many("1") + ")",
		"fraction":               "(func f64.const 0." + many("1") + ")",
		"hexadecimal fraction":   "(func f64.const 0x0." + many("0") + "1)",
		"exponent":               "(func f64.const 1e" + many("9") + ")",
		"underscores":            "(func i32.const " + many("1_") + ")",
		"unknown instruction":    "(func " + many("x") + ")",
		"long name":              "(func $" + many("x") + ") (func $" + many("x") + ")",
		"parameters":             "(type $t (func (param " + many("i32 ") + "))) " + many("(func (type $t) (param i32)) "),
		"long types":             "(type $t (func (param " + many("i32 ") + "))) " + many("(func (type $t)) "),
		"locals":                 "(func (local " + many("i32 i64 ") + "))",
		"branch table":           "(func i32.const 0 br_table " + many("0 ") + ")",
		"exports":                "(func " + many(`(export "a") `) + ")",
		"segments":               "(memory 1) " + many(`(data (i32.const 0) "a") `),
		"quoted modules":         many(`(module quote "`),
		"catch clauses":          "(tag) (func try_table " + many("(catch 0 0) (catch_all 0) ") + " end)",
		"inline types":           "(func " + many("block (param i32 i64) end ") + ")",
		"fields":                 many("(func)"),
		"typed references":       "(type $t (func)) (func (param " + many("(ref null $t) ") + "))",
		"elements of one table":  "(func $f) (table funcref (elem " + many("$f ") + "))",
		"expressions of a table": "(func $f) (table funcref (elem " + many("(item ref.func $f) ") + "))",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := Assemble([]byte(source))
			if took := time.Since(start); took > 2*time.Minute {
				t.Errorf("took %v", took)
			}
			if located := (*Error)(nil); err != nil && (!errors.As(err, &located) || len(located.Msg) > 200) {
				t.Errorf("got %.300v", err)
			}
		})
	}
}

// FuzzAssemble: no source makes the assembler panic, an error has a place in
// the source, and what was assembled is assembled alike when its tokens are
// written one on a line.
func FuzzAssemble(f *testing.F) {
	programs, _ := filepath.Glob("testdata/*.wa*t")
	for _, path := range programs {
		source, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(source))
		p := parser{src: string(source), tokens: tokenize(string(source))}
		for i, t := range p.tokens {
			if t.kind == kindOpen && p.isWord(i+1, "module") {
				f.Add(p.src[t.start:p.tokens[t.match].end])
			}
		}
	}
	f.Fuzz(func(t *testing.T, source string) {
		want, err := Assemble([]byte(source))
		if err != nil {
			located := err.(*Error)
			lines := strings.Split(source, "\n")
			if located.Line < 1 || located.Line > len(lines) || located.Column < 1 || located.Column > len(lines[located.Line-1])+1 {
				t.Errorf("no such place: %v", err)
			}
			return
		}
		p := parser{src: source, tokens: tokenize(source)}
		var rewritten strings.Builder
		for _, token := range p.tokens {
			rewritten.WriteString(p.text(token) + "\n")
		}
		got, err := Assemble([]byte(rewritten.String()))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s\n got %x, %v\nwant %x", &rewritten, got, err, want)
		}
	})
}
