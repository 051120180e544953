package instrument

import "fmt"

const pageSize = 64 << 10

// recycle exports what the host needs. It takes the data out and exports the globals, if an instance can then be put back.
func (m *module) recycle() {
	if m.memories > 0 && m.Memory == "" {
		m.Memory = m.export("wagi.memory", Memory, 0)
	}
	m.exportStart()
	if m.grows {
		m.TableBudget = m.export("wagi.tables", Global, uint32(len(m.globals)+1))
	}
	if m.Reason == "" {
		m.Reason = m.unfit()
	}
	if m.Reason != "" {
		return
	}
	m.Recyclable = true
	for _, s := range m.segments {
		if s.active {
			m.Data = append(m.Data, s.Segment)
		}
	}
	m.sections[sectionData], m.sections[sectionDataCount] = nil, nil
	if m.tracks {
		m.Written = m.export("wagi.written", Global, m.written())
	}
	for i, g := range m.globals {
		if !g.set {
			continue
		}
		if g.name == "" {
			g.name = m.export(fmt.Sprintf("wagi.global.%d", i), Global, uint32(i))
		}
		m.Globals = append(m.Globals, g.name)
	}
}

// exportStart lets the host call the start function, as the engine would not tell it from instantiation. What is exported
// is a function of ours that calls it: an export would make the start function one whose address may be taken.
func (m *module) exportStart() {
	if m.start == nil {
		return
	}
	code := appendUint([]byte{0, opCall}, m.shifted(*m.start)) // no locals
	code = append(code, opEnd)
	m.addFunction(uint32(len(m.signatures)), code) // the type of the interrupt
	m.sections[sectionStart] = nil
	m.Start = m.export("wagi.start", Function, m.added(len(m.bulks)))
}

// unfit says why an instance could not be put back though no instruction stands in the way; "" if nothing does.
func (m *module) unfit() string {
	if m.shared != "" {
		return "imports the " + m.shared
	}
	for i, g := range m.globals {
		if g.set && (g.kind < typeF64 || g.kind > typeI32) {
			return fmt.Sprintf("sets global %d, which is no number", i)
		}
	}
	for i, s := range m.segments {
		switch {
		case !s.active:
		case !s.known:
			return fmt.Sprintf("data segment %d has an offset that is not known before the module runs", i)
		case uint64(s.Offset)+uint64(len(s.Bytes)) > uint64(m.MinPages)*pageSize:
			return fmt.Sprintf("data segment %d lies outside of the memory", i)
		}
	}
	return ""
}

// export adds an export under a name that is not taken.
func (m *module) export(name string, kind Kind, index uint32) string {
	for m.exports[name] {
		name += "_"
	}
	item := append(appendName(nil, name), byte(kind))
	m.add(sectionExport, appendUint(item, index))
	return name
}
