package instrument

import "math"

// The code of a tracked module notes which pages of memory it is going to write to, in an i64 that it never clears: bit n
// is for all pages whose number is n modulo 64. It may note more than it writes to, but never less.
//
// Most addresses are a local, and most stores are near another one. So a note of a local is for all stores to come that
// have the same value of it, on ways that have come by the note: it is written once, and widened as the walk goes on.
const (
	trackShift = 12              // of an address to the number of its page
	reach      = 1 << trackShift // bytes that a note of a local is for at most: they lie in two pages
	offsetSize = 5               // bytes of an offset, in LEB128 made longer than need be
	maskSize   = 10              // the same of a mask
)

// tracking is what the walk through a function knows of addresses.
type tracking struct {
	operands []operand      // the top of the operand stack
	sets     map[uint32]int // how often a local has been set, up to here
	notes    []note         // that all ways to here have come by
	floor    int            // notes before this one may be of another turn of a loop
	latest   map[uint32]int // note of a local
	noted    int            // bytes of code
}

// operand is what a value is, where that is known.
type operand struct {
	op    byte   // opLocalGet, opI32Const or 0
	value uint32 // the local or the constant
	sets  int    // of the local, when it was read
}

// note is code that notes a write to what lies between two offsets from a local, or to constant addresses.
type note struct {
	local       uint32 // or constants, which is none
	sets        int    // of the local, then
	first, last uint32 // the offsets
	mask        uint64 // the pages of constants
	at, atLast  int    // where the offsets stand, or the mask
}

const constants = math.MaxUint32

// written is the index of the global: behind the counter and the budget of tables.
func (m *module) written() uint32 {
	if m.grows {
		return uint32(len(m.globals)) + 2
	}
	return uint32(len(m.globals)) + 1
}

// stores are i32.store and the instructions behind it, by what they store.
var stores = [...]struct {
	kind byte
	size uint32
}{
	{typeI32, 4}, {typeI64, 8}, {typeF32, 4}, {typeF64, 8}, {typeI32, 1}, {typeI32, 2}, {typeI64, 1}, {typeI64, 2}, {typeI64, 4},
}

// stored says of what type the value is that an instruction stores in memory, and how many bytes it stores: 0 for others.
func stored(op uint16) (kind byte, size uint32) {
	switch {
	case op >= opI32Store && op <= opI64Store32:
		s := stores[op-opI32Store]
		return s.kind, s.size
	case op == opV128Store:
		return typeV128, 16
	case op >= opV128Store8Lane && op <= opV128Store64Lane:
		return typeV128, 1 << (op - opV128Store8Lane)
	}
	return 0, 0
}

// track notes what an instruction is going to write to, before it.
func (w *walk) track(i instruction, s signature) {
	switch kind, size := stored(i.op); {
	case i.op>>8 == prefixAtomic:
		w.fail("not tracked: atomic instructions")
	case i.op == opMemoryCopy, i.op == opMemoryFill, i.op == opMemoryInit:
		w.note(i.at, w.noteBulk)
	case size > 0:
		w.trackStore(i, kind, size)
	}
	w.operate(i, s)
}

// note adds the code of a note before the instruction at a position. It is a part of the path, and work for the engine.
func (w *walk) note(at int, code func()) {
	w.copy(at)
	start, own := len(w.out), len(w.own)
	code()
	size := len(w.out) - start
	w.noted += size
	if w.path != unreachable {
		w.path += size / 2 // instructions, more or less
		w.work.note(size, len(w.own)-own)
	}
}

// trackStore notes a store, unless it is out of bounds whatever the address is.
func (w *walk) trackStore(i instruction, kind byte, size uint32) {
	first := w.offset(i)
	last := first + size - 1
	var address operand
	if n := len(w.operands); n >= 2 {
		address = w.operands[n-2]
	}
	switch {
	case last < first, address.op == opI32Const && address.value+last < last:
	case address.op == opI32Const:
		w.noteConstants(i.at, pageBit(address.value+first)|pageBit(address.value+last))
	case address.op == opLocalGet && address.sets == w.sets[address.value]:
		w.noteLocal(i.at, address.value, first, last)
	default:
		w.note(i.at, func() { w.noteOperand(kind, first, last) })
	}
}

func pageBit(address uint32) uint64 {
	return 1 << (address >> trackShift % 64)
}

// known is the note of a local that is still good for it; nil: there is none.
func (w *walk) known(local uint32) *note {
	at, ok := w.latest[local]
	if !ok || at < w.floor || at >= len(w.notes) {
		return nil
	}
	n := &w.notes[at]
	if n.local != local || n.sets != w.sets[local] {
		return nil
	}
	return n
}

// remember makes a note known from here on.
func (w *walk) remember(n note) {
	n.sets = w.sets[n.local]
	w.latest[n.local] = len(w.notes)
	w.notes = append(w.notes, n)
}

// noteLocal notes a write from one offset from a local to another, in a note that is there or a new one.
func (w *walk) noteLocal(at int, local, first, last uint32) {
	n := w.known(local)
	if n != nil && max(last, n.last)-min(first, n.first) < reach {
		n.first, n.last = min(first, n.first), max(last, n.last)
		setWide(w.out[n.at:][:offsetSize], int64(int32(n.first)))
		setWide(w.out[n.atLast:][:offsetSize], int64(int32(n.last)))
		return
	}
	w.note(at, func() {
		n := note{local: local, first: first, last: last}
		w.out = appendUint(append(w.out, opGlobalGet), w.written())
		n.at = w.appendPage(local, first)
		n.atLast = w.appendPage(local, last)
		w.out = appendUint(append(w.out, opGlobalSet), w.written())
		w.remember(n)
	})
}

// noteConstants notes a write to pages that are known.
func (w *walk) noteConstants(at int, mask uint64) {
	if n := w.known(constants); n != nil {
		n.mask |= mask
		setWide(w.out[n.at:][:maskSize], int64(n.mask))
		return
	}
	w.note(at, func() {
		w.out = appendUint(append(w.out, opGlobalGet), w.written())
		w.out = append(w.out, opI64Const)
		w.remember(note{local: constants, mask: mask, at: len(w.out)})
		w.out = append(w.out, make([]byte, maskSize)...)
		setWide(w.out[len(w.out)-maskSize:], int64(mask))
		w.out = appendUint(append(w.out, opI64Or, opGlobalSet), w.written())
	})
}

// noteOperand notes a write to an address that is on the operand stack, below the value.
func (w *walk) noteOperand(kind byte, first, last uint32) {
	address, value := w.temporary(typeI32, forAddress), w.temporary(kind, forValue)
	w.out = appendUint(append(w.out, opLocalSet), value)
	w.out = appendUint(append(w.out, opLocalSet), address)
	w.out = appendUint(append(w.out, opGlobalGet), w.written())
	w.appendPage(address, first)
	if last > first {
		w.appendPage(address, last)
	}
	w.out = appendUint(append(w.out, opGlobalSet), w.written())
	w.out = appendUint(append(w.out, opLocalGet), address)
	w.out = appendUint(append(w.out, opLocalGet), value)
}

// appendPage appends code that adds the page of an address, at an offset from a local, to the mask on top of the stack. It
// says where the offset stands.
func (w *walk) appendPage(local, offset uint32) (at int) {
	w.out = appendUint(append(w.out, opI64Const, 1, opLocalGet), local)
	w.out = append(w.out, opI32Const)
	at = len(w.out)
	w.out = append(w.out, make([]byte, offsetSize)...)
	setWide(w.out[at:], int64(int32(offset)))
	w.out = append(w.out, opI32Add, opI32Const, trackShift, opI32ShrU, opI64ExtendI32U, opI64Shl, opI64Or)
	return at
}

// noteBulk notes a write from the address that is the first of three operands, of as many bytes as the last one says: from
// the first page on as many more as the end is further, 63 at most. One that would go beyond 4 GiB writes nothing.
//
//	written |= rotl(-1 >> (63 - min(pages, 63)), to >> trackShift), where pages = (to+size)>>trackShift - to>>trackShift
func (w *walk) noteBulk() {
	to, from := w.temporary(typeI32, forAddress), w.temporary(typeI32, forValue)
	size, pages := w.temporary(typeI32, forSize), w.temporary(typeI32, forPages)
	for _, local := range []uint32{size, from, to} {
		w.out = appendUint(append(w.out, opLocalSet), local)
	}
	w.out = appendUint(append(w.out, opGlobalGet), w.written())
	w.out = appendUint(append(w.out, opI64Const, 0x7f, opI32Const, 63, opLocalGet), to) // -1
	w.out = appendUint(append(w.out, opLocalGet), size)
	w.out = appendUint(append(w.out, opI32Add, opI32Const, trackShift, opI32ShrU, opLocalGet), to)
	w.out = appendUint(append(w.out, opI32Const, trackShift, opI32ShrU, opI32Sub, opLocalTee), pages)
	w.out = append(w.out, opI32Const, 63)
	w.out = appendUint(append(w.out, opLocalGet), pages)
	w.out = append(w.out, opI32Const, 63, opI32LtU, opSelect, opI32Sub, opI64ExtendI32U, opI64ShrU)
	w.out = appendUint(append(w.out, opLocalGet), to)
	w.out = append(w.out, opI32Const, trackShift, opI32ShrU, opI64ExtendI32U, opI64Rotl, opI64Or)
	w.out = appendUint(append(w.out, opGlobalSet), w.written())
	for _, local := range []uint32{to, from, size} {
		w.out = appendUint(append(w.out, opLocalGet), local)
	}
}

// offset is that of a load or store.
func (w *walk) offset(i instruction) uint32 {
	r := reader{data: w.data, at: i.at + 1}
	if i.op > 0xff {
		r.at++
	}
	r.uint() // alignment
	return r.uint()
}

// operate brings what is known of operands up to date. Where little is, nothing is: what is missing at the bottom is not known.
func (w *walk) operate(i instruction, s signature) {
	_, size := stored(i.op)
	switch {
	case i.op == opLocalGet:
		w.push(operand{opLocalGet, i.index, w.sets[i.index]})
	case i.op == opLocalTee:
		w.sets[i.index]++
		w.pop(1)
		w.push(operand{opLocalGet, i.index, w.sets[i.index]})
	case i.op == opLocalSet:
		w.sets[i.index]++
		w.pop(1)
	case i.op == opI32Const:
		w.push(operand{op: opI32Const, value: w.constantAt(i.at)})
	case i.op == opDrop, i.op == opGlobalSet, i.op == opBrIf:
		w.pop(1)
	case size > 0:
		w.pop(2)
	case i.op == opCall:
		w.pop(int(s.params))
		w.push(make([]operand, s.results)...)
	case i.op < opDrop, i.op == opTryTable, i.op == opBrOnNonNull, i.op > 0xff: // blocks, branches, other calls, vectors
		w.operands = w.operands[:0]
	case grows(i.op) > 0:
		w.push(operand{})
	default:
		w.pop(1 - grows(i.op))
		w.push(operand{})
	}
}

// join ends a block: of its notes those of a loop alone are on all ways to what follows.
func (w *walk) join(b *block) {
	w.floor = b.floor
	if b.op != opLoop {
		w.notes = w.notes[:b.notes]
	}
}

func (w *walk) push(o ...operand) {
	w.operands = append(w.operands, o...)
}

func (w *walk) pop(n int) {
	w.operands = w.operands[:max(0, len(w.operands)-n)]
}
