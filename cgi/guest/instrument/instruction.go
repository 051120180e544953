package instrument

// Opcodes that mean something to us; those behind a prefix have it as the higher byte.
const (
	opUnreachable        = 0x00
	opBlock              = 0x02
	opLoop               = 0x03
	opIf                 = 0x04
	opElse               = 0x05
	opThrow              = 0x08
	opThrowRef           = 0x0a
	opEnd                = 0x0b
	opBr                 = 0x0c
	opBrIf               = 0x0d
	opBrTable            = 0x0e
	opReturn             = 0x0f
	opCall               = 0x10
	opCallIndirect       = 0x11
	opReturnCall         = 0x12
	opReturnCallIndirect = 0x13
	opCallRef            = 0x14
	opReturnCallRef      = 0x15
	opDrop               = 0x1a
	opSelect             = 0x1b
	opSelectType         = 0x1c
	opTryTable           = 0x1f
	opLocalGet           = 0x20
	opLocalSet           = 0x21
	opLocalTee           = 0x22
	opGlobalGet          = 0x23
	opGlobalSet          = 0x24
	opTableSet           = 0x26
	opI32Load            = 0x28
	opI32Load8U          = 0x2d
	opI32Store           = 0x36
	opI64Store32         = 0x3e
	opMemorySize         = 0x3f
	opMemoryGrow         = 0x40
	opI32Const           = 0x41
	opI64Const           = 0x42
	opF32Const           = 0x43
	opF64Const           = 0x44
	opI32Eqz             = 0x45
	opI32Ne              = 0x47
	opI32LtS             = 0x48
	opI32LtU             = 0x49
	opI32GtU             = 0x4b
	opI32LeU             = 0x4d
	opI64Eqz             = 0x50
	opI32Clz             = 0x67
	opI32Add             = 0x6a
	opI32Sub             = 0x6b
	opI32Mul             = 0x6c
	opI32Shl             = 0x74
	opI32ShrU            = 0x76
	opI64Clz             = 0x79
	opI64Add             = 0x7c
	opI64Sub             = 0x7d
	opI64Mul             = 0x7e
	opI64Or              = 0x84
	opI64Shl             = 0x86
	opI64ShrU            = 0x88
	opI64Rotl            = 0x89
	opF32Abs             = 0x8b
	opF32Add             = 0x92
	opF64Abs             = 0x99
	opF64Add             = 0xa0
	opI32WrapI64         = 0xa7
	opI64ExtendI32U      = 0xad
	opRefNull            = 0xd0
	opRefFunc            = 0xd2
	opBrOnNull           = 0xd5
	opBrOnNonNull        = 0xd6
	prefixMisc           = 0xfc
	prefixVector         = 0xfd
	prefixAtomic         = 0xfe
	opMemoryInit         = 0xfc08
	opDataDrop           = 0xfc09
	opMemoryCopy         = 0xfc0a
	opMemoryFill         = 0xfc0b
	opTableInit          = 0xfc0c
	opElemDrop           = 0xfc0d
	opTableCopy          = 0xfc0e
	opTableGrow          = 0xfc0f
	opTableSize          = 0xfc10
	opTableFill          = 0xfc11
	opV128Store          = 0xfd0b
	opV128Const          = 0xfd0c
	opV128Store8Lane     = 0xfd58
	opV128Store64Lane    = 0xfd5b
)

// Types, as the bytes that they begin with.
const (
	formFunction = 0x60
	typeEmpty    = 0x40
	typeI32      = 0x7f
	typeI64      = 0x7e
	typeF32      = 0x7d
	typeF64      = 0x7c
	typeV128     = 0x7b
	typeFunc     = 0x70
	typeExtern   = 0x6f
	typeExn      = 0x69
	typeRef      = 0x64
	typeRefNull  = 0x63
)

// instruction is one instruction with what of its immediates matters here.
type instruction struct {
	at     int // where it begins
	op     uint16
	index  uint32  // the first immediate, where that is an index of something other than a label
	labels []label // that it can branch to; valid until the next instruction is read
	kind   int64   // the index of the type of a block or of an indirect call; negative: it has no such type
}

// label is an immediate that says how many blocks further out than the innermost one the block is that a branch leads to.
type label struct {
	out     uint32
	at, end int // where it stands
}

// instruction reads an instruction, exactly as the engine does: a byte that it took for an opcode and we for an
// immediate could hide a loop.
func (r *reader) instruction() (i instruction) {
	i.at, i.kind = r.at, -1
	i.op = uint16(r.byte())
	switch op := i.op; {
	case op == opBlock, op == opLoop, op == opIf:
		i.kind = r.blockType()
	case op == opBr, op == opBrIf, op == opBrOnNull, op == opBrOnNonNull:
		r.labels = r.labels[:0]
		i.labels = r.label()
	case op == opBrTable:
		i.labels = r.branchTable()
	case op == opTryTable:
		i.kind = r.blockType()
		i.labels = r.catches()
	case op == opCallIndirect, op == opReturnCallIndirect:
		i.kind = int64(r.typeIndex())
		r.uint() // table
	case op == opCallRef, op == opReturnCallRef:
		i.kind = int64(r.typeIndex())
	case op == opThrow, op == opCall, op == opReturnCall, op >= opLocalGet && op <= opTableSet, op == opRefFunc:
		i.index = r.uint()
	case op == opSelectType:
		r.selectType()
	case op > opTableSet && op < 0x28:
		r.unknown(op)
	case op > opTableSet && op < 0x3f: // loads and stores
		r.memoryArgument()
	case op == 0x3f, op == opMemoryGrow:
		r.zero()
	case op == opRefNull:
		r.refNull()
	case op == prefixMisc:
		r.misc(&i)
	case op == prefixVector:
		r.vector(&i)
	case op == prefixAtomic:
		r.atomic(&i)
	default:
		r.constantOrPlain(op)
	}
	return i
}

func (r *reader) constantOrPlain(op uint16) {
	switch {
	case op == opI32Const:
		r.int(5)
	case op == opI64Const:
		r.int(10)
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opUnreachable, op == 0x01, op == opElse, op == opThrowRef, op == opEnd, op == opReturn,
		op == 0x1a, op == opSelect, op > opF64Const && op <= 0xc4, op == 0xd1, op == 0xd4: // no immediates
	default:
		r.unknown(op)
	}
}

func (r *reader) unknown(op uint16) {
	r.fail("unknown instruction %#x", op)
}

// blockType reads the type of a block: an index, or negative.
func (r *reader) blockType() int64 {
	const shortRef, shortRefNull = -28, -29 // typeRef and typeRefNull as signed numbers
	t := r.typeNumber()
	if t == shortRef || t == shortRefNull {
		r.typeNumber()
	}
	return t
}

// valueType reads the type of a value. Of a reference to a type it gives the first byte.
func (r *reader) valueType() byte {
	t := r.byte()
	if t == typeRef || t == typeRefNull {
		r.typeNumber()
	}
	return t
}

func (r *reader) refNull() {
	if r.more() {
		switch r.data[r.at] {
		case typeFunc, typeExtern, typeExn:
			r.at++
			return
		}
	}
	r.typeIndex()
}

func (r *reader) selectType() {
	if n := r.byte(); n != 1 {
		r.fail("select with %d types", n)
	}
	r.valueType()
}

func (r *reader) memoryArgument() {
	r.uint() // alignment
	r.uint() // offset
}

// label reads one more label of an instruction and gives all.
func (r *reader) label() []label {
	l := label{at: r.at}
	l.out = r.uint()
	l.end = r.at
	r.labels = append(r.labels, l)
	return r.labels
}

func (r *reader) branchTable() []label {
	r.labels = r.labels[:0]
	for range r.count() {
		r.label()
	}
	return r.label()
}

// catches reads those of a try_table.
func (r *reader) catches() []label {
	const catch, catchRef, catchAllRef = 0, 1, 3
	r.labels = r.labels[:0]
	for range r.count() {
		kind := r.byte()
		if kind > catchAllRef {
			r.fail("unknown catch %#x", kind)
		}
		if kind == catch || kind == catchRef {
			r.uint()
		}
		r.label()
	}
	return r.labels
}

func (r *reader) misc(i *instruction) {
	const last = 0x11
	sub := r.uint()
	i.op = prefixMisc<<8 | uint16(sub)
	switch {
	case sub > last:
		r.fail("unknown instruction %#x %#x", prefixMisc, sub)
	case sub <= 7: // saturating conversions
	case i.op == opMemoryCopy:
		r.zero()
		r.zero()
	case i.op == opMemoryFill:
		r.zero()
	case i.op == opMemoryInit:
		i.index = r.uint()
		r.zero()
	case i.op == opTableInit, i.op == opTableCopy:
		i.index = r.uint()
		r.uint()
	default: // data.drop, elem.drop, table.grow, table.size, table.fill
		i.index = r.uint()
	}
}

// vector reads an instruction of the vector proposal. The engine takes one byte for the opcode; where the format says
// two, the second, 1, reads as nop. It refuses the opcodes that it does not know.
func (r *reader) vector(i *instruction) {
	sub := r.byte()
	i.op = prefixVector<<8 | uint16(sub)
	switch {
	case sub <= 0x0b, sub == 0x5c, sub == 0x5d: // loads and store
		r.memoryArgument()
	case sub == 0x0c, sub == 0x0d: // constant, shuffle
		r.bytes(16)
	case sub >= 0x15 && sub <= 0x22: // lanes
		r.byte()
	case sub >= 0x54 && sub <= 0x5b: // loads and stores of lanes
		r.memoryArgument()
		r.byte()
	}
}

func (r *reader) atomic(i *instruction) {
	const fence, last = 0x03, 0x4e
	sub := r.byte()
	i.op = prefixAtomic<<8 | uint16(sub)
	switch {
	case sub == fence:
		r.zero()
	case sub <= last:
		r.memoryArgument()
	default:
		r.unknown(i.op)
	}
}
