package instrument

import "strings"

// grows says by how much an instruction makes the operand stack higher, for all but control instructions and calls. It is right for
// valid code.
func grows(op uint16) int {
	switch op >> 8 {
	case prefixMisc:
		return growsMisc(op)
	case prefixVector:
		return growsVector(byte(op))
	case prefixAtomic:
		return 0 // never fewer values than that
	}
	return int(growsPlain[op])
}

// growsPlain is by how much those of one byte do.
var growsPlain = func() (by [256]int8) {
	for op := range by {
		by[op] = int8(growsByte(uint16(op)))
	}
	return by
}()

func growsByte(op uint16) int {
	switch {
	case op == opLocalGet, op == opGlobalGet, op == opMemorySize, op >= opI32Const && op <= opF64Const, op == opRefNull, op == opRefFunc:
		return 1
	case op == opSelect, op == opSelectType, op == opTableSet, op >= opI32Store && op <= opI64Store32:
		return -2
	case op == opDrop, op == opLocalSet, op == opGlobalSet:
		return -1
	case op > opI32Eqz && op < opI64Eqz, op > opI64Eqz && op < opI32Clz: // comparisons
		return -1
	case op >= opI32Add && op < opI64Clz, op >= opI64Add && op < opF32Abs, op >= opF32Add && op < opF64Abs, op >= opF64Add && op < opI32WrapI64:
		return -1
	}
	return 0
}

func growsMisc(op uint16) int {
	switch op {
	case opMemoryInit, opMemoryCopy, opMemoryFill, opTableInit, opTableCopy, opTableFill:
		return -3
	case opTableGrow:
		return -1
	case opTableSize:
		return 1
	}
	return 0
}

// unaryVectors are the instructions of the vector proposal that take one value and give one; most others behind the stores take two.
const unaryVectors = "\x0f\x10\x11\x12\x13\x14\x15\x16\x18\x19\x1b\x1d\x1f\x21\x4d\x53\x5c\x5d\x5e\x5f\x60\x61\x62\x63\x64\x67\x68\x69\x6a\x74\x75\x7a\x7c\x7d\x7e\x7f" +
	"\x80\x81\x83\x84\x87\x88\x89\x8a\x94\xa0\xa1\xa3\xa4\xa7\xa8\xa9\xaa\xc0\xc1\xc3\xc4\xc7\xc8\xc9\xca\xe0\xe1\xe3\xec\xed\xef\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff"

func growsVector(op byte) int {
	const store, constant, bitselect, firstStoreLane, lastStoreLane = 0x0b, 0x0c, 0x52, 0x58, 0x5b
	switch {
	case op < store:
		return 0
	case op == constant:
		return 1
	case op == store, op == bitselect, op >= firstStoreLane && op <= lastStoreLane:
		return -2
	case strings.IndexByte(unaryVectors, op) >= 0:
		return 0
	}
	return -1
}

// accessesMemory tells the instructions that load or store one value, whose address the engine remembers.
func accessesMemory(op uint16) bool {
	const store, firstLane, lastZero = 0xfd0b, 0xfd54, 0xfd5d
	return op >= opI32Load && op <= opI64Store32 || op >= prefixVector<<8 && op <= store || op >= firstLane && op <= lastZero || op>>8 == prefixAtomic
}

// shifts tells the instructions that the engine leaves out where they shift by nothing.
func shifts(op uint16) bool {
	return op >= opI32Shl && op <= opI32ShrU || op >= opI64Shl && op <= opI64ShrU
}

// shiftsBySome says that the instruction at a position is a constant that does not shift by nothing.
func (r *reader) shiftsBySome(op uint16, at int) bool {
	const lowBits = 0x1f
	return (op == opI32Const || op == opI64Const) && r.data[at+1]&lowBits != 0
}
