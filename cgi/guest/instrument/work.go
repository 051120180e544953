package instrument

import (
	"errors"
	"fmt"
)

// The engine's time and memory are linear in a function's size but for some products: locals by the places where branches meet,
// values by the blocks that they are held over, and more. A few kilobytes can take minutes. So the walk through a function
// estimates these products from above, in nanoseconds of one core of the machine that they were measured on.
const (
	maxShares   = 32   // of the limits of one function, for all together, beyond linearShare
	linearShare = 1e-6 // for each byte of a function
	maxTables   = 32e9 // nanoseconds

	priceCarry   = 1000 // a local along a branch
	pricePass    = 4000 // a value into or out of a call, or of the operand stack along a branch
	priceMerge   = 1000 // a local where branches meet
	priceCompare = 1    // what two branches carry
	priceStep    = 8    // from a block to the one before it, for a local
	priceAlias   = 3    // from a value to the one that it is the same as
	priceAbove   = 10   // from a block to the one that all ways to it lead through
	priceHold    = 100  // a value over a block
	priceMeet    = 5    // an address that two branches know
	priceReload  = 1000 // a global after a call
	priceLeave   = 8000 // a try_table by a branch
	priceTable   = 8    // a type or global of the module, for each function
	priceRow     = 4    // a block of the module's largest function, for each function
)

// work is what the engine has to do for a function, as far as the walk has come. Its blocks are basic blocks, as the engine makes them.
type work struct {
	place
	nests  []nest
	lastAt int // where the last instruction is
	lastOp uint16

	height  int // of the operand stack
	touches int // instructions that use a local
	locals  int // that are used
	heads   int // of loops, up to here
	loops   int // around the walk
	tries   int // the same
	deepest int // loops in each other
	widest  int // parameters of a loop
	blocks  int
	shifts  int // that may be by nothing: the engine takes what they give for what they get

	looked, aliases, above int64 // from one block to those before it
	held                   int64 // values over blocks
	passed, calls, left    int64

	merges, used, looped, compared, steps, met float64 // where ways meet
}

// place is where in the function a block is.
type place struct {
	chain int // blocks before it without another way in, one after the other
	depth int // blocks that all ways to it lead through
	known int // addresses of which it is known that they are in the memory
}

func (p place) next() place {
	return place{p.chain + 1, p.depth + 1, p.known}
}

// junction is a block that branches lead to.
type junction struct {
	ways, steps, known int
	most               int // known on one way
	place                  // of the block that the only way comes from; of several the least
}

// nest is a block of the module, or the function.
type nest struct {
	op      uint16
	dead    bool  // it cannot be reached
	start   place // before it
	base    int   // height of the operand stack below its parameters
	params  int
	results int
	touches int // before it
	heads   int // the same
	tries   int // around it
	head    junction
	end     junction
}

// enter begins a function. It may get a check at its entry, which is a loop.
func (k *work) enter(s signature) {
	k.open(&instruction{op: opLoop, kind: emptyType}, &signature{results: s.results}, false)
}

// count counts an instruction. s is the type of what it calls or opens.
func (k *work) count(w *walk, i *instruction, s *signature) {
	dead := w.path == unreachable
	switch i.op {
	case opBlock, opLoop, opIf, opTryTable:
		k.open(i, s, dead)
	case opElse:
		k.otherwise(dead)
	case opEnd:
		k.close(dead)
	default:
		if !dead {
			k.plain(w, i, s)
		}
	}
	if n := len(k.nests); n > 0 {
		k.height = max(k.height, k.nests[n-1].base)
	}
	k.lastAt, k.lastOp = i.at, i.op
}

// emptyType is the type of a block without a value, as a signed number.
const emptyType = typeEmpty - 0x80

// loopBlocks is how many blocks a loop has with its check.
const loopBlocks = 3

func (k *work) open(i *instruction, s *signature, dead bool) {
	if !dead && i.op == opIf {
		k.height--
	}
	n := nest{op: i.op, dead: dead, start: k.place, base: k.height - int(s.params), params: int(s.params), results: s.results, touches: k.touches, heads: k.heads, tries: k.tries}
	if i.kind < 0 && i.kind != emptyType {
		n.results = 1
	}
	if dead {
		k.nests = append(k.nests, n)
		return
	}
	switch i.op {
	case opLoop:
		k.heads++
		k.loops++
		k.deepest = max(k.deepest, k.loops)
		k.widest = max(k.widest, n.params)
		k.calls++ // of the interrupt
		k.lead(&n.head, k.place, n.params)
		k.place = place{0, k.depth + loopBlocks, k.known}
		k.startBlocks(loopBlocks)
	case opTryTable:
		for _, l := range i.labels {
			k.branch(l, k.next(), 0)
		}
		k.calls += int64(len(i.labels)) + 2
		k.tries++
		fallthrough
	case opIf:
		k.place = k.next()
		k.startBlocks(1)
	}
	k.nests = append(k.nests, n)
}

func (k *work) otherwise(dead bool) {
	if len(k.nests) == 0 || k.nests[len(k.nests)-1].dead {
		return
	}
	n := &k.nests[len(k.nests)-1]
	if !dead {
		k.lead(&n.end, k.place, n.results)
	}
	n.op = opElse
	k.place, k.height = n.start.next(), n.base+n.params
	k.startBlocks(1)
}

// close leaves the innermost nest.
func (k *work) close(dead bool) {
	if len(k.nests) == 0 {
		return
	}
	n := k.nests[len(k.nests)-1]
	k.nests = k.nests[:len(k.nests)-1]
	if n.dead {
		return
	}
	k.tries = n.tries
	if !dead {
		k.lead(&n.end, k.place, n.results)
	}
	switch n.op {
	case opIf: // without else
		k.lead(&n.end, n.start.next(), n.results)
	case opLoop:
		k.loops--
		k.meet(n.head, n)
		k.meet(junction{ways: 2, steps: 2 + n.head.place.chain}, n) // of the check
	}
	k.place = n.end.place.next()
	if n.end.ways > 1 {
		k.meet(n.end, n)
		k.chain = 0
	}
	k.height = n.base + n.results
	k.startBlocks(1)
}

// lead adds a way to a junction that so many values are carried along.
func (k *work) lead(j *junction, from place, values int) {
	if j.ways == 0 {
		j.place = from
	}
	j.place = place{min(j.chain, from.chain), min(j.depth, from.depth), min(j.place.known, from.known)}
	j.ways++
	j.steps += from.chain + 1
	j.known += from.known
	j.most = max(j.most, from.known)
	k.above += int64(from.depth)
	k.passed += int64(values)
}

// meet counts what the engine does where ways meet: each may carry another value of what was used in the nest, and behind the
// head of a loop, which takes all locals for other ones at first, of any.
func (k *work) meet(j junction, n nest) {
	used := float64(min(k.touches-n.touches, k.locals))
	ways := float64(j.ways)
	k.merges++
	k.steps += float64(j.steps)
	if k.heads > n.heads {
		k.looped += ways
		used = 0
	}
	k.used += used * ways
	used += float64(max(n.params, n.results))
	k.compared += used * used * ways
	if j.place.known > 0 {
		// The search ends where one way has no more, and addresses that are first seen on a way are at its end.
		k.met += ways * float64(min(j.known, k.locals+n.base+n.start.known+j.most))
	}
}

// startBlocks counts blocks that begin.
func (k *work) startBlocks(blocks int) {
	k.blocks += blocks
	k.held += int64(blocks) * int64(k.height+2*k.known)
}

// plain counts an instruction that opens and closes nothing.
func (k *work) plain(w *walk, i *instruction, s *signature) {
	switch op := i.op; op {
	case opBrIf, opBrOnNull, opBrOnNonNull:
		k.height--
		from := k.place
		if op == opBrIf && w.repeated(*i) != nil { // it becomes an if
			from, k.place = k.next(), k.next()
			k.above += 2 * int64(k.depth)
			k.startBlocks(2)
		}
		k.branch(i.labels[0], from, 0)
		k.place = k.next()
		k.startBlocks(1)
	case opBr, opBrTable:
		for _, l := range i.labels {
			k.branch(l, k.next(), 1)
		}
	case opReturn:
		k.left += int64(k.tries)
		k.passed += int64(k.nests[0].results)
	case opCall, opCallIndirect, opCallRef, opReturnCall, opReturnCallIndirect, opReturnCallRef:
		k.calls++
		k.passed += int64(int(s.params) + s.results)
		k.height += s.results - int(s.params)
		if op == opCallIndirect || op == opCallRef {
			k.height--
		}
	case opMemoryCopy, opMemoryFill, opMemoryInit, opTableCopy, opTableFill, opTableInit, opTableGrow:
		k.bulk()
		k.height += grows(op)
	case opLocalGet, opLocalSet, opLocalTee:
		k.touch(w, i.index)
		k.height += grows(op)
	default:
		k.height += grows(op)
		if op == opGlobalGet {
			k.look()
		} else if accessesMemory(op) {
			k.look()
			k.known++
		}
		if shifts(op) && !w.shiftsBySome(k.lastOp, k.lastAt) {
			k.shifts++
		}
	}
}

// bulk counts the check of a bulk instruction: an if with a call in it.
func (k *work) bulk() {
	const operands = 3
	k.height++
	k.open(&instruction{op: opIf, kind: emptyType}, &signature{}, false)
	k.calls++
	k.passed += operands
	k.otherwise(false)
	k.close(false)
}

// branch counts a way to the end of a nest, or to its head.
func (k *work) branch(l label, from place, blocks int) {
	at := len(k.nests) - 1 - int(l.out)
	if at < 0 {
		return // the walk will say so
	}
	n := &k.nests[at]
	k.left += int64(k.tries - n.tries)
	if n.op == opLoop && at > 0 {
		k.lead(&n.head, from, n.params)
	} else {
		k.lead(&n.end, from, n.results)
	}
	k.startBlocks(blocks)
}

// touch counts a use of a local.
func (k *work) touch(w *walk, local uint32) {
	k.touches++
	k.look()
	if local < w.locals && w.used[local] != w.walks {
		w.used[local] = w.walks
		k.locals++
	}
}

// note counts the code of a note, of so many bytes and with so many more locals.
func (k *work) note(size, locals int) {
	k.locals += locals
	const perUse = 8 // or more, of a local; it comes to less for the global
	for range size/perUse + 2 {
		k.touches++
		k.look()
	}
}

// look counts the search for a variable's definition.
func (k *work) look() {
	k.looked += int64(k.chain)
	k.aliases += int64(k.depth + k.shifts)
}

// share adds up how much of each limit is used. It errs on what is beyond its limit. Limits are 2 s, or ten times what the largest
// interpreter comes to where the estimate is rough: for most locals nothing is carried, as nobody reads them any more.
func (k *work) share(globals int) (share float64, err error) {
	locals := float64(k.locals)
	compared := (k.compared + k.looped*locals*locals) * priceCompare
	for _, part := range []struct {
		what        string
		work, limit float64
	}{
		{"locals for its branches", (k.used+k.looped*locals)*priceCarry + locals*(k.merges*priceMerge+k.steps*priceStep+float64(k.blocks)*priceHold), 15e9},
		{"locals or nested loops for its branches", compared * float64(k.deepest+k.widest+1), 5e9},
		{"locals that change in its loops", compared * locals / 2, 90e9},
		{"values held over branches", float64(k.held)*priceHold + k.met*priceMeet, 2e9},
		{"branches in a row", float64(k.looked)*priceStep + float64(k.aliases)*priceAlias + float64(k.above)*priceAbove, 2e9},
		{"values passed on by calls and branches", float64(k.passed) * pricePass, 2e9},
		{"calls for the module's mutable globals", float64(k.calls) * float64(globals) * priceReload, 2e9},
		{"branches out of its try_tables", float64(k.left) * priceLeave, 2e9},
	} {
		if share += part.work / part.limit; part.work > part.limit {
			return 0, fmt.Errorf("too much work to compile: too many %s", part.what)
		}
	}
	return share, nil
}

// begin begins the walk through a function with so many locals.
func (m *module) begin(locals uint64) {
	m.walks++
	m.assigned = m.assigned[:0]
	if missing := int(locals) - len(m.used); missing > 0 {
		m.used = append(m.used, make([]int, missing)...)
	}
}

// spend adds the work for a function of so many bytes to that for all.
func (m *module) spend(k *work, size int) error {
	share, err := k.share(m.mutable)
	m.shares += max(0, share-linearShare*float64(size))
	m.largest = max(m.largest, k.blocks)
	return err
}

// checkWork checks the work for all functions. For each the engine goes through all types and globals, and through a table as
// long as the largest function.
func (m *module) checkWork() error {
	row := float64(len(m.signatures)+len(m.globals))*priceTable + float64(m.largest)*priceRow
	if float64(len(m.functions))*row > maxTables {
		return fmt.Errorf("too much work to compile: %d functions with %d types, %d globals and up to %d blocks in a function", len(m.functions), len(m.signatures), len(m.globals), m.largest)
	}
	if m.shares > maxShares {
		return errors.New("too much work to compile: too many functions that are almost too much")
	}
	return nil
}
