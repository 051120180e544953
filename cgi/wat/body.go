package wat

import (
	"maps"
	"slices"
	"strings"

	"containerd-shim-wagi-v1/cgi/spelling"
)

// maxDepth bounds how deep folded instructions may be nested.
const maxDepth = 10000

// body is a sequence of instructions being assembled: that of a function or a
// constant expression.
type body struct {
	*module
	code   []byte
	locals *space
	blocks []openBlock
	labels map[string]int // the innermost block, by index, with that label
	nested int            // folded instructions around the present one
}

// openBlock is a block, loop, if or try_table whose end is still to come.
type openBlock struct {
	keyword    token
	code       byte // opElse in the second branch of an if
	folded     bool
	name       string // of the label, "" for none
	outer      int    // the block that the label meant before, -1 for none
	elseBranch int    // where the code of the second branch starts
}

// functionBody assembles (local …)* and instructions up to the end of the list.
func (m *module) functionBody(locals *space) []byte {
	var declared []valueType
	for m.takeOpen("local") {
		declared = append(declared, m.declarations(locals)...)
	}
	var groups section
	for start := 0; start < len(declared); {
		stop := start
		for stop < len(declared) && declared[stop] == declared[start] {
			stop++
		}
		groups.add(appendUint(nil, uint32(stop-start)), []byte(declared[start]))
		start = stop
	}
	b := &body{module: m, locals: locals, code: append(appendUint(nil, groups.count), groups.items...)}
	b.instructions()
	return append(b.code, opEnd)
}

// expression assembles a constant expression up to the end of the list.
func (m *module) expression() []byte {
	b := m.constantBody()
	b.instructions()
	return append(b.code, opEnd)
}

// wrapped assembles the constant expression (keyword …) or, without keyword, a
// single folded instruction.
func (m *module) wrapped(keyword string) []byte {
	b := m.constantBody()
	if !m.takeOpen(keyword) {
		b.folded()
		return append(b.code, opEnd)
	}
	b.instructions()
	m.expect(kindClose)
	return append(b.code, opEnd)
}

func (m *module) constantBody() *body {
	return &body{module: m, locals: &space{what: "local"}}
}

// instructions assembles flat and folded instructions up to the end of the list.
func (b *body) instructions() {
	outside := len(b.blocks)
	for b.peek().kind != kindClose && b.peek().kind != kindEnd {
		if b.peek().kind == kindOpen {
			b.folded()
			continue
		}
		t, op := b.opcode()
		switch op.immediate {
		case block, tryTable:
			b.begin(t, op, false)
		case elseOrEnd:
			b.flatElseOrEnd(t, op)
		default:
			b.plain(op)
		}
	}
	if len(b.blocks) > outside {
		t := b.blocks[len(b.blocks)-1].keyword
		b.fail(t, "%s has no end", b.text(t))
	}
}

// opcode parses the name of an instruction.
func (b *body) opcode() (token, opcode) {
	t := b.expect(kindWord)
	op, ok := opcodes()[b.text(t)]
	if ok {
		return t, op
	}
	if similar := spelling.Nearest(b.text(t), maps.Keys(opcodes())); similar != "" {
		b.fail(t, "unknown instruction %s, is it %s?", excerpt(b.text(t)), similar)
	}
	b.fail(t, "unknown instruction %s", excerpt(b.text(t)))
	return t, op
}

// folded assembles "(instruction immediates operands…)".
func (b *body) folded() {
	b.nested++
	if b.nested > maxDepth {
		b.fail(b.peek(), "instructions are nested deeper than %d", maxDepth)
	}
	b.expect(kindOpen)
	t, op := b.opcode()
	switch {
	case op.code == opIf && op.prefix == 0:
		b.foldedIf(t, op)
	case op.immediate == block || op.immediate == tryTable:
		b.begin(t, op, true)
		b.instructions()
		b.end()
	case op.immediate == elseOrEnd:
		b.unexpected(t, "an instruction that can be folded")
	default:
		b.foldedPlain(op)
	}
	b.expect(kindClose)
	b.nested--
}

// foldedPlain assembles the operands, which stand after the immediates, before
// the instruction.
func (b *body) foldedPlain(op opcode) {
	immediates := b.pos
	b.skipImmediates()
	operands := b.pos
	for b.peek().kind == kindOpen {
		b.folded()
	}
	rest := b.pos
	b.pos = immediates
	b.plain(op)
	if b.pos != operands {
		b.unexpected(b.peek(), "an operand in parentheses")
	}
	b.pos = rest
}

// foldedIf assembles the condition, which stands after label and type, before
// the if.
func (b *body) foldedIf(t token, op opcode) {
	header := b.pos
	b.skipImmediates()
	condition := b.pos
	for b.peek().kind == kindOpen && !b.isOpen("then") {
		b.folded()
	}
	then := b.pos
	b.pos = header
	b.begin(t, op, true)
	if b.pos != condition {
		b.unexpected(b.peek(), "an operand in parentheses")
	}
	b.pos = then
	if !b.takeOpen("then") {
		b.unexpected(b.peek(), "(then …)")
	}
	b.instructions()
	b.expect(kindClose)
	if b.takeOpen("else") {
		b.beginElse()
		b.instructions()
		b.expect(kindClose)
	}
	b.end()
}

// skipImmediates moves to the first operand of a folded instruction.
func (b *body) skipImmediates() {
	for {
		switch t := b.peek(); {
		case t.kind == kindOpen && isImmediateList(b.text(b.tokens[b.pos+1])):
			b.pos = int(t.match) + 1
		case t.kind == kindOpen, t.kind == kindClose:
			return
		default:
			b.next()
		}
	}
}

func isImmediateList(keyword string) bool {
	return keyword == "type" || keyword == "param" || keyword == "result"
}

// begin opens a block: label, type, and what it catches.
func (b *body) begin(t token, op opcode, folded bool) {
	opened := openBlock{keyword: t, code: op.code, folded: folded, outer: -1}
	label, labelled := b.takeName()
	b.code = append(b.code, op.code)
	b.blockType()
	if op.immediate == tryTable {
		b.catches()
	}
	if labelled {
		opened.name = b.name(label)
		if outer, ok := b.labels[opened.name]; ok {
			opened.outer = outer
		}
		if b.labels == nil {
			b.labels = map[string]int{}
		}
		b.labels[opened.name] = len(b.blocks)
	}
	b.blocks = append(b.blocks, opened)
}

// beginElse ends the first branch of the innermost block.
func (b *body) beginElse() {
	innermost := &b.blocks[len(b.blocks)-1]
	innermost.code = opElse
	b.code = append(b.code, opElse)
	innermost.elseBranch = len(b.code)
}

// end closes the innermost block. An else without instructions is left out.
func (b *body) end() {
	closed := b.blocks[len(b.blocks)-1]
	if closed.code == opElse && closed.elseBranch == len(b.code) {
		b.code = b.code[:len(b.code)-1]
	}
	b.code = append(b.code, opEnd)
	b.blocks = b.blocks[:len(b.blocks)-1]
	switch {
	case closed.name == "":
	case closed.outer < 0:
		delete(b.labels, closed.name)
	default:
		b.labels[closed.name] = closed.outer
	}
}

// flatElseOrEnd is else or end with the label of its block, if any.
func (b *body) flatElseOrEnd(t token, op opcode) {
	if len(b.blocks) == 0 || b.blocks[len(b.blocks)-1].folded {
		b.fail(t, "%s without a block", b.text(t))
	}
	innermost := b.blocks[len(b.blocks)-1]
	if label, ok := b.takeName(); ok && b.name(label) != innermost.name {
		b.fail(label, "label %s is not that of the innermost block", excerpt(b.text(label)))
	}
	if op.code == opEnd {
		b.end()
		return
	}
	if innermost.code != opIf {
		b.fail(t, "else without if")
	}
	b.beginElse()
}

// blockType encodes a single result or none in place, all else as the index of
// a function type.
func (b *body) blockType() {
	const empty = 0x40
	s, index, explicit := b.typeUse(nil)
	switch {
	case len(s.params) == 0 && len(s.results) == 0:
		b.code = append(b.code, empty)
	case len(s.params) == 0 && len(s.results) == 1:
		b.code = append(b.code, s.results[0]...)
	case explicit:
		b.code = appendInt(b.code, int64(index))
	default:
		b.code = appendInt(b.code, int64(b.typeIndex(s)))
	}
}

// catchKinds are the clauses of a try_table, by their encoding.
var catchKinds = []string{"catch", "catch_ref", "catch_all", "catch_all_ref"}

// catches is (catch $tag $label)* of a try_table. The labels are those around it.
func (b *body) catches() {
	var clauses section
	for b.peek().kind == kindOpen {
		kind := slices.Index(catchKinds, b.text(b.tokens[b.pos+1]))
		if kind < 0 {
			break
		}
		b.pos += 2
		clause := []byte{byte(kind)}
		if !strings.HasPrefix(catchKinds[kind], "catch_all") {
			clause = appendUint(clause, b.index(&b.tags))
		}
		clauses.add(appendUint(clause, b.label()))
		b.expect(kindClose)
	}
	b.code = append(appendUint(b.code, clauses.count), clauses.items...)
}
