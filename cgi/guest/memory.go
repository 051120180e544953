package guest

import (
	"math/bits"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// restorePages puts back what pages are named, of no more than trackedBytes.
func (m *memory) restorePages(pages uint64) {
	used := m.content()
	for ; pages != 0; pages &= pages - 1 {
		start := uint64(bits.TrailingZeros64(pages)) * instrument.TrackedPage
		if start >= uint64(len(used)) {
			return
		}
		m.restore(used, start, start+instrument.TrackedPage)
	}
}

// restore puts the content from start to end back.
func (m *memory) restore(used []byte, start, end uint64) {
	n := 0
	if start < uint64(len(m.image.content)) {
		n = copy(used[start:end], m.image.content[start:])
	}
	clear(used[start:end][n:])
}
