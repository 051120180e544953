package wat

import "slices"

// valueType is a value type as it is encoded.
type valueType string

const (
	funcref    valueType = "\x70"
	externref  valueType = "\x6f"
	exnref     valueType = "\x69"
	refNull              = "\x63"
	refNonNull           = "\x64"
)

var (
	numberTypes = map[string]valueType{"i32": "\x7f", "i64": "\x7e", "f32": "\x7d", "f64": "\x7c", "v128": "\x7b"}
	refTypes    = map[string]valueType{"funcref": funcref, "externref": externref, "exnref": exnref}
	heapTypes   = map[string]valueType{"func": funcref, "extern": externref, "exn": exnref}
)

// signature is a function type.
type signature struct {
	params, results []valueType
}

// encode is the signature as it stands in the type section.
func (s signature) encode() []byte {
	b := []byte{0x60}
	for _, types := range [][]valueType{s.params, s.results} {
		b = appendUint(b, uint32(len(types)))
		for _, t := range types {
			b = append(b, t...)
		}
	}
	return b
}

// addType appends a type to the index space of types.
func (m *module) addType(s signature) uint32 {
	index := uint32(len(m.signatures))
	m.signatures = append(m.signatures, s)
	encoded := s.encode()
	m.sections[sectionType].add(encoded)
	if _, ok := m.typeIndices[string(encoded)]; !ok {
		m.typeIndices[string(encoded)] = index
	}
	m.types.count = max(m.types.count, index+1)
	return index
}

// typeIndex is the first type equal to s, which is added if there is none.
func (m *module) typeIndex(s signature) uint32 {
	if index, ok := m.typeIndices[string(s.encode())]; ok {
		return index
	}
	return m.addType(s)
}

// isValueType tells whether a value type begins here.
func (m *module) isValueType() bool {
	return m.peek().kind == kindWord || m.isOpen("ref")
}

func (m *module) valueType() valueType {
	if t, ok := numberTypes[m.text(m.peek())]; ok {
		m.next()
		return t
	}
	return m.refType("a value type")
}

// refType parses a reference type: funcref, (ref null func), (ref $t)…
func (m *module) refType(wanted string) valueType {
	if !m.takeOpen("ref") {
		t := m.next()
		v, ok := refTypes[m.text(t)]
		if !ok {
			m.unexpected(t, wanted)
		}
		return v
	}
	null := m.takeWord("null")
	heap, abstract := m.heapType()
	m.expect(kindClose)
	switch {
	case null && abstract:
		return heap
	case null:
		return refNull + heap
	}
	return refNonNull + heap
}

// heapType parses func, extern, exn or the index of a type.
func (m *module) heapType() (heap valueType, abstract bool) {
	if heap, abstract = heapTypes[m.text(m.peek())]; abstract {
		m.next()
		return heap, true
	}
	return valueType(appendInt(nil, int64(m.index(&m.types)))), false
}

// signature parses (param …)* (result …)*. Names of parameters are declared in
// locals, and not allowed if it is nil.
func (m *module) signature(locals *space) (s signature) {
	for m.takeOpen("param") {
		s.params = append(s.params, m.declarations(locals)...)
	}
	for m.takeOpen("result") {
		s.results = append(s.results, m.declarations(nil)...)
	}
	return s
}

// declarations parses the rest of (param …), (local …) or (result …): many
// types, or one type with a name.
func (m *module) declarations(locals *space) (types []valueType) {
	if locals != nil {
		if name, ok := m.takeName(); ok {
			m.define(locals, name)
			types = append(types, m.valueType())
			m.expect(kindClose)
			return types
		}
	}
	for m.isValueType() {
		types = append(types, m.valueType())
	}
	if locals != nil {
		locals.count += uint32(len(types))
	}
	m.expect(kindClose)
	return types
}

// typeUse parses (type …)? (param …)* (result …)*. The type is known by its
// index if it is explicit.
func (m *module) typeUse(locals *space) (s signature, index uint32, explicit bool) {
	start := m.peek()
	if !m.takeOpen("type") {
		return m.signature(locals), 0, false
	}
	index = m.index(&m.types)
	m.expect(kindClose)
	written := m.signature(locals)
	s = m.signatures[index]
	if len(written.params)+len(written.results) == 0 {
		if locals != nil {
			locals.count += uint32(len(s.params))
		}
		return s, index, true
	}
	if !slices.Equal(written.params, s.params) || !slices.Equal(written.results, s.results) {
		m.fail(start, "the inline function type differs from type %d", index)
	}
	return s, index, true
}

// functionType parses a type use and returns the index of its type.
func (m *module) functionType(locals *space) uint32 {
	s, index, explicit := m.typeUse(locals)
	if explicit {
		return index
	}
	return m.typeIndex(s)
}

// limits parses a minimum and an optional maximum, in elements or in pages of
// 64 KiB, and "shared" after them.
func (m *module) limits() []byte {
	const hasMax, isShared = 1, 2
	b := appendUint([]byte{0}, m.uint32())
	if m.isIndex(m.peek()) {
		b = appendUint(b, m.uint32())
		b[0] |= hasMax
	}
	if m.takeWord("shared") {
		b[0] |= isShared
	}
	return b
}

// globalType parses i32 or (mut i32).
func (m *module) globalType() []byte {
	if !m.takeOpen("mut") {
		return append([]byte(m.valueType()), 0)
	}
	t := m.valueType()
	m.expect(kindClose)
	return append([]byte(t), 1)
}
