package instrument

import "slices"

// walk goes through the code of a function and adds the checks. On its way it measures the longest path, in
// instructions, loops counted once.
type walk struct {
	*module
	editor
	path     int         // from the function's entry
	blocks   []block     // that the walk is in, the function itself first
	longest  int         // path through the function
	deepest  int         // frame of what it calls
	work     work        // for the engine
	locals   uint32      // of the function, in number
	own      []temporary // behind those
	tracking             // where the module is tracked

	constant int // where the last instruction is if it is an i32.const, else 0
}

// temporary is a local of ours.
type temporary struct {
	kind, use byte
}

// Uses of temporaries.
const (
	forSize = iota
	forAddress
	forValue
	forPages
)

// block is a function, or a block in it.
type block struct {
	op       uint16
	depth    int   // how many blocks are around it in the rewritten code
	start    int   // path at its beginning
	farthest int   // longest path in it
	end      int   // longest path of branches to its end
	price    int   // of a loop: where the price of its check stands
	around   bool  // there are blocks around it for the check
	turns    int   // of a loop without a check: how many it takes
	catches  []int // of a try_table: the blocks that its catches lead to
	notes    int   // before it
	floor    int   // of notes, before it
}

// unreachable is the path to code that cannot be reached.
const unreachable = -1

// withChecks is the body of a function with its checks. It sets the function's cost.
func (m *module) withChecks(f *function) ([]byte, error) {
	code := f.body
	locals := f.params + code.locals()
	w := walk{module: m, editor: edit(code), locals: uint32(locals)}
	if m.tracks {
		w.tracking = tracking{sets: map[uint32]int{}, latest: map[uint32]int{}}
	}
	m.begin(locals)
	w.open(opBlock, 0)
	w.work.enter(f.signature)
	for w.more() && len(w.blocks) > 0 {
		w.step(w.instruction())
	}
	if w.more() || len(w.blocks) > 0 {
		w.fail("blocks and their ends do not match")
	}
	if w.err != nil {
		return nil, w.err
	}
	if err := m.spend(&w.work, len(f.body.data)-f.body.at); err != nil {
		return nil, err
	}
	body := w.declarations(f.body, code.at)
	f.cost = w.longest + 1
	f.frame = frameOf(locals, len(f.body.data)-f.body.at+w.noted) + w.deepest
	if !f.checked && f.cost <= longPath && f.frame <= longFrame && (!f.taken || f.cost <= indirectPath && f.frame <= indirectFrame) {
		return append(body, w.done()...), nil
	}
	price := priceOf(f.cost) + priceOfFrame(f.frame)
	f.cost, f.frame = 1, 0
	if f.result != nil {
		return m.appendEntry(body, w.done(), f.result, price), nil
	}
	body, at := m.appendPlainCheck(body)
	setPrice(body[at:], price)
	return append(body, w.done()...), nil
}

// temporary is the local of ours for a use.
func (w *walk) temporary(kind, use byte) uint32 {
	t := temporary{kind, use}
	at := slices.Index(w.own, t)
	if at < 0 {
		at = len(w.own)
		w.own = append(w.own, t)
	}
	return w.locals + uint32(at)
}

// declarations are those of the function's locals, up to a position, and of ours.
func (w *walk) declarations(r reader, end int) []byte {
	groups := r.count()
	b := append(appendUint(nil, uint32(groups+len(w.own))), r.data[r.at:end]...)
	for _, t := range w.own {
		b = append(b, 1, t.kind)
	}
	return b
}

// step adds the instruction to the path.
func (w *walk) step(i instruction) {
	s := w.typeOf(i)
	w.work.count(w, &i, &s)
	if w.tracks {
		w.track(i, s)
	}
	w.rewrite(i)
	w.assign(i)
	if w.path != unreachable {
		w.path += w.length(i)
	}
	depth := w.top().depth
	w.top().farthest = max(w.top().farthest, w.path)
	switch i.op {
	case opBlock, opIf:
		w.open(i.op, depth+1)
	case opLoop:
		w.openLoop(i)
	case opTryTable:
		w.branch(i.labels)
		w.openTry(i.labels)
	case opElse:
		b := w.top()
		b.op, b.end, w.path = opElse, max(b.end, w.path), b.start
		w.join(b)
	case opEnd:
		w.close()
	case opBrIf:
		if b := w.repeated(i); b != nil {
			w.repeat(i, b)
		} else {
			w.branch(i.labels)
		}
	case opBrOnNull, opBrOnNonNull:
		w.branch(i.labels)
	case opBr, opBrTable:
		w.branch(i.labels)
		w.path = unreachable
	case opUnreachable, opReturn, opReturnCall, opReturnCallIndirect, opReturnCallRef, opThrow, opThrowRef:
		w.path = unreachable
	}
}

// rewrite changes an instruction or adds to it, but for labels and loops.
func (w *walk) rewrite(i instruction) {
	switch i.op {
	case opCall, opReturnCall, opRefFunc:
		w.copy(i.at)
		w.out = appendUint(append(w.out, byte(i.op)), w.shifted(i.index))
		w.drop()
	case opMemoryCopy, opMemoryFill, opMemoryInit, opTableCopy, opTableFill, opTableInit, opTableGrow:
		w.appendBulk(i)
	case opLocalGet, opLocalSet, opLocalTee:
		if i.index >= w.locals { // the next one is ours
			w.fail("local %d of %d", i.index, w.locals)
		}
	case opTryTable:
		w.copy(i.at)
		w.out = appendUint(append(w.out, opCall), w.imported)
	}
}

// length is that of the path through an instruction.
func (w *walk) length(i instruction) int {
	switch i.op {
	case opCall, opReturnCall:
		if i.index < w.imported {
			return hostCall
		}
		callee := &w.functions[i.index-w.imported] // one that is to come has a check, and still 0 here
		w.deepest = max(w.deepest, callee.frame)
		return 1 + callee.cost
	case opCallIndirect, opReturnCallIndirect, opCallRef, opReturnCallRef:
		w.deepest = max(w.deepest, indirectFrame)
		return indirectPath
	case opMemoryGrow, opMemoryCopy, opMemoryFill, opTableGrow:
		return hostCall
	case opTryTable, opThrow, opThrowRef:
		return exception
	}
	return 1
}

// typeOf is the type of the function that an instruction calls, or that of a block if that may be wide.
func (w *walk) typeOf(i instruction) (s signature) {
	switch {
	case i.op == opCall || i.op == opReturnCall:
		s = w.signature(i.index)
	case i.kind >= 0 && w.err == nil:
		s = w.signatures[i.kind]
	}
	return s
}

func (w *walk) top() *block {
	return &w.blocks[len(w.blocks)-1]
}

func (w *walk) open(op uint16, depth int) {
	b := block{op: op, depth: depth, start: w.path, farthest: w.path, end: unreachable, notes: len(w.notes), floor: w.floor}
	if op == opLoop {
		w.floor = len(w.notes)
	}
	w.blocks = append(w.blocks, b)
}

// openLoop adds the check of a loop. The one that is out of the way is for loops without parameters: what is on the
// stack when the check leaves the loop would be lost. A type that is an index can have them.
func (w *walk) openLoop(i instruction) {
	depth := w.top().depth
	around := w.data[i.at+1] >= typeEmpty && w.data[i.at+1] <= typeI32
	var turns, price int
	if around {
		turns = w.turns()
	}
	switch {
	case turns > 0:
		around = false
	case around:
		w.copy(i.at)
		w.out, price = w.appendLoop(w.out, w.data[i.at:w.at])
		w.drop()
		depth += loopDepth
	default:
		w.copy(w.at)
		w.out, price = w.appendPlainCheck(w.out)
	}
	w.assigned = w.assigned[:0]
	w.open(opLoop, depth+1)
	b := w.top()
	b.price, b.around, b.turns = price, around, turns
}

// openTry opens a try_table. Its labels, which are seen from outside of it, are known to lead to blocks.
func (w *walk) openTry(labels []label) {
	var catches []int
	for _, l := range labels {
		catches = append(catches, len(w.blocks)-1-int(l.out))
	}
	w.open(opTryTable, w.top().depth+1)
	w.top().catches = catches
}

// close leaves the innermost block.
func (w *walk) close() {
	b := *w.top()
	w.blocks = w.blocks[:len(w.blocks)-1]
	w.join(&b)
	switch b.op {
	case opLoop:
		w.closeLoop(&b)
	case opIf: // without else
		w.path = max(w.path, b.end, b.start)
	default:
		w.path = max(w.path, b.end)
	}
	for _, catch := range b.catches {
		w.blocks[catch].end = max(w.blocks[catch].end, b.farthest)
	}
	if len(w.blocks) == 0 {
		w.longest = b.farthest
		return
	}
	w.top().farthest = max(w.top().farthest, b.farthest)
}

// closeLoop sets the price of a loop's check. Without one the path goes through all its turns.
func (w *walk) closeLoop(b *block) {
	path := b.farthest - b.start
	if b.turns > 0 {
		b.farthest += path * (b.turns - 1)
		w.path += path * (b.turns - 1)
		return
	}
	setPrice(w.out[b.price:], priceOf(path))
	if b.around {
		w.copy(w.at)
		w.out = w.appendLoopEnd(w.out, priceOf(path))
	}
}

// repeated is the loop that a conditional branch leads back to, nil where it leads out of a block or passes values on.
func (w *walk) repeated(i instruction) *block {
	at := len(w.blocks) - 1 - int(i.labels[0].out)
	if at < 0 || w.blocks[at].op != opLoop || !w.blocks[at].around && w.blocks[at].turns == 0 {
		return nil
	}
	return &w.blocks[at]
}

// repeat makes a conditional branch to a loop an if with a branch in it. The engine compares and branches in two instructions,
// but in six where a conditional branch leads to what others lead to as well, as at the end of a loop.
func (w *walk) repeat(i instruction, b *block) {
	w.copy(i.at)
	w.out = append(w.out, opIf, typeEmpty, opBr)
	w.out = append(appendUint(w.out, uint32(w.top().depth+1-b.depth)), opEnd)
	w.drop()
}

// branch notes the path to the ends of blocks and adjusts the labels.
func (w *walk) branch(labels []label) {
	for _, l := range labels {
		if uint64(l.out) >= uint64(len(w.blocks)) {
			w.fail("branch out of more than %d blocks", len(w.blocks))
			return
		}
		b := &w.blocks[len(w.blocks)-1-int(l.out)]
		b.end = max(b.end, w.path)
		w.copy(l.at)
		w.out = appendUint(w.out, uint32(w.top().depth-b.depth))
		w.copied = l.end
	}
}
