package instrument

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const magic = "\x00asm\x01\x00\x00\x00"

// The ids of sections.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
	sectionTag       = 13
)

// sectionKinds are the sections in the order in which they stand in a module, and how an item of each is read.
var sectionKinds = [...]struct {
	id   byte
	name string
	item func(*module, *editor)
}{
	{sectionType, "type", (*module).readType},
	{sectionImport, "import", (*module).readImport},
	{sectionFunction, "function", (*module).readFunction},
	{sectionTable, "table", (*module).readTable},
	{sectionMemory, "memory", (*module).readMemory},
	{sectionTag, "tag", (*module).readTag},
	{sectionGlobal, "global", (*module).readGlobal},
	{sectionExport, "export", (*module).readExport},
	{sectionStart, "start", (*module).readStart},
	{sectionElement, "element", (*module).readElement},
	{sectionDataCount, "data count", (*module).readDataCount},
	{sectionCode, "code", (*module).readCode},
	{sectionData, "data", (*module).readSegment},
}

// section is a vector of items. The start and data count sections are one item without a count.
type section struct {
	count int
	items []byte
}

// module is a module on its way from the original to the rewritten form.
type module struct {
	Module
	fill       int32                    // of the counter
	tracks     bool                     // which pages are written to
	sections   [sectionTag + 1]*section // by id; nil: absent
	signatures []signature              // of the types
	imported   uint32                   // functions
	imports    []signature              // of those
	shared     string                   // the first memory, table or global that is imported, if any
	functions  []function
	codes      int
	globals    []global
	memories   int
	exports    map[string]bool
	taken      []uint32 // functions of the module whose address is taken, some more than once
	segments   []segment
	dataCount  *uint32
	start      *uint32 // the start function, in the original's numbers
	grows      bool    // tables
	bulks      []bulk  // that are done in pieces, each once

	shares  float64 // of the limits of the engine's work
	largest int     // number of blocks of a function
	mutable int     // globals, with those that are added
	walks   int     // through functions
	used    []int   // the last walk in which a function used its local of that number

	assigned []assignment // on the one way to the place of the walk, in order
	ahead    []label      // room for those of an instruction that is read ahead
}

// global is a global of the original.
type global struct {
	kind    byte // type of the value
	mutable bool
	set     bool   // by code
	name    string // of an export, "" for none
}

// segment is a data segment of the original.
type segment struct {
	active bool
	known  bool // the offset, which is a constant
	Segment
}

// read reads all sections and brings them to their rewritten form, but for the code and for what is added at the end.
func (m *module) read(wasm []byte) error {
	if !bytes.HasPrefix(wasm, []byte(magic)) {
		return errors.New("not a WebAssembly module of version 1")
	}
	m.exports = make(map[string]bool)
	m.MaxPages = 1 << 16
	r := &reader{data: wasm, at: len(magic)}
	for last := -1; r.more(); {
		id := r.byte()
		content := r.part(r.uint())
		if r.err != nil {
			return r.err
		}
		if id == sectionCustom {
			content.name()
			if content.err != nil {
				return content.err
			}
			continue
		}
		place := sectionPlace(id)
		if place <= last {
			return fmt.Errorf("offset %#x: section %d is unknown or out of order", content.at, id)
		}
		last = place
		if err := m.readSection(place, content); err != nil {
			return fmt.Errorf("%s section: %w", sectionKinds[place].name, err)
		}
		r.types = uint32(len(m.signatures))
	}
	return m.checkCounts()
}

// sectionPlace is the place in sectionKinds, -1 for none.
func sectionPlace(id byte) int {
	for place, kind := range sectionKinds {
		if kind.id == id {
			return place
		}
	}
	return -1
}

func (m *module) readSection(place int, content reader) error {
	kind := sectionKinds[place]
	if kind.id == sectionType {
		content.types = math.MaxUint32 // the engine knows which of them a type may refer to
	}
	s := &section{count: 1}
	e := edit(content)
	if !alone(kind.id) {
		s.count = e.count()
		e.drop()
	}
	for i := 0; i < s.count && e.err == nil; i++ {
		kind.item(m, &e)
	}
	if e.more() {
		e.fail("%d bytes behind the last item", len(e.data)-e.at)
	}
	s.items = e.done()
	m.sections[kind.id] = s
	return e.err
}

// alone tells the sections that are one number.
func alone(id byte) bool {
	return id == sectionStart || id == sectionDataCount
}

func (m *module) checkCounts() error {
	if len(m.functions) != m.codes {
		return fmt.Errorf("%d functions have %d bodies", len(m.functions), m.codes)
	}
	if m.memories > 1 {
		return fmt.Errorf("%d memories", m.memories)
	}
	for i, s := range m.segments {
		if s.active && m.memories == 0 {
			return fmt.Errorf("data segment %d is for a memory that is not there", i)
		}
	}
	if m.dataCount != nil && uint64(*m.dataCount) != uint64(len(m.segments)) {
		return fmt.Errorf("%d data segments, announced as %d", len(m.segments), *m.dataCount)
	}
	return nil
}

// add appends an item to a section, which it makes if need be.
func (m *module) add(id byte, item []byte) {
	if m.sections[id] == nil {
		m.sections[id] = &section{}
	}
	m.sections[id].count++
	m.sections[id].items = append(m.sections[id].items, item...)
}

// added is the index, in the rewritten module, of the i-th function of ours behind the original ones.
func (m *module) added(i int) uint32 {
	return m.shifted(m.imported+uint32(len(m.functions))) + uint32(i)
}

// addFunction adds a function of ours.
func (m *module) addFunction(kind uint32, body []byte) {
	m.add(sectionFunction, appendUint(nil, kind))
	m.add(sectionCode, appendBody(nil, body))
}

// appendBody appends an item of the code section.
func appendBody(b, body []byte) []byte {
	return append(appendUint(b, uint32(len(body))), body...)
}

// encode is the module in the binary format.
func (m *module) encode() []byte {
	b := []byte(magic)
	for _, kind := range sectionKinds {
		s := m.sections[kind.id]
		if s == nil {
			continue
		}
		var count []byte
		if !alone(kind.id) {
			count = appendUint(nil, uint32(s.count))
		}
		b = append(b, kind.id)
		b = appendUint(b, uint32(len(count)+len(s.items)))
		b = append(append(b, count...), s.items...)
	}
	return b
}

func appendUint(b []byte, n uint32) []byte {
	return binary.AppendUvarint(b, uint64(n))
}

func appendName(b []byte, name string) []byte {
	return append(appendUint(b, uint32(len(name))), name...)
}

func appendInt(b []byte, n int32) []byte {
	for ; n < -0x40 || n >= 0x40; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n)&0x7f)
}
