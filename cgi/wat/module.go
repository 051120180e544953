package wat

// module is a module being assembled, in three passes over its fields: names
// and indices, types, all the rest. Types that are only written inline are
// added in the order in which the last pass meets them.
type module struct {
	*parser
	functions, tables, memories, globals, tags space
	types, elements, data                      space
	fields                                     []field
	signatures                                 []signature       // by index of the type
	typeIndices                                map[string]uint32 // the first index of an encoded type
	exports                                    map[string]bool
	sections                                   [sectionTag + 1]section
	defined                                    bool // a definition was seen: no import may follow
	usesData                                   bool // an instruction refers to a data segment
}

// field is one "(keyword $name? …)" of a module.
type field struct {
	keyword token
	rest    int    // position after the name
	index   uint32 // of what it defines
}

// assemble parses the fields of a module up to a token of kind last.
func assemble(p *parser, last kind) []byte {
	m := &module{
		parser:      p,
		functions:   space{what: "function"},
		tables:      space{what: "table"},
		memories:    space{what: "memory"},
		globals:     space{what: "global"},
		tags:        space{what: "tag"},
		types:       space{what: "type"},
		elements:    space{what: "element segment"},
		data:        space{what: "data segment"},
		typeIndices: map[string]uint32{},
		exports:     map[string]bool{},
	}
	for p.peek().kind != last {
		m.declare()
	}
	end := p.pos
	for _, f := range m.fields {
		if p.text(f.keyword) == "type" {
			p.pos = f.rest
			m.typeField()
		}
	}
	for _, f := range m.fields {
		p.pos = f.rest
		m.field(f)
	}
	p.pos = end
	return m.encode()
}

// encode joins the sections. The number of data segments goes before the code
// only where instructions need it.
func (m *module) encode() []byte {
	if m.usesData {
		m.sections[sectionDataCount].add(appendUint(nil, m.data.count))
	}
	binary := []byte(magic + "\x01\x00\x00\x00")
	for _, id := range sectionOrder {
		binary = appendSection(binary, id, m.sections[id])
	}
	return binary
}

// declare moves over a field, and gives what it defines an index and a name.
func (m *module) declare() {
	start := m.pos
	m.expect(kindOpen)
	f := field{keyword: m.expect(kindWord), rest: m.pos}
	switch keyword := m.text(f.keyword); keyword {
	case "import":
		m.expect(kindString)
		m.expect(kindString)
		m.expect(kindOpen)
		m.declareName(m.externalSpace(m.expect(kindWord)))
		m.order(f.keyword, true)
	case "export", "start":
	default:
		s := m.space(keyword)
		if s == nil {
			m.unexpected(f.keyword, "a field of a module")
		}
		f.index = m.declareName(s)
		f.rest = m.pos
		m.declareInline(start, s)
	}
	m.fields = append(m.fields, f)
	m.pos = int(m.tokens[start].match) + 1
}

// declareName gives the next index of s to the name here, or to nothing.
func (m *module) declareName(s *space) (index uint32) {
	if name, ok := m.takeName(); ok {
		return m.define(s, name)
	}
	s.count++
	return s.count - 1
}

// declareInline looks into the field that starts at the token i for an import
// and for segments, which have an index of their own.
func (m *module) declareInline(i int, s *space) {
	switch s {
	case &m.types, &m.elements, &m.data:
		return
	case &m.tables:
		if m.hasChild(i, "elem") {
			m.elements.count++
		}
	case &m.memories:
		if m.hasChild(i, "data") {
			m.data.count++
		}
	}
	m.order(m.tokens[i+1], m.hasChild(i, "import"))
}

// order checks that imports come before all definitions.
func (m *module) order(t token, isImport bool) {
	if isImport && m.defined {
		m.fail(t, "imports must come before all functions, tables, memories, globals and tags of the module")
	}
	m.defined = m.defined || !isImport
}

// field assembles one field into its sections.
func (m *module) field(f field) {
	switch m.text(f.keyword) {
	case "import":
		m.importField()
	case "export":
		m.exportField()
	case "start":
		m.startField(f.keyword)
	case "func":
		m.functionField(f.index)
	case "table":
		m.tableField(f.index)
	case "memory":
		m.memoryField(f.index)
	case "global":
		m.globalField(f.index)
	case "tag":
		m.tagField(f.index)
	case "elem":
		m.elementField()
	case "data":
		m.dataField()
	case "type":
		return // assembled before all other fields
	}
	m.expect(kindClose)
}

// typeField is (type $t? (func …)), without the words before the function.
func (m *module) typeField() {
	if !m.takeOpen("func") {
		m.unexpected(m.peek(), "(func …)")
	}
	m.addType(m.signature(&space{what: "parameter"}))
	m.expect(kindClose)
	m.expect(kindClose)
}

// importField is (import "module" "name" (func $f? …)).
func (m *module) importField() {
	from := m.importNames()
	m.expect(kindOpen)
	keyword := m.text(m.next())
	m.takeName()
	m.sections[sectionImport].add(from, m.externalType(keyword))
	m.expect(kindClose)
}

// inlineImport is (import "module" "name") before the type of a field.
func (m *module) inlineImport(keyword string) bool {
	if !m.takeOpen("import") {
		return false
	}
	from := m.importNames()
	m.expect(kindClose)
	m.sections[sectionImport].add(from, m.externalType(keyword))
	return true
}

// importNames is the names of the module and of what is imported from it.
func (m *module) importNames() []byte {
	from := appendBytes(nil, m.utf8(m.expect(kindString)))
	return appendBytes(from, m.utf8(m.expect(kindString)))
}

// externalType parses the type of an import.
func (m *module) externalType(keyword string) []byte {
	b := []byte{externalKinds[keyword]}
	switch keyword {
	case "func":
		return appendUint(b, m.functionType(&space{what: "parameter"}))
	case "table":
		limits := m.limits()
		return append(append(b, m.refType("a reference type")...), limits...)
	case "memory":
		return append(b, m.limits()...)
	case "global":
		return append(b, m.globalType()...)
	}
	return appendUint(append(b, 0), m.functionType(&space{what: "parameter"}))
}

// exportField is (export "name" (func $f)).
func (m *module) exportField() {
	name := m.expect(kindString)
	m.expect(kindOpen)
	keyword := m.expect(kindWord)
	m.export(name, externalKinds[m.text(keyword)], m.index(m.externalSpace(keyword)))
	m.expect(kindClose)
}

// inlineExports is (export "name")* at the start of a field.
func (m *module) inlineExports(keyword string, index uint32) {
	for m.takeOpen("export") {
		m.export(m.expect(kindString), externalKinds[keyword], index)
		m.expect(kindClose)
	}
}

func (m *module) export(t token, kind byte, index uint32) {
	name := m.utf8(t)
	if m.exports[name] {
		m.fail(t, "duplicate export %q", excerpt(name))
	}
	m.exports[name] = true
	m.sections[sectionExport].add(appendUint(append(appendBytes(nil, name), kind), index))
}

func (m *module) startField(keyword token) {
	if m.sections[sectionStart].count > 0 {
		m.fail(keyword, "a module has one start function at most")
	}
	m.sections[sectionStart].add(appendUint(nil, m.index(&m.functions)))
}

// functionField is (export …)* (import …)? type, locals, instructions.
func (m *module) functionField(index uint32) {
	m.inlineExports("func", index)
	if m.inlineImport("func") {
		return
	}
	locals := space{what: "local"}
	m.sections[sectionFunction].add(appendUint(nil, m.functionType(&locals)))
	m.sections[sectionCode].add(appendBytes(nil, m.functionBody(&locals)))
}

// tableField is (export …)* (import …)? and either a type with an optional
// initial value, or a reference type with the elements.
func (m *module) tableField(index uint32) {
	m.inlineExports("table", index)
	if m.inlineImport("table") {
		return
	}
	if !m.isIndex(m.peek()) {
		m.tableOfElements(index)
		return
	}
	limits := m.limits()
	table := append([]byte(m.refType("a reference type")), limits...)
	if m.peek().kind == kindClose {
		m.sections[sectionTable].add(table)
		return
	}
	m.sections[sectionTable].add([]byte{0x40, 0x00}, table, m.expression())
}

// memoryField is (export …)* (import …)? and either limits or the data.
func (m *module) memoryField(index uint32) {
	m.inlineExports("memory", index)
	if m.inlineImport("memory") {
		return
	}
	if !m.takeOpen("data") {
		m.sections[sectionMemory].add(m.limits())
		return
	}
	const page = 65536
	data := m.strings()
	m.expect(kindClose)
	pages := appendUint(nil, uint32((len(data)+page-1)/page))
	m.sections[sectionMemory].add([]byte{1}, pages, pages)
	m.activeData(index, zeroOffset, data)
}

// globalField is (export …)* (import …)? type and initial value.
func (m *module) globalField(index uint32) {
	m.inlineExports("global", index)
	if m.inlineImport("global") {
		return
	}
	globalType := m.globalType()
	m.sections[sectionGlobal].add(globalType, m.expression())
}

// tagField is (export …)* (import …)? type.
func (m *module) tagField(index uint32) {
	m.inlineExports("tag", index)
	if m.inlineImport("tag") {
		return
	}
	m.sections[sectionTag].add([]byte{0}, appendUint(nil, m.functionType(&space{what: "parameter"})))
}
