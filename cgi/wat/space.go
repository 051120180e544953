package wat

// space is an index space.
type space struct {
	what  string // of what, for messages
	count uint32
	names map[string]uint32
}

// externalKinds are the kinds of imports and exports.
var externalKinds = map[string]byte{"func": 0, "table": 1, "memory": 2, "global": 3, "tag": 4}

// space is the index space of the definitions with this keyword, nil if there
// is none.
func (m *module) space(keyword string) *space {
	switch keyword {
	case "func":
		return &m.functions
	case "table":
		return &m.tables
	case "memory":
		return &m.memories
	case "global":
		return &m.globals
	case "tag":
		return &m.tags
	case "type":
		return &m.types
	case "elem":
		return &m.elements
	case "data":
		return &m.data
	}
	return nil
}

// externalSpace is the index space of what can be imported and exported.
func (m *module) externalSpace(keyword token) *space {
	if _, ok := externalKinds[m.text(keyword)]; !ok {
		m.unexpected(keyword, "func, table, memory, global or tag")
	}
	return m.space(m.text(keyword))
}

// define gives the next index of s to a name.
func (p *parser) define(s *space, t token) uint32 {
	name := p.name(t)
	if _, ok := s.names[name]; ok {
		p.fail(t, "duplicate %s $%s", s.what, excerpt(name))
	}
	if s.names == nil {
		s.names = map[string]uint32{}
	}
	s.names[name] = s.count
	s.count++
	return s.count - 1
}

// isIndex tells whether t is a number or a name.
func (p *parser) isIndex(t token) bool {
	return t.kind == kindName || t.kind == kindWord && isDigit(p.src[t.start], false)
}

// index parses a name or number of s.
func (p *parser) index(s *space) uint32 {
	t := p.peek()
	if t.kind == kindName {
		p.next()
		index, ok := s.names[p.name(t)]
		if !ok {
			p.fail(t, "unknown %s %s", s.what, excerpt(p.text(t)))
		}
		return index
	}
	if !p.isIndex(t) {
		p.unexpected(t, "a name or an index")
	}
	index := p.uint32()
	if index >= s.count {
		p.fail(t, "unknown %s %d: there are %d", s.what, index, s.count)
	}
	return index
}

// optionalIndex parses an index if one is here; it is 0 otherwise.
func (p *parser) optionalIndex(s *space) uint32 {
	if p.isIndex(p.peek()) {
		return p.index(s)
	}
	return 0
}
