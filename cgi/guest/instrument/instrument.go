// Package instrument rewrites a WebAssembly module so that its guests can be stopped and used again.
//
// A guest's code cannot be interrupted from outside: it has to ask. So the module is given a counter, and checks that
// take from it, at the head of each loop and wherever else code can come back to: when the counter is used up,
// the guest calls the imported function wagi.interrupt. See [Module] for what makes a guest fit for use again.
//
// The package reads modules and writes modules; it runs none. It walks code exactly as wazero does.
package instrument

import (
	"errors"
	"fmt"
)

// The import that the rewritten module has more than the original, a function without parameters and results.
// A guest that computes calls it each 0.05 to 1 ms, and after 8 million instructions at the latest. It may panic.
const (
	InterruptModule = "wagi"
	InterruptName   = "interrupt"
)

// Module is a rewritten module.
type Module struct {
	// Binary is the module for the engine, without its custom sections.
	Binary []byte

	// Memory is the name under which Binary exports its memory, which it does even if the original did not; "" for no memory.
	Memory   string
	MinPages uint32 // of memory, each of 64 KiB, that a guest begins with
	MaxPages uint32 // that it may grow to: 65536 unless the module says less

	// Recyclable says that all that a guest can change is its memory and the Globals, so that its instance can be put
	// back to the initial state by restoring them. Then Binary has no data segments: the memory has to hold Data when the
	// module is instantiated. If not, Reason says why, Data and Globals are empty, and each guest needs a new instance.
	Recyclable bool
	Reason     string

	Data    []Segment // in the order in which they are applied; they may overlap
	Globals []string  // names under which Binary exports the mutable globals that its code sets; all are numbers

	// Written is the name under which Binary exports a global, an i64, in which it notes the pages that it writes to. Bit n is
	// for all pages of TrackedPage bytes whose number is n modulo 64. It begins as 0, code never clears it, and what the host
	// writes is not in it. "" unless the module is tracked.
	Written string

	// Start is the name under which Binary exports the start function, "" for none. The engine does not run it: the host
	// calls it first of all. The initial state is that after it.
	Start string

	// Elements is how many elements the tables begin with. Where code grows tables, TableBudget is the name under which
	// Binary exports a global, an i32, of how many elements they may grow by in all; "" where none does. It begins as all
	// that there are, 1<<32-1, and the host sets it. What is refused for another reason uses it up nevertheless.
	Elements    uint64
	TableBudget string
}

// Segment is a part of the memory's initial content. It lies within MinPages.
type Segment struct {
	Offset uint32
	Bytes  []byte // alias the original module
}

// Kind is the kind of an import or an export.
type Kind byte

// The kinds, as the binary format numbers them.
const (
	Function Kind = iota
	Table
	Memory
	Global
	Tag
)

// String names the kind as the text format does, but for "function".
func (k Kind) String() string {
	return [...]string{"function", "table", "memory", "global", "tag"}[k]
}

// Rewrite makes the module interruptible and, if it can be, recyclable. It checks only as much as that takes: an
// invalid module may pass, and is still invalid then, mistakes in custom sections aside. A module that wazero compiles
// passes, unless it is beyond the limits of browsers (50,000 locals of a function, 1000 parameters or results) or too much work
// to compile. Errors name the section or function, and the offset in the file if there is one.
//
// Time and memory are linear in the size of wasm. Not so the engine's: for some modules they grow with the cube, and one
// of 30 bytes whose counts lie can make it allocate gigabytes. These do not pass: do not show the engine what Rewrite refuses.
func Rewrite(wasm []byte) (*Module, error) {
	return rewrite(wasm, fill)
}

// TrackedPage is the size of a page in bytes, as guests of a tracked module note them.
const TrackedPage = 1 << trackShift

// RewriteTracked is [Rewrite] for guests that note which pages of memory they write to. It errs where an instance cannot be
// put back to the initial state, or has no memory. The module differs in nothing else from that of Rewrite, but takes more time and stack.
func RewriteTracked(wasm []byte) (*Module, error) {
	return rewriteTracked(wasm, fill)
}

func rewriteTracked(wasm []byte, fill int32) (*Module, error) {
	m, err := (&module{fill: fill, tracks: true}).rewrite(wasm)
	switch {
	case err != nil:
		return nil, err
	case !m.Recyclable:
		return nil, fmt.Errorf("not tracked: %s", m.Reason)
	case m.Memory == "":
		return nil, errors.New("not tracked: has no memory")
	}
	return m, nil
}

// rewrite is Rewrite with a counter that is filled up to the given number.
func rewrite(wasm []byte, fill int32) (*Module, error) {
	return (&module{fill: fill}).rewrite(wasm)
}

func (m *module) rewrite(wasm []byte) (*Module, error) {
	if err := m.read(wasm); err != nil {
		return nil, err
	}
	if err := m.scan(); err != nil {
		return nil, err
	}
	if err := m.addChecks(); err != nil {
		return nil, err
	}
	m.recycle()
	m.Binary = m.encode()
	rewritten := m.Module
	return &rewritten, nil
}
