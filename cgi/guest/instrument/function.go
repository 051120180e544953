package instrument

import (
	"errors"
	"fmt"
)

// function is a function that the module defines.
type function struct {
	signature
	body     reader   // declarations of locals, code
	calls    []uint32 // direct ones of functions that the module defines, numbered without the imported ones
	indirect bool     // it has calls through a table or a reference, or calls a function that has
	taken    bool     // its address is taken, so that it can be called indirectly
	checked  bool     // it has a check at its entry
	cost     int      // what a call of it adds to the caller's path
	frame    int      // bytes of stack that a call of it may take before it comes to a check
}

// signature is what matters of a function's type.
type signature struct {
	params  uint64
	results int
	result  []byte // type of a block that gives what the function gives, nil if there are several results
}

// scan reads the code of all functions for their calls and for what they change.
func (m *module) scan() error {
	all := uint64(0)
	for i := range m.functions {
		f := &m.functions[i]
		r := f.body
		if all += f.params + r.locals(); all > maxAllLocals {
			return m.inFunction(i, fmt.Errorf("%w: more than %d in all functions", errLocals, maxAllLocals))
		}
		for r.more() {
			m.scanInstruction(f, i, &r)
		}
		if r.err != nil {
			return m.inFunction(i, r.err)
		}
	}
	return nil
}

func (m *module) inFunction(index int, err error) error {
	return fmt.Errorf("function %d: %w", int(m.imported)+index, err)
}

// Limits of browsers. What is limited costs the engine memory and time though it costs the module hardly a byte.
const (
	maxLocals = 50_000 // of a function
	maxParams = 1000   // of a function's type, and the same for its results
)

// maxAllLocals is how many locals and parameters all functions together may have: some 2 s for the engine.
const maxAllLocals = 10_000_000

var errLocals = errors.New("too many locals")

// locals reads the declarations of a function's locals and says how many locals they make.
func (r *reader) locals() (n uint64) {
	for range r.count() {
		n += uint64(r.uint())
		r.valueType()
		if n > maxLocals {
			r.fail("%w: %d, of %d at most", errLocals, n, maxLocals)
			return 0
		}
	}
	return n
}

func (m *module) scanInstruction(f *function, index int, r *reader) {
	i := r.instruction()
	switch i.op {
	case opCall, opReturnCall:
		if m.defines(i.index, r) {
			f.calls = append(f.calls, i.index-m.imported)
		}
	case opRefFunc:
		if m.defines(i.index, r) {
			m.taken = append(m.taken, i.index-m.imported)
		}
	case opCallIndirect, opReturnCallIndirect, opCallRef, opReturnCallRef:
		f.indirect = true
	case opGlobalGet, opGlobalSet:
		if uint64(i.index) >= uint64(len(m.globals)) {
			r.fail("global %d of %d", i.index, len(m.globals))
		} else if i.op == opGlobalSet {
			m.globals[i.index].set = true
		}
	default:
		m.grows = m.grows || i.op == opTableGrow
		if name := irreversible(i.op); name != "" && m.Reason == "" {
			m.Reason = fmt.Sprintf("function %d uses %s", int(m.imported)+index, name)
		}
	}
}

// defines says whether a function is one of the module's own rather than an imported one.
func (m *module) defines(function uint32, r *reader) bool {
	if all := uint64(m.imported) + uint64(len(m.functions)); uint64(function) >= all {
		r.fail("function %d of %d", function, all)
	}
	return function >= m.imported && r.err == nil
}

// irreversible names an instruction that changes what cannot be put back: tables, and which segments are left.
func irreversible(op uint16) string {
	switch op {
	case opTableSet:
		return "table.set"
	case opMemoryInit: // needs the data segments, which recycling takes out
		return "memory.init"
	case opDataDrop:
		return "data.drop"
	case opTableInit:
		return "table.init"
	case opElemDrop:
		return "elem.drop"
	case opTableCopy:
		return "table.copy"
	case opTableGrow:
		return "table.grow"
	case opTableFill:
		return "table.fill"
	}
	return ""
}
