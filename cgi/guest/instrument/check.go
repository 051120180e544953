package instrument

import (
	"encoding/binary"
	"slices"
)

// A check takes a price from the counter and, when that is used up, calls the interrupt and fills the counter again.
// The price is for the longest path that the guest can take before it comes to a check that pays for what follows, so
// that the time between two interrupts is bounded, and short, whatever the code looks like:
//   - a loop pays for the longest path through it, at its head; for a short one whose code says how many turns it takes,
//     what is before it pays, for all of them;
//   - a function pays for itself, at its entry, if calls can lead from it to itself or the path through it is long;
//     for a shorter one the caller pays;
//   - a bulk instruction pays for the size that it is given, and a large one is done in pieces.
//
// Deep recursion takes stack faster than time. So a function with a check pays there for its frame too, and for those of
// functions without that it calls: between two interrupts not much more than stackPerFill is taken. A try_table, for which
// the engine copies the whole stack, calls the interrupt itself.
//
// One thing has no bound but the size of the module: a path without loops that pay, of up to longPath instructions for each one in
// the function.
const (
	fill         = 1 << 20 // of the counter
	perUnit      = 8       // instructions that a unit of the counter pays for
	longPath     = 1024    // instructions that a caller pays for at most
	indirectPath = 128     // the same for a function whose address is taken, as an indirect call does not know the path
	hostCall     = 16      // instructions that are as much work as a call of the host
	exception    = 1 << 15 // the same for trying and throwing, for which wazero takes up to 0.5 ms

	stackPerFill  = 4 << 20  // bytes of stack that a whole fill pays for, by the estimate of frameOf
	longFrame     = 16 << 10 // bytes of stack that a caller pays for at most
	indirectFrame = 1 << 10  // the same for a function whose address is taken
	priceSize     = 5        // bytes of a price, in LEB128 made longer than need be
)

// addChecks imports the interrupt, adds globals and gives each function its checks.
func (m *module) addChecks() error {
	m.importInterrupt()
	m.addGlobals()
	bodies, size := make([][]byte, len(m.functions)), 0
	for _, f := range m.breakCycles() {
		body, err := m.withChecks(&m.functions[f])
		if err != nil {
			return m.inFunction(f, err)
		}
		bodies[f] = body
		size += binary.MaxVarintLen32 + len(body)
	}
	if err := m.checkWork(); err != nil {
		return err
	}
	if code := m.sections[sectionCode]; code != nil {
		code.items = slices.Grow(code.items, size)
		for _, body := range bodies {
			code.items = appendBody(code.items, body)
		}
	}
	m.addPieces()
	return nil
}

func (m *module) importInterrupt() {
	item := appendName(nil, InterruptModule)
	item = appendName(item, InterruptName)
	item = append(item, byte(Function))
	m.add(sectionImport, appendUint(item, uint32(len(m.signatures))))
	m.add(sectionType, []byte{formFunction, 0, 0})
}

func (m *module) addGlobals() {
	const mutable = 1
	item := appendInt([]byte{typeI32, mutable, opI32Const}, m.fill)
	m.add(sectionGlobal, append(item, opEnd))
	m.mutable++
	if m.grows { // the budget of tables, behind the counter
		item := appendInt([]byte{typeI32, mutable, opI32Const}, -1)
		m.add(sectionGlobal, append(item, opEnd))
		m.mutable++
	}
	if m.tracks { // what is written to, last
		m.add(sectionGlobal, []byte{typeI64, mutable, opI64Const, 0, opEnd})
		m.mutable++
	}
}

// appendCharge appends code that takes a price from the counter and says whether that was too much.
// It returns where the price stands, which is still to be set.
func (m *module) appendCharge(code []byte) (_ []byte, at int) {
	counter := uint32(len(m.globals))
	code = appendUint(append(code, opGlobalGet), counter)
	code = append(code, opI32Const)
	at = len(code)
	code = append(code, make([]byte, priceSize)...)
	code = appendUint(append(code, opI32Sub, opGlobalSet), counter)
	code = appendUint(append(code, opGlobalGet), counter)
	return append(code, opI32Const, 0, opI32LtS), at
}

// priceOf is what a path of so many instructions costs.
func priceOf(path int) int32 {
	return int32(min(path/perUnit+1, 1<<27))
}

// frameOf estimates how many bytes of stack a call takes at most: the engine keeps there what has no register. A function
// can be written that takes eight times as much.
func frameOf(locals uint64, code int) int {
	const fixed, slot = 64, 8
	return fixed + slot*int(locals) + code
}

// priceOfFrame is what a frame costs.
func priceOfFrame(frame int) int32 {
	return int32(min(frame/(stackPerFill/fill), 1<<27))
}

func setPrice(code []byte, price int32) {
	setWide(code[:priceSize], int64(price))
}

// setWide fills code with a number in LEB128, longer than need be.
func setWide(code []byte, n int64) {
	for i := range code {
		code[i] = byte(n&0x7f) | 0x80
		n >>= 7
	}
	code[len(code)-1] &= 0x7f
}

// appendSizeCharge appends code that takes the price of the size on top of the stack, which stays there, and says whether that
// was too much.
func (m *module) appendSizeCharge(code []byte, local uint32) []byte {
	counter := uint32(len(m.globals))
	code = appendUint(append(code, opLocalTee), local)
	code = appendUint(append(code, opGlobalGet), counter)
	code = appendUint(append(code, opLocalGet), local)
	code = append(code, opI32Const, sizeShift, opI32ShrU, opI32Sub)
	code = appendUint(append(code, opGlobalSet), counter)
	code = appendUint(append(code, opGlobalGet), counter)
	return append(code, opI32Const, 0, opI32LtS)
}

// appendTableBudget appends code that takes the size on top of the stack, which is in the local too, from the budget of
// tables. Where it is too large the engine gets the largest there is instead, which it refuses.
func (m *module) appendTableBudget(code []byte, local uint32) []byte {
	budget := uint32(len(m.globals) + 1)
	code = appendUint(append(code, opI32Const, 0x7f, opLocalGet), local) // -1
	code = appendUint(append(code, opGlobalGet), budget)
	code = appendUint(append(code, opI32LeU, opSelect, opLocalTee), local)
	code = appendUint(append(code, opGlobalGet), budget)
	code = appendUint(append(code, opLocalGet), local)
	code = appendUint(append(code, opI32Const, 0, opLocalGet), local)
	code = append(code, opI32Const, 0x7f, opI32Ne, opSelect, opI32Sub)
	return appendUint(append(code, opGlobalSet), budget)
}

// appendInterrupt appends the call of the interrupt and fills the counter, and on top what the guest still has to pay.
func (m *module) appendInterrupt(code []byte, debt int32) []byte {
	code = appendUint(append(code, opCall), m.imported)
	code = appendInt(append(code, opI32Const), m.fill+debt)
	return appendUint(append(code, opGlobalSet), uint32(len(m.globals)))
}

// appendPlainCheck appends a check that can stand anywhere. It returns where the price stands.
func (m *module) appendPlainCheck(code []byte) (_ []byte, at int) {
	code, at = m.appendCharge(code)
	code = m.appendInterrupt(append(code, opIf, typeEmpty), 0)
	return append(code, opEnd), at
}

// appendLoop appends the beginning of a loop whose check leaves the loop to call the interrupt and comes back:
// the engine's code for a loop with a call in it is up to a third slower, even if the call is never made.
//
//	block T
//	  loop T
//	    block
//	      loop T         the original
//	        charge
//	        br_if 1
//	        ...
//	      end
//	      br 2
//	    end
//	    interrupt
//	    br 0
//	  end
//	end
func (m *module) appendLoop(code, loop []byte) (_ []byte, at int) {
	code = append(append(code, opBlock), loop[1:]...)
	code = append(code, loop...)
	code = append(code, opBlock, typeEmpty)
	code = append(code, loop...)
	code, at = m.appendCharge(code)
	return append(code, opBrIf, 1), at
}

// loopDepth is how many blocks appendLoop adds around a loop.
const loopDepth = 3

func (m *module) appendLoopEnd(code []byte, price int32) []byte {
	code = append(code, opBr, 2, opEnd)
	code = m.appendInterrupt(code, price)
	return append(code, opBr, 0, opEnd, opEnd)
}

// appendEntry appends a function's code behind a check, which again calls the interrupt out of the way:
//
//	loop T
//	  block
//	    charge
//	    br_if 0
//	    block T
//	      ...
//	    end
//	    return
//	  end
//	  interrupt
//	  br 0
//	end
func (m *module) appendEntry(body, code, result []byte, price int32) []byte {
	body = append(append(body, opLoop), result...)
	body = append(body, opBlock, typeEmpty)
	body, at := m.appendCharge(body)
	setPrice(body[at:], price)
	body = append(body, opBrIf, 0, opBlock)
	body = append(body, result...)
	body = append(body, code...)
	body = m.appendInterrupt(append(body, opReturn, opEnd), price)
	return append(body, opBr, 0, opEnd, opEnd)
}
