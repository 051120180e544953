package instrument

import (
	"bytes"
	"context"
	"slices"
	"testing"
)

// TestInstructions tries all opcodes, each with many immediates, behind an unreachable, where every operand is there.
// What the engine takes has to be walked exactly: the loops get checks, and but for them the code is the same.
func TestInstructions(t *testing.T) {
	ctx := context.Background()
	e := newEngine(t, ctx)
	accepted := make(map[string]bool)
	for _, opcode := range opcodes() {
		for _, immediates := range immediates() {
			code := slices.Concat([]byte{opUnreachable}, opcode, immediates, []byte{opUnreachable, opLoop, typeEmpty, opEnd, opEnd})
			wasm := moduleWith(code)
			_, err := e.compile(ctx, wasm)
			valid := err == nil
			m, err := Rewrite(wasm)
			if err == nil {
				_, err = e.compile(ctx, m.Binary)
			}
			if valid != (err == nil) {
				t.Errorf("% x: valid before is %t; after: %v", code, valid, err)
			}
			if err != nil {
				continue
			}
			accepted[string(opcode)] = true
			checks := 1
			if opcode[0] == opLoop || opcode[0] == prefixMisc && slices.Contains(bulkOpcodes, code[2]&0x7f) {
				checks++
			}
			around, plain := []byte{opI32LtS, opBrIf, 1}, []byte{opI32LtS, opIf}
			if got := bytes.Count(m.Binary, around) + bytes.Count(m.Binary, plain); got != checks {
				t.Errorf("% x: %d checks, not %d", code, got, checks)
			}
		}
	}
	if got, want := len(accepted), 532; got != want {
		t.Errorf("%d instructions are valid, not %d", got, want)
	}
}

// bulkOpcodes are those of bulk instructions, behind their prefix.
var bulkOpcodes = []byte{0x08, 0x0a, 0x0b, 0x0c, 0x0e, 0x0f, 0x11}

func opcodes() (all [][]byte) {
	for i := range 256 {
		op := byte(i)
		all = append(all, []byte{op}, []byte{prefixMisc, op}, []byte{prefixVector, op}, []byte{prefixAtomic, op})
	}
	return all
}

// immediates are such that each instruction finds some that it can have.
func immediates() [][]byte {
	const i32, unreachable = typeI32, opUnreachable
	return [][]byte{
		{},
		{0},
		{0, 0},                           // memory.copy
		{0, 0, 0},                        // a lane of the memory
		make([]byte, 4), make([]byte, 8), // floating point
		make([]byte, 16), {1, i32}, // a vector, select
		{1, typeRefNull, 0},               // select of references
		{0x80, 0x80, 0x80, 0x80, 0},       // numbers longer than need be
		{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, // numbers as large as can be
		{0xff, 0xff, 0xff, 0xff, 0x7f},    // -1
		{typeFunc}, {typeExtern}, {typeExn},
		{typeEmpty, opEnd},
		{typeEmpty, opElse, opEnd},
		{i32, unreachable, opEnd},                                 // blocks with a result
		{typeRefNull, 0, unreachable, opEnd},                      //
		{0xc0, 0x7f, opEnd},                                       // an empty type longer than need be
		{1, unreachable, opEnd},                                   // with a parameter
		{typeEmpty, 0, unreachable, opEnd},                        // try_table
		{typeEmpty, 2, 0, 0, 0, 2, 0, unreachable, opEnd},         // with catches
		{2, 0, 0x80, 0, 0},                                        // br_table
		{0x81, 0x80, 0x80, 0x80, 0, 0x80, 0x80, 0x80, 0x80, 0, 0}, //
	}
}

// moduleWith is a module with a bit of everything and a function, which has the code and is of type 0, without
// parameters and results.
func moduleWith(code []byte) []byte {
	body := append([]byte{1, 1, typeI32}, code...)
	var b []byte
	for _, s := range [][]byte{
		{sectionType, 2, formFunction, 0, 0, formFunction, 1, typeI32, 0},
		{sectionFunction, 1, 0},
		{sectionTable, 1, typeFunc, 0, 1},
		{sectionMemory, 1, 0, 1},
		{sectionTag, 1, 0, 0},
		{sectionGlobal, 1, typeI32, 1, opI32Const, 0, opEnd},
		{sectionExport, 1, 1, 'f', byte(Function), 0},
		{sectionElement, 1, 1, 0, 1, 0},
		{sectionDataCount, 1},
		append(appendUint([]byte{sectionCode, 1}, uint32(len(body))), body...),
		{sectionData, 1, 1, 1, 'x'},
	} {
		b = append(appendUint(append(b, s[0]), uint32(len(s)-1)), s[1:]...)
	}
	return append([]byte(magic), b...)
}
