package wat

import (
	"math/bits"
	"strings"
)

// label parses the label of a block around the present instruction and returns
// how many blocks are between. The body itself is the outermost block.
func (b *body) label() uint32 {
	t := b.peek()
	if t.kind != kindName {
		if !b.isIndex(t) {
			b.unexpected(t, "a label")
		}
		depth := b.uint32()
		if depth > uint32(len(b.blocks)) {
			b.fail(t, "unknown label %d: there are %d", depth, len(b.blocks)+1)
		}
		return depth
	}
	b.next()
	i, ok := b.labels[b.name(t)]
	if !ok {
		b.fail(t, "unknown label %s", excerpt(b.text(t)))
	}
	return uint32(len(b.blocks) - 1 - i)
}

// plain encodes an instruction that is not a block.
func (b *body) plain(op opcode) {
	if op.prefix == 0 {
		b.code = append(b.code, op.code)
	} else {
		b.code = appendUint(append(b.code, op.prefix), uint32(op.code))
	}
	switch op.immediate {
	case label:
		b.code = appendUint(b.code, b.label())
	case labels:
		b.branchTable()
	case callIndirect:
		b.callIndirect()
	case selectType:
		b.selectType()
	case heap:
		heapType, _ := b.heapType()
		b.code = append(b.code, heapType...)
	case memoryAccess:
		b.memoryArgument(op)
	case memoryLane:
		b.memoryArgument(op)
		b.code = append(b.code, byte(b.uint(8)))
	case fence:
		b.code = append(b.code, 0)
	default:
		b.indices(op.immediate)
		b.constant(op.immediate)
	}
}

// indices encodes immediates that are indices.
func (b *body) indices(i immediate) {
	switch i {
	case function:
		b.appendIndex(&b.functions)
	case functionType:
		b.appendIndex(&b.types)
	case local:
		b.appendIndex(b.locals)
	case global:
		b.appendIndex(&b.globals)
	case tag:
		b.appendIndex(&b.tags)
	case elementIndex:
		b.appendIndex(&b.elements)
	case dataIndex:
		b.usesData = true
		b.appendIndex(&b.data)
	case tableIndex:
		b.code = appendUint(b.code, b.optionalIndex(&b.tables))
	case memoryIndex:
		b.code = appendUint(b.code, b.optionalIndex(&b.memories))
	case tablePair:
		b.copyIndices(&b.tables)
	case memoryPair:
		b.copyIndices(&b.memories)
	case tableInit:
		b.initIndices(&b.tables, &b.elements)
	case memoryInit:
		b.usesData = true
		b.initIndices(&b.memories, &b.data)
	}
}

// constant encodes immediates that are numbers.
func (b *body) constant(i immediate) {
	switch i {
	case i32:
		b.code = appendInt(b.code, b.int(32))
	case i64:
		b.code = appendInt(b.code, b.int(64))
	case f32:
		b.code = appendBits(b.code, b.float(32), 32)
	case f64:
		b.code = appendBits(b.code, b.float(64), 64)
	case v128:
		b.vector()
	case lane:
		b.code = append(b.code, byte(b.uint(8)))
	case lanes16:
		for range 16 {
			b.code = append(b.code, byte(b.uint(8)))
		}
	}
}

func (b *body) appendIndex(s *space) {
	b.code = appendUint(b.code, b.index(s))
}

// branchTable is a list of labels, the last of which is the default.
func (b *body) branchTable() {
	var targets section
	last := b.label()
	for b.isIndex(b.peek()) {
		targets.add(appendUint(nil, last))
		last = b.label()
	}
	b.code = append(appendUint(b.code, targets.count), targets.items...)
	b.code = appendUint(b.code, last)
}

// callIndirect is $table? and the type of the function, which are encoded the
// other way round.
func (b *body) callIndirect() {
	table := b.optionalIndex(&b.tables)
	b.code = appendUint(b.code, b.functionType(nil))
	b.code = appendUint(b.code, table)
}

// selectType is (result …)*: with it, the instruction has another opcode.
func (b *body) selectType() {
	if !b.isOpen("result") {
		return
	}
	results := b.signature(nil).results
	b.code[len(b.code)-1] = opTypedSelect
	b.code = appendUint(b.code, uint32(len(results)))
	for _, t := range results {
		b.code = append(b.code, t...)
	}
}

// copyIndices is the destination and the source of a copy, or neither.
func (b *body) copyIndices(s *space) {
	var to, from uint32
	if b.isIndex(b.peek()) {
		to, from = b.index(s), b.index(s)
	}
	b.code = appendUint(appendUint(b.code, to), from)
}

// initIndices is the optional table or memory and the segment, which are
// encoded the other way round.
func (b *body) initIndices(to, segments *space) {
	var target uint32
	if b.isIndex(b.tokens[b.pos+1]) {
		target = b.index(to)
	}
	b.code = appendUint(b.code, b.index(segments))
	b.code = appendUint(b.code, target)
}

// memoryArgument is $memory? offset=N? align=N?
func (b *body) memoryArgument(op opcode) {
	const hasMemory = 0x40
	var memory, offset uint32
	if b.peek().kind == kindName || op.immediate == memoryAccess {
		memory = b.optionalIndex(&b.memories)
	}
	if t, ok := b.takeAssignment("offset="); ok {
		offset = uint32(b.unsigned(t, 32))
	}
	width := uint32(op.width)
	if t, ok := b.takeAssignment("align="); ok {
		width = b.alignment(t, op)
	}
	exponent := byte(bits.TrailingZeros32(width))
	if memory != 0 {
		b.code = appendUint(append(b.code, exponent|hasMemory), memory)
	} else {
		b.code = append(b.code, exponent)
	}
	b.code = appendUint(b.code, offset)
}

// alignment checks the number of align=N: a power of two, not above the width
// of the access, and equal to it if the access is atomic.
func (b *body) alignment(t token, op opcode) uint32 {
	align := b.unsigned(t, 32)
	switch {
	case bits.OnesCount64(align) != 1:
		b.fail(t, "alignment must be a power of two")
	case align > uint64(op.width):
		b.fail(t, "alignment must not be larger than the access of %d bytes", op.width)
	case op.prefix == prefixAtomic && align != uint64(op.width):
		b.fail(t, "alignment of an atomic access must be its width of %d bytes", op.width)
	}
	return uint32(align)
}

// takeAssignment moves over "key=value", and returns the value as a token.
func (b *body) takeAssignment(key string) (value token, ok bool) {
	t := b.peek()
	if t.kind != kindWord || !strings.HasPrefix(b.text(t), key) {
		return t, false
	}
	b.next()
	t.start += int32(len(key))
	return t, true
}

// shapes are the ways to write a v128: how many lanes of how many bits.
var shapes = map[string]struct {
	lanes, bits int
	float       bool
}{
	"i8x16": {lanes: 16, bits: 8},
	"i16x8": {lanes: 8, bits: 16},
	"i32x4": {lanes: 4, bits: 32},
	"i64x2": {lanes: 2, bits: 64},
	"f32x4": {lanes: 4, bits: 32, float: true},
	"f64x2": {lanes: 2, bits: 64, float: true},
}

// vector is a shape and as many numbers.
func (b *body) vector() {
	t := b.next()
	shape, ok := shapes[b.text(t)]
	if !ok {
		b.unexpected(t, "a shape such as i32x4")
	}
	for range shape.lanes {
		n := uint64(0)
		if shape.float {
			n = b.float(shape.bits)
		} else {
			n = uint64(b.int(shape.bits))
		}
		b.code = appendBits(b.code, n, shape.bits)
	}
}
