package instrument

import "slices"

// A bulk instruction pays for its size where it stands, and has a check there. Where the counter is used up, at the latest with 8 MiB,
// one on memory calls a function of ours that does it in pieces with the interrupt before each. Tables are small, and so are
// most data segments: they need the interrupt alone.
const (
	piece     = 1 << 20 // bytes
	sizeShift = 3       // a unit of the counter pays for 1<<sizeShift bytes or elements
)

// bulk is an instruction on memory.
type bulk struct {
	op    uint16
	index uint32 // of the data segment for memory.init
}

// appendTo appends the instruction. The original may write it longer than need be, which the engine takes only where it cannot be reached.
func (b bulk) appendTo(code []byte) []byte {
	code = append(code, prefixMisc, byte(b.op))
	switch b.op {
	case opMemoryInit:
		code = appendUint(code, b.index)
	case opMemoryCopy:
		code = append(code, 0)
	}
	return append(code, 0)
}

// appendBulk appends a bulk instruction with its check. What is to be done in pieces becomes
//
//	charge
//	if T
//	  call of the function of ours
//	else
//	  instruction
//	end
func (w *walk) appendBulk(i instruction) {
	size := w.temporary(typeI32, forSize)
	w.copy(i.at)
	w.out = w.appendSizeCharge(w.out, size)
	if w.large(i) {
		w.out = appendInt(append(w.out, opIf), int32(w.piecesType()))
		w.out = appendUint(append(w.out, opCall), w.added(w.pieces(bulk{i.op, i.index})))
		w.out = append(w.out, opElse)
		w.copy(w.at)
		w.out = append(w.out, opEnd)
		return
	}
	w.out = append(w.appendInterrupt(append(w.out, opIf, typeEmpty), 0), opEnd)
	if i.op == opTableGrow {
		w.out = w.appendTableBudget(w.out, size)
	}
}

// large says whether an instruction may do more than a piece.
func (m *module) large(i instruction) bool {
	switch i.op {
	case opMemoryCopy, opMemoryFill:
		return true
	case opMemoryInit:
		return uint64(i.index) < uint64(len(m.segments)) && len(m.segments[i.index].Bytes) > piece
	}
	return false
}

// pieces says which function of ours does an instruction in pieces.
func (m *module) pieces(b bulk) int {
	i := slices.Index(m.bulks, b)
	if i < 0 {
		i = len(m.bulks)
		m.bulks = append(m.bulks, b)
	}
	return i
}

// piecesType is the type of these functions, which stands behind that of the interrupt.
func (m *module) piecesType() uint32 {
	return uint32(len(m.signatures)) + 1
}

// addPieces adds these functions.
func (m *module) addPieces() {
	if len(m.bulks) > 0 {
		m.add(sectionType, []byte{formFunction, 3, typeI32, typeI32, typeI32, 0})
	}
	for _, b := range m.bulks {
		m.addFunction(m.piecesType(), m.inPieces(b))
	}
}

// Parameters of these functions.
const (
	bulkTo = iota
	bulkFrom
	bulkSize
)

// inPieces is the body of the function for an instruction. Pieces go from the end to the beginning, so that the first one is out of
// bounds if any is; but those of a copy to a lower address, which may overlap, go to the end. Where the addresses overflow
// the whole instruction is to say so.
//
//	block
//	  br_if 0 (size <= piece)
//	  br_if 0 (to > 1<<32 - size)
//	  br_if 0 (from > 1<<32 - size)      not for memory.fill, where it is no address
//	  if (to < from)                     only for memory.copy
//	    drop (load (from + size - 1))
//	    loop
//	      interrupt
//	      memory.copy (to, from, piece)
//	      to += piece, from += piece, size -= piece
//	      br_if 0 (size > piece)
//	    end
//	    br 1
//	  end
//	  loop
//	    interrupt
//	    size -= piece
//	    instruction (to + size, from + size, piece)
//	    br_if 0 (size > piece)
//	  end
//	end
//	interrupt
//	instruction (to, from, size)
func (m *module) inPieces(b bulk) []byte {
	code := []byte{0, opBlock, typeEmpty} // no locals
	code = append(appendPiece(append(code, opLocalGet, bulkSize)), opI32LeU, opBrIf, 0)
	code = appendOverflow(code, bulkTo)
	if b.op != opMemoryFill {
		code = appendOverflow(code, bulkFrom)
	}
	if b.op == opMemoryCopy {
		code = append(code, opLocalGet, bulkTo, opLocalGet, bulkFrom, opI32LtU, opIf, typeEmpty)
		code = m.appendPiecesUp(code, b)
		code = append(code, opBr, 1, opEnd)
	}
	code = append(m.appendPiecesDown(code, b), opEnd)
	code = m.appendInterrupt(code, 0)
	code = append(code, opLocalGet, bulkTo, opLocalGet, bulkFrom, opLocalGet, bulkSize)
	return append(b.appendTo(code), opEnd)
}

// Where pieces go up, the last byte tells at first whether all are within bounds.
func (m *module) appendPiecesUp(code []byte, b bulk) []byte {
	const minusOne = 0x7f
	code = append(code, opLocalGet, bulkFrom, opLocalGet, bulkSize, opI32Add, opI32Const, minusOne, opI32Add, opI32Load8U, 0, 0, opDrop)
	code = m.appendInterrupt(append(code, opLoop, typeEmpty), 0)
	code = append(code, opLocalGet, bulkTo, opLocalGet, bulkFrom)
	code = b.appendTo(appendPiece(code))
	code = appendMove(code, bulkTo, opI32Add)
	code = appendMove(code, bulkFrom, opI32Add)
	code = appendMove(code, bulkSize, opI32Sub)
	return appendNext(code)
}

func (m *module) appendPiecesDown(code []byte, b bulk) []byte {
	code = m.appendInterrupt(append(code, opLoop, typeEmpty), 0)
	code = appendMove(code, bulkSize, opI32Sub)
	code = append(code, opLocalGet, bulkTo, opLocalGet, bulkSize, opI32Add, opLocalGet, bulkFrom)
	if b.op != opMemoryFill {
		code = append(code, opLocalGet, bulkSize, opI32Add)
	}
	code = b.appendTo(appendPiece(code))
	return appendNext(code)
}

// appendOverflow appends a branch that is taken where an address and the size lead beyond 4 GiB.
func appendOverflow(code []byte, address byte) []byte {
	return append(code, opLocalGet, address, opI32Const, 0, opLocalGet, bulkSize, opI32Sub, opI32GtU, opBrIf, 0)
}

// appendMove appends code that adds a piece to a parameter, or subtracts it.
func appendMove(code []byte, local, op byte) []byte {
	code = appendPiece(append(code, opLocalGet, local))
	return append(code, op, opLocalSet, local)
}

// appendNext appends the end of a loop that goes on while there is more than a piece.
func appendNext(code []byte) []byte {
	code = appendPiece(append(code, opLocalGet, bulkSize))
	return append(code, opI32GtU, opBrIf, 0, opEnd)
}

func appendPiece(code []byte) []byte {
	return appendInt(append(code, opI32Const), piece)
}
