package guest

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// What is put back by copying stays in memory. Beyond maxKept, and at every sweep, the pages are given back instead:
// that costs an interrupt on every core and a fault for each page used again, but forgets what only one guest needed.
const (
	maxKept    = 16 << 20
	sweepAfter = 64 // resets
	maxCopied  = 1 << 20
)

var (
	pageBytes = uint64(os.Getpagesize())
	pageMask  = pageBytes - 1
)

var errNoPagemap = errors.New("the system does not tell which pages of memory were written to")

// image is the initial content of a module's memory. Memories share its pages until they write to them.
type image struct {
	file    *os.File // sealed; nil: the content is all zero
	content []byte   // the file, mapped read-only: whole pages of the system
	dirty   dirtyFinder
}

// newImage lays the segments out, later ones over earlier ones.
func newImage(segments []instrument.Segment) (*image, error) {
	var size uint64
	for _, s := range segments {
		size = max(size, uint64(s.Offset)+uint64(len(s.Bytes)))
	}
	if size == 0 {
		return &image{dirty: newDirtyFinder()}, nil
	}
	fd, err := unix.MemfdCreate("wagi-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create memory image: %w", err)
	}
	i := &image{file: os.NewFile(uintptr(fd), "memory image"), dirty: newDirtyFinder()}
	if err := i.fill(segments, (size+pageMask)&^pageMask); err != nil {
		i.close()
		return nil, fmt.Errorf("fill memory image: %w", err)
	}
	return i, nil
}

func (i *image) fill(segments []instrument.Segment, size uint64) (err error) {
	if err := i.file.Truncate(int64(size)); err != nil {
		return err
	}
	content, err := mapMemory(nil, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, int(i.file.Fd()))
	if err != nil {
		return err
	}
	for _, s := range segments { // thousands in a Go program: each is too small for a system call
		copy(content[s.Offset:], s.Bytes)
	}
	unmapMemory(content)
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(i.file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	i.content, err = mapMemory(nil, size, unix.PROT_READ, unix.MAP_PRIVATE, int(i.file.Fd()))
	return err
}

func (i *image) close() {
	unmapMemory(i.content)
	if i.file != nil {
		i.file.Close()
	}
}

// memory is the linear memory of one guest after the other. It is its own allocator: the engine gets it from [memory.Allocate].
//
// The address space is reserved at once, so that a memory never moves. Its begin is a private mapping of the image.
type memory struct {
	image     *image
	reserved  []byte
	writable  uint64 // bytes, from the beginning; no less than any guest has had
	size      uint64 // bytes that the guest has
	least     uint64 // bytes that a guest begins with
	shrinking bool
	settled   bool
	resets    int
	stale     bool // since the last sweep it was written to, nobody knows where
	runs      [64]pageRun
}

// newMemory reserves a memory that can grow to limit bytes.
func newMemory(i *image, limit uint64) (*memory, error) {
	reserved, err := mapMemory(nil, limit, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE, -1)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of memory: %w", limit, err)
	}
	_ = unix.Madvise(reserved, unix.MADV_NOHUGEPAGE) // fails where there are none; they would be cleared whole
	m := &memory{image: i, reserved: reserved}
	if err := m.mapImage(); err != nil {
		m.close()
		return nil, err
	}
	m.writable = uint64(len(i.content))
	return m, nil
}

// mapImage puts the image at the beginning.
func (m *memory) mapImage() error {
	if m.image.file == nil {
		return nil
	}
	_, err := mapMemory(unsafe.Pointer(&m.reserved[0]), uint64(len(m.image.content)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_FIXED, int(m.image.file.Fd()))
	if err != nil {
		return fmt.Errorf("map memory image: %w", err)
	}
	return nil
}

// settle makes the content, which is that of the image, the initial one, and shares the image's pages. To make such a
// memory again would cost more than to copy it, whatever its size.
func (m *memory) settle(i *image) error {
	m.image, m.least, m.settled = i, m.size, true
	if m.writable == 0 {
		return nil
	}
	_, err := mapMemory(unsafe.Pointer(&m.reserved[0]), m.writable, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED|unix.MAP_NORESERVE, -1)
	if err != nil {
		return fmt.Errorf("clear memory: %w", err)
	}
	_ = unix.Madvise(m.reserved[:m.writable], unix.MADV_NOHUGEPAGE)
	return m.mapImage()
}

// Allocate gives the engine the memory. What it suggests as capacity is what guests begin with.
func (m *memory) Allocate(least, _ uint64) experimental.LinearMemory {
	m.least = least
	return m
}

// Reallocate gives the guest as many bytes, or nil when it may not have them.
func (m *memory) Reallocate(size uint64) []byte {
	if m.shrinking {
		size = m.least
	}
	if size > uint64(len(m.reserved)) {
		return nil
	}
	if size > m.writable {
		if unix.Mprotect(m.reserved[m.writable:size], unix.PROT_READ|unix.PROT_WRITE) != nil {
			return nil
		}
		m.writable = size
	}
	m.size = size
	return m.reserved[:size:size]
}

// Free does nothing: the memory outlives the engine's instance.
func (m *memory) Free() {}

// content is what the guest sees.
func (m *memory) content() []byte {
	return m.reserved[:m.size]
}

// reset puts the initial content back. What the guest has not written to is not touched: the system knows, unless the guest has
// named its pages.
func (m *memory) reset(written uint64) error {
	m.resets++
	used := m.reserved[:m.size]
	named := written != everyPage && len(used) <= trackedBytes
	m.stale = m.stale || !named
	switch {
	case len(used) == 0:
		return nil
	case m.stale && m.resets%sweepAfter == 0:
		m.stale = false
		return unix.Madvise(m.reserved[:m.writable], unix.MADV_DONTNEED)
	case named:
		m.restorePages(written)
		return nil
	case m.image.dirty == nil:
		return m.copyAll(used)
	}
	return m.restoreDirty(used)
}

// restoreDirty puts back what the system says was written to.
func (m *memory) restoreDirty(used []byte) error {
	base, kept := address(used), uint64(0)
	for at := base; at < base+m.size; {
		n, next, err := m.image.dirty(used[at-base:], m.runs[:])
		if err != nil {
			return err
		}
		for _, r := range m.runs[:n] {
			if kept += r.end - r.start; kept > maxKept { // a run may be all of the memory
				return unix.Madvise(used, unix.MADV_DONTNEED)
			}
			m.restore(used, r.start-base, r.end-base)
		}
		at = next
	}
	return nil
}

// copyAll is for systems that do not tell which pages are dirty.
func (m *memory) copyAll(used []byte) error {
	if len(used) > maxCopied && !m.settled {
		return errNoPagemap
	}
	m.restore(used, 0, m.size)
	return nil
}

func (m *memory) close() {
	unmapMemory(m.reserved)
	m.reserved = nil
}

// mapMemory is mmap. Unlike that of package unix it takes no lock and keeps no list.
func mapMemory(addr unsafe.Pointer, size uint64, prot, flags, fd int) ([]byte, error) {
	p, err := unix.MmapPtr(fd, 0, addr, uintptr(size), prot, flags)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), size), nil
}

func unmapMemory(b []byte) {
	if len(b) > 0 {
		_ = unix.MunmapPtr(unsafe.Pointer(&b[0]), uintptr(len(b))) // cannot fail: b is a mapping
	}
}

func address(b []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}
