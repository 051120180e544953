//go:build !linux

package guest

import (
	"errors"

	"github.com/tetratelabs/wazero/experimental"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// maxCopied is how much memory is put back to its initial content, for which all of it is copied.
const maxCopied = 1 << 20

var errTooLarge = errors.New("memory is too large to be put back")

// image is the initial content of a module's memory. What lies behind it is zero.
type image struct {
	content []byte
}

// newImage lays the segments out, later ones over earlier ones.
func newImage(segments []instrument.Segment) (*image, error) {
	i := &image{}
	for _, s := range segments {
		if missing := int(s.Offset) + len(s.Bytes) - len(i.content); missing > 0 {
			i.content = append(i.content, make([]byte, missing)...)
		}
		copy(i.content[s.Offset:], s.Bytes)
	}
	return i, nil
}

func (i *image) close() {}

// memory is the linear memory of one guest after the other. It is its own allocator: the engine gets it from [memory.Allocate].
type memory struct {
	image     *image
	limit     uint64
	bytes     []byte // as many as the guest has
	least     uint64 // bytes that a guest begins with
	shrinking bool
	settled   bool
}

// newMemory makes a memory that can grow to limit bytes.
func newMemory(i *image, limit uint64) (*memory, error) {
	return &memory{image: i, limit: limit}, nil
}

// Allocate gives the engine the memory. What it suggests as capacity is what guests begin with.
func (m *memory) Allocate(least, _ uint64) experimental.LinearMemory {
	m.bytes, m.least = nil, least
	return m
}

// Reallocate gives the guest as many bytes, or nil when it may not have them.
func (m *memory) Reallocate(size uint64) []byte {
	switch {
	case m.shrinking:
		m.bytes = m.bytes[:m.least:m.least]
	case size > m.limit:
		return nil
	default:
		m.grow(size)
	}
	return m.bytes
}

// grow adds what the image has there, then zeros. The first size may be less than the image.
func (m *memory) grow(size uint64) {
	old := len(m.bytes)
	m.bytes = append(m.bytes, make([]byte, size-uint64(old))...)
	if old < len(m.image.content) {
		copy(m.bytes[old:], m.image.content[old:])
	}
}

// Free does nothing: the memory outlives the engine's instance.
func (m *memory) Free() {}

// content is what the guest sees.
func (m *memory) content() []byte {
	return m.bytes
}

// reset puts the initial content back: of the pages that the guest has named, or else all.
func (m *memory) reset(written uint64) error {
	switch {
	case written != everyPage && len(m.bytes) <= trackedBytes:
		m.restorePages(written)
	case len(m.bytes) > maxCopied && !m.settled:
		return errTooLarge
	default:
		m.restore(m.bytes, 0, uint64(len(m.bytes)))
	}
	return nil
}

// settle makes the content, which is that of the image, the initial one. To make such a memory again would cost more
// than to copy it, whatever its size.
func (m *memory) settle(i *image) error {
	m.image, m.least, m.settled = i, uint64(len(m.bytes)), true
	return nil
}

func (m *memory) close() {}
