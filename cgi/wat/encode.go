package wat

import "encoding/binary"

// The ids of sections, in the order in which they stand in a module.
const (
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionTag       = 13
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionDataCount = 12
	sectionCode      = 10
	sectionData      = 11
)

var sectionOrder = [...]byte{
	sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionTag, sectionGlobal,
	sectionExport, sectionStart, sectionElement, sectionDataCount, sectionCode, sectionData,
}

// section is a vector of items.
type section struct {
	count uint32
	items []byte
}

// add appends one item, given in parts.
func (s *section) add(parts ...[]byte) {
	s.count++
	for _, part := range parts {
		s.items = append(s.items, part...)
	}
}

// appendSection appends the section unless it is empty.
func appendSection(b []byte, id byte, s section) []byte {
	if s.count == 0 {
		return b
	}
	content := appendUint(nil, s.count)
	if id == sectionStart || id == sectionDataCount {
		content = nil // no vector, but one index
	}
	b = append(b, id)
	b = appendUint(b, uint32(len(content)+len(s.items)))
	return append(append(b, content...), s.items...)
}

// appendUint appends n in unsigned LEB128.
func appendUint(b []byte, n uint32) []byte {
	return binary.AppendUvarint(b, uint64(n))
}

// appendInt appends n in signed LEB128.
func appendInt(b []byte, n int64) []byte {
	for n < -64 || n > 63 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n)&0x7f)
}

// appendBits appends the lowest bits of n in little endian.
func appendBits(b []byte, n uint64, bits int) []byte {
	for shift := 0; shift < bits; shift += 8 {
		b = append(b, byte(n>>shift))
	}
	return b
}

// appendBytes appends s with its length before it.
func appendBytes[S string | []byte](b []byte, s S) []byte {
	return append(appendUint(b, uint32(len(s))), s...)
}
