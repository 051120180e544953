package instrument

import "slices"

// Many loops say how many turns they take, as compilers write them where that is a constant:
//
//	i32.const FIRST
//	local.set $i
//	...
//	loop
//	  ...
//	  local.get $i
//	  i32.const STEP
//	  i32.add
//	  local.tee $i
//	  i32.const LAST
//	  i32.ne
//	  br_if 0
//	end
//
// They need no check if nothing else changes $i, leads back to the loop or leads out of it.

// maxCounted is how many instructions all turns of a loop without a check may have. Its code, with what sets the local before it, has
// more than 8: for its size that is no more than calls may have.
const maxCounted = 8 * longPath

// assignment is that of a local, of a constant or of what is not known.
type assignment struct {
	local    uint32
	constant bool
	value    uint32
}

// assign notes what an instruction makes of locals, up to where ways meet.
func (w *walk) assign(i instruction) {
	switch i.op {
	case opI32Const:
		w.constant = i.at
		return
	case opLocalSet, opLocalTee:
		a := assignment{local: i.index, constant: w.constant > 0}
		if a.constant {
			a.value = w.constantAt(w.constant)
		}
		w.assigned = append(w.assigned, a)
	case opElse, opEnd:
		w.assigned = w.assigned[:0]
	}
	w.constant = 0
}

// constantAt is the number in an i32.const of the code.
func (r *reader) constantAt(at int) uint32 {
	immediate := reader{data: r.data, at: at + 1}
	return uint32(immediate.int(5))
}

// constantOf is the constant that a local is here, if that is known.
func (m *module) constantOf(local uint32) (value uint32, known bool) {
	for i := len(m.assigned) - 1; i >= 0; i-- {
		if a := m.assigned[i]; a.local == local {
			return a.value, a.constant
		}
	}
	return 0, false
}

// How the code of a loop ends that says how many turns it takes: the last ones where the number is 0 in the end.
var (
	countsTo  = []uint16{opLocalGet, opI32Const, opI32Add, opLocalTee, opI32Const, opI32Ne, opBrIf, opEnd}
	countsTo0 = []uint16{opLocalGet, opI32Const, opI32Add, opLocalTee, opBrIf, opEnd}
)

// turns is how many turns the loop takes that begins here, 0 if it does not say so or if they are too long. It reads ahead, but
// not beyond the beginning of a loop in it, so that each instruction is read ahead for one loop alone.
func (w *walk) turns() int {
	r := w.reader
	r.labels = w.ahead
	defer func() { w.ahead = r.labels }()
	var tail [8]instruction // the last ones, as long as countsTo
	size := 0
	for depth := 0; depth >= 0; size++ {
		i := r.instruction()
		if r.err != nil || size == maxCounted || !r.stays(i, depth) {
			return 0
		}
		switch i.op {
		case opBlock, opIf:
			depth++
		case opEnd:
			depth--
		}
		tail[size%len(tail)] = i
	}
	end := slices.Concat(tail[size%len(tail):], tail[:size%len(tail)])
	last := uint32(0)
	if ops := opsOf(end); slices.Equal(ops, countsTo) {
		last = w.constantAt(end[4].at)
	} else if end = end[2:]; !slices.Equal(ops[2:], countsTo0) {
		return 0
	}
	local := end[0].index
	first, known := w.constantOf(local)
	if !known || end[3].index != local || w.assignments(local, r.at) != 1 {
		return 0
	}
	return turnsOf(first, w.constantAt(end[1].at), last, maxCounted/size)
}

func opsOf(code []instruction) (ops []uint16) {
	for _, i := range code {
		ops = append(ops, i.op)
	}
	return ops
}

// turnsOf is in how many steps a number becomes another, 0 for never or more than the most.
func turnsOf(first, step, last uint32, most int) int {
	way := last - first
	if int32(step) < 0 {
		way, step = -way, -step
	}
	if way == 0 || step == 0 || way%step != 0 || way/step > uint32(most) {
		return 0
	}
	return int(way / step)
}

// assignments counts those of a local up to a position.
func (w *walk) assignments(local uint32, end int) (n int) {
	r := w.reader
	for r.labels = w.ahead; r.at < end; {
		if i := r.instruction(); (i.op == opLocalSet || i.op == opLocalTee) && i.index == local {
			n++
		}
	}
	return n
}

// stays says whether an instruction, in so many blocks within a loop, is a short one that leads neither out of the loop nor back to
// its beginning, but for the last one.
func (r *reader) stays(i instruction, depth int) bool {
	switch op := i.op; {
	case op == opLoop, op == opTryTable, op == opThrow, op == opThrowRef, op >= opReturn && op <= opReturnCallRef,
		op == opMemoryGrow, op >= opMemoryInit && op>>8 == prefixMisc, op>>8 == prefixAtomic:
		return false
	}
	for _, l := range i.labels {
		last := depth == 0 && i.op == opBrIf && r.more() && r.data[r.at] == opEnd
		if int(l.out) > depth || int(l.out) == depth && !last {
			return false
		}
	}
	return true
}
