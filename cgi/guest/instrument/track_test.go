package instrument

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// checkTracked clears the global of that name in an instance. The function that it returns says which page has changed
// since then and is not noted there.
func checkTracked(instance api.Module, name string) (check func() error) {
	if name == "" {
		return func() error { return nil }
	}
	written := instance.ExportedGlobal(name).(api.MutableGlobal)
	written.Set(0)
	before := slices.Clone(memoryOf(instance))
	return func() error {
		after := memoryOf(instance)
		before = append(before, make([]byte, len(after)-len(before))...)
		for page := 0; page < len(after)/TrackedPage; page++ {
			at := page * TrackedPage
			if !bytes.Equal(after[at:at+TrackedPage], before[at:at+TrackedPage]) && written.Get()>>(page%64)&1 == 0 {
				return fmt.Errorf("page %d is written to and not noted in %#x", page, written.Get())
			}
		}
		return nil
	}
}

// TestTrackedInstructions carries out all instructions that the engine takes, with operands of all types. What those write
// to that a tracked module may have is noted.
func TestTrackedInstructions(t *testing.T) {
	ctx := context.Background()
	features := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(allFeatures)
	e := &engine{Runtime: wazero.NewRuntimeWithConfig(ctx, features), interrupted: func() { panic("does not end") }}
	defer e.Close(ctx)
	e.exportInterrupt(t, ctx)
	done, writers := 0, 0
	for _, opcode := range opcodes() {
		wasm := e.withOperands(ctx, opcode)
		if wasm == nil {
			continue
		}
		done++
		m, err := RewriteTracked(wasm)
		if err != nil {
			continue
		}
		instance, err := e.instantiate(ctx, m, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatalf("% x: %v", opcode, err)
		}
		for at, b := range pattern(pageSize, 'a', 23) {
			instance.Memory().WriteByte(uint32(at), b)
		}
		before := slices.Clone(memoryOf(instance))
		check := checkTracked(instance, m.Written)
		_, _ = instance.ExportedFunction("f").Call(ctx) // traps
		if err := check(); err != nil {
			t.Errorf("% x: %v", opcode, err)
		}
		if !bytes.Equal(memoryOf(instance), before) {
			writers++
		}
		instance.Close(ctx)
	}
	if done != 505 || writers != 16 {
		t.Errorf("%d instructions, of which %d write to memory, not 505 and 16", done, writers)
	}
}

// withOperands is a module with the instruction, behind such operands that the engine takes it; nil if it takes none.
func (e *engine) withOperands(ctx context.Context, opcode []byte) []byte {
	for _, immediates := range immediates() {
		if e.verdict(ctx, moduleWith(slices.Concat([]byte{opUnreachable}, opcode, immediates, []byte{opUnreachable, opEnd}))) != nil {
			continue
		}
		for n := range 6 * 6 * 6 {
			code := slices.Concat(operands(n), opcode, immediates, []byte{opUnreachable, opEnd})
			if wasm := moduleWith(code); e.verdict(ctx, wasm) == nil {
				return wasm
			}
		}
	}
	return nil
}

// operands are three of six kinds, one of which is none. A write to the first, an address, lies across the end of a page.
func operands(n int) (code []byte) {
	for _, i32 := range [][]byte{{opI32Const, 0xff, 0x1f}, {opI32Const, 0x40}, {opI32Const, 7}} {
		code = append(code, [][]byte{
			{},
			i32,
			{opI64Const, 0x40},
			{opF32Const, 1, 2, 3, 4},
			{opF64Const, 1, 2, 3, 4, 5, 6, 7, 8},
			{prefixVector, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		}[n%6]...)
		n /= 6
	}
	return code
}

// FuzzTracked runs programs that write to memory, plain and tracked. They have to do the same, and what they write to is noted.
func FuzzTracked(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		seed := make([]byte, 20+r.IntN(200))
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		f.Add(seed)
	}
	ctx := context.Background()
	e := newEngine(f, ctx)
	const endless = "does not end"
	e.interrupted = func() { panic(endless) }
	f.Fuzz(func(t *testing.T, seed []byte) {
		p := program{choices: seed}
		p.statements(0)
		text := "(memory 3) (func $callee (param i32) (i32.store offset=8 (local.get 0) (i32.const 1)))" +
			`(func (export "run") (local i32 i32 i32 i64)` +
			"(local.set 0 (i32.const 4090)) (local.set 1 (i32.const 40900)) (local.set 2 (i32.const 61400))" + p.text.String() + ")"
		wasm := assemble(t, text)
		want, wanted := e.runProgram(t, wasm, Rewrite)
		got, left := e.runProgram(t, wasm, RewriteTracked)
		if strings.Contains(got+want, endless) {
			return // they were stopped in different places
		}
		if got != want || !bytes.Equal(left, wanted) {
			t.Fatalf("%s\ngot %s, want %s; memory is the same: %t", text, got, want, bytes.Equal(left, wanted))
		}
	})
}

func (e *engine) runProgram(t *testing.T, wasm []byte, rewrite func([]byte) (*Module, error)) (outcome string, left []byte) {
	ctx := context.Background()
	m, err := rewrite(wasm)
	if err != nil {
		t.Fatal(err)
	}
	instance := instantiate(t, e, m)
	defer instance.Close(ctx)
	check := checkTracked(instance, m.Written)
	_, err = instance.ExportedFunction("run").Call(ctx)
	if err := check(); err != nil {
		t.Fatalf("%v\n% x", err, wasm)
	}
	outcome, _, _ = strings.Cut(fmt.Sprint(err), "\n")
	return outcome, slices.Clone(memoryOf(instance))
}

// program is the text of a function that is made of choices. It has three locals, mostly near the ends of pages.
type program struct {
	choices []byte
	text    strings.Builder
	depth   int // blocks around
	turns   int // of loops, so far
}

func (p *program) choose(n int) int {
	if len(p.choices) == 0 {
		return 0
	}
	c := int(p.choices[0]) % n
	p.choices = p.choices[1:]
	return c
}

func (p *program) add(format string, args ...any) {
	fmt.Fprintf(&p.text, format+"\n", args...)
}

func (p *program) statements(depth int) {
	for n := p.choose(8) + 1; n > 0 && len(p.choices) > 0; n-- {
		p.statement(depth)
	}
}

func (p *program) statement(depth int) {
	stores := [][2]string{
		{"i32.store", "(i32.const 7)"}, {"i64.store", "(i64.const -9)"}, {"f32.store", "(f32.const 1)"}, {"f64.store", "(f64.const 1)"},
		{"i32.store8", "(local.get 1)"}, {"i32.store16", "(local.tee 0 (i32.const 5000))"}, {"i64.store8", "(i64.const 3)"},
		{"i64.store16", "(i64.const 5)"}, {"i64.store32", "(local.get 3)"}, {"v128.store", "(v128.const i32x4 1 2 3 4)"},
	}
	kind := p.choose(20)
	if depth > 5 {
		kind %= 14
	}
	switch kind {
	case 0, 1, 2, 3, 4, 5, 6:
		s := stores[p.choose(len(stores))]
		p.add("(%s offset=%d %s %s)", s[0], p.offset(), p.address(), s[1])
	case 7:
		n := p.choose(4)
		p.add("(v128.store%d_lane offset=%d 0 %s (v128.const i32x4 5 6 7 8))", 8<<n, p.offset(), p.address())
	case 8:
		p.add("(memory.fill %s (i32.const 9) (i32.const %d))", p.address(), p.choose(256)*20)
	case 9:
		p.add("(memory.copy %s %s (i32.const %d))", p.address(), p.address(), p.choose(256)*20)
	case 10, 11:
		p.add("(local.set %d %s)", p.choose(3), p.address())
	case 12:
		p.add("(call $callee %s)", p.address())
	case 13:
		p.add("(br_if %d (i32.and %s (i32.const 1)))", p.choose(p.depth+1), p.address())
	case 14, 15:
		p.nest("block", depth)
	case 16, 17:
		p.add("%s (i32.const 4) i32.and", p.address())
		p.nest("if", depth)
	case 18:
		p.add("%s (i32.const 4) i32.and", p.address())
		p.nest("if", depth)
		text := p.text.String()
		p.text.Reset()
		p.add("%s else", strings.TrimSuffix(text, "end\n"))
		p.depth++
		p.statements(depth + 1)
		p.depth--
		p.add("end")
	case 19:
		p.nest("loop", depth)
	}
}

// nest adds a block. A loop takes some turns, in which its locals change.
func (p *program) nest(kind string, depth int) {
	p.depth++
	p.add(kind)
	p.statements(depth + 1)
	if kind == "loop" {
		p.turns++
		p.add("(local.set 2 (i32.add (local.get 2) (i32.const 4000)))")
		p.add("(br_if 0 (i32.lt_u (local.get 2) (i32.const %d)))", 61400+p.turns*9000)
	}
	p.depth--
	p.add("end")
}

// offset is mostly small.
func (p *program) offset() uint32 {
	return []uint32{0, 4, 8, 12, 100, 4092, 4095, 5000, 1<<32 - 4100, 1<<32 - 1, 16, 0}[p.choose(12)]
}

func (p *program) address() string {
	switch p.choose(16) {
	case 0:
		return fmt.Sprintf("(i32.const %d)", p.choose(40)*4096-p.choose(16))
	case 1:
		return fmt.Sprintf("(i32.add (local.get %d) (i32.const %d))", p.choose(3), p.choose(256)*16)
	case 2:
		return fmt.Sprintf("(local.tee %d (i32.const %d))", p.choose(3), p.choose(256)*200)
	case 3:
		return fmt.Sprintf("(local.tee %d (i32.add (local.get %d) (i32.const -%d)))", p.choose(3), p.choose(3), p.choose(100))
	case 4:
		return "(i32.load (i32.const 4000))"
	}
	return fmt.Sprintf("(local.get %d)", p.choose(3))
}
