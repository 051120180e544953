package instrument

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// errCutOff says that what the module announces is more than there is. The engine would allocate the memory for it.
var errCutOff = errors.New("cut off in the middle")

// reader reads a part of the module. After the first error it stands at its end and gives zeros.
type reader struct {
	data []byte // the module from its beginning, so that positions are offsets in the file, up to the end of the part
	at   int
	err  error

	types  uint32  // how many there are
	labels []label // of the last instruction
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("offset %#x: %w", r.at, fmt.Errorf(format, args...))
	}
	r.at = len(r.data)
}

func (r *reader) more() bool {
	return r.at < len(r.data)
}

func (r *reader) byte() byte {
	if !r.more() {
		r.fail("%w", errCutOff)
		return 0
	}
	b := r.data[r.at]
	r.at++
	return b
}

// bytes reads n bytes, which alias the module.
func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.data)-r.at) {
		r.fail("%w: %d bytes are missing", errCutOff, uint64(n)-uint64(len(r.data)-r.at))
		return nil
	}
	b := r.data[r.at : r.at+int(n) : r.at+int(n)]
	r.at += int(n)
	return b
}

// zero reads a byte that the format reserves.
func (r *reader) zero() {
	if b := r.byte(); b != 0 {
		r.fail("reserved byte is %#x, not 0", b)
	}
}

// uint reads an unsigned LEB128 number of 32 bits in any length up to 5 bytes.
func (r *reader) uint() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v>>32 != 0 {
				r.fail("number overflows 32 bits")
				return 0
			}
			return uint32(v)
		}
	}
	r.fail("number is longer than 5 bytes")
	return 0
}

// int reads a signed LEB128 number of up to so many bytes. Whether it fits its type the engine checks.
func (r *reader) int(most int) int64 {
	v, complete := r.signed(most)
	if !complete {
		r.fail("number is longer than %d bytes", most)
	}
	return v
}

// typeIndex reads the index of a type of the original, which must not be the one that is added.
func (r *reader) typeIndex() uint32 {
	i := r.uint()
	if i >= r.types {
		r.fail("type %d of %d", i, r.types)
	}
	return i
}

// typeNumber reads a number of 33 bits that says a type: the index of one, or a negative one.
// The engine takes a fifth byte for the last, whatever it says.
func (r *reader) typeNumber() int64 {
	v, _ := r.signed(5)
	v = v << 31 >> 31
	if v >= int64(r.types) {
		r.fail("type %d of %d", v, r.types)
	}
	return v
}

func (r *reader) signed(most int) (v int64, complete bool) {
	for i := range most {
		b := r.byte()
		v |= int64(b&0x7f) << (7 * i)
		if b < 0x80 {
			unused := max(0, 64-7*(i+1))
			return v << unused >> unused, true
		}
	}
	return v, false
}

// count reads the number of items that follow, each of at least one byte.
func (r *reader) count() int {
	n := r.uint()
	if uint64(n) > uint64(len(r.data)-r.at) {
		r.fail("%w: %d items in %d bytes", errCutOff, n, len(r.data)-r.at)
		return 0
	}
	return int(n)
}

func (r *reader) name() string {
	b := r.bytes(r.uint())
	if !utf8.Valid(b) {
		r.fail("name is not valid UTF-8")
	}
	return string(b)
}

// part is a reader of the next n bytes, which r skips.
func (r *reader) part(n uint32) reader {
	start := r.at
	r.bytes(n)
	return reader{data: r.data[:r.at], at: start, err: r.err, types: r.types}
}
