package wat

import "encoding/binary"

// zeroOffset is the expression (i32.const 0).
var zeroOffset = []byte{opI32Const, 0, opEnd}

// The bits of a segment's first number.
const (
	segmentPassive     = 1 // or declarative, with segmentIndex
	segmentIndex       = 2 // an active segment with its table or memory
	segmentExpressions = 4
)

// elements is the contents of an element segment.
type elements struct {
	refType     valueType
	count       uint32
	expressions []byte
	indices     []byte // those of ref.func
	isFunctions bool   // all expressions are ref.func, and the type is funcref
}

// elementField is an element segment: active, passive or declarative.
func (m *module) elementField() {
	if m.takeWord("declare") {
		m.element(segmentPassive|segmentIndex, 0, nil, m.elementList())
		return
	}
	table, active := m.segmentTarget("table", &m.tables)
	if !active && (m.peek().kind != kindOpen || m.isOpen("ref")) {
		m.element(segmentPassive, 0, nil, m.elementList())
		return
	}
	offset := m.wrapped("offset")
	if m.peek().kind == kindClose || m.isIndex(m.peek()) {
		m.element(0, table, offset, m.functionList(funcref))
		return
	}
	m.element(0, table, offset, m.elementList())
}

// segmentTarget is the table or memory of an active segment, (table $t) or $t,
// if it is given.
func (m *module) segmentTarget(keyword string, s *space) (index uint32, ok bool) {
	if m.takeOpen(keyword) {
		index = m.index(s)
		m.expect(kindClose)
		return index, true
	}
	if m.isIndex(m.peek()) {
		return m.index(s), true
	}
	return 0, false
}

// tableOfElements is funcref (elem …): a table that is as long as its contents.
func (m *module) tableOfElements(index uint32) {
	refType := m.refType("a reference type or limits")
	if !m.takeOpen("elem") {
		m.unexpected(m.peek(), "(elem …)")
	}
	var list elements
	if m.peek().kind == kindOpen {
		list = m.expressionList(refType)
	} else {
		list = m.functionList(refType)
	}
	m.expect(kindClose)
	size := appendUint(nil, list.count)
	m.sections[sectionTable].add([]byte(refType), []byte{1}, size, size)
	m.element(0, index, zeroOffset, list)
}

// element appends a segment in the shortest of its eight forms.
func (m *module) element(mode byte, table uint32, offset []byte, list elements) {
	if mode == 0 && (table != 0 || list.refType != funcref) {
		mode = segmentIndex
	}
	if !list.isFunctions {
		mode |= segmentExpressions
	}
	b := []byte{mode}
	if mode&(segmentPassive|segmentIndex) == segmentIndex {
		b = appendUint(b, table)
	}
	b = append(b, offset...)
	if mode&(segmentPassive|segmentIndex) != 0 {
		if list.isFunctions {
			b = append(b, 0)
		} else {
			b = append(b, list.refType...)
		}
	}
	contents := list.expressions
	if list.isFunctions {
		contents = list.indices
	}
	m.sections[sectionElement].add(appendUint(b, list.count), contents)
}

// elementList is func $f* or a reference type with expressions.
func (m *module) elementList() elements {
	if m.takeWord("func") {
		return m.functionList(funcref)
	}
	return m.expressionList(m.refType("func or a reference type"))
}

// functionList is indices of functions up to the end of the list.
func (m *module) functionList(t valueType) elements {
	list := elements{refType: t, isFunctions: t == funcref}
	for m.peek().kind != kindClose {
		index := m.index(&m.functions)
		list.count++
		list.indices = appendUint(list.indices, index)
		list.expressions = append(appendUint(append(list.expressions, opRefFunc), index), opEnd)
	}
	return list
}

// expressionList is (item …)* or single instructions up to the end of the list.
func (m *module) expressionList(t valueType) elements {
	list := elements{refType: t, isFunctions: t == funcref}
	for m.peek().kind != kindClose {
		e := m.wrapped("item")
		list.count++
		list.expressions = append(list.expressions, e...)
		if index, ok := refFunc(e); ok {
			list.indices = append(list.indices, index...)
		} else {
			list.isFunctions = false
		}
	}
	return list
}

// refFunc returns the index, as it is encoded, of an expression that is a
// single ref.func.
func refFunc(expression []byte) (index []byte, ok bool) {
	if expression[0] != opRefFunc {
		return nil, false
	}
	index = expression[1 : len(expression)-1]
	_, length := binary.Uvarint(index)
	return index, length == len(index)
}

// dataField is a data segment: passive, or active with an offset.
func (m *module) dataField() {
	memory, active := m.segmentTarget("memory", &m.memories)
	if active || m.peek().kind == kindOpen {
		offset := m.wrapped("offset")
		m.activeData(memory, offset, m.strings())
		return
	}
	m.sections[sectionData].add([]byte{segmentPassive}, appendBytes(nil, m.strings()))
}

func (m *module) activeData(memory uint32, offset, data []byte) {
	head := []byte{0}
	if memory != 0 {
		head = appendUint([]byte{segmentIndex}, memory)
	}
	m.sections[sectionData].add(head, offset, appendBytes(nil, data))
}
