package guest

import (
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageRun is a run of pages, by their addresses: the kernel's struct page_region.
type pageRun struct {
	start, end uint64
	categories uint64
}

// dirtyFinder finds pages of b that are private to it: all that were written to, and hardly any other. It fills runs as
// far as there are any and returns how many it has filled, and the address that it has come to.
type dirtyFinder func(b []byte, runs []pageRun) (n int, next uint64, err error)

// openPagemap opens the page table of the process. It stays open.
var openPagemap = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/pagemap") })

// newDirtyFinder chooses the best way that the kernel has. It is nil when there is none.
func newDirtyFinder() dirtyFinder {
	pagemap, err := openPagemap()
	if err != nil {
		return nil
	}
	probe := make([]byte, 1)
	var runs [1]pageRun
	for _, f := range []dirtyFinder{scanPages(pagemap), readPages(pagemap)} {
		if _, _, err := f(probe, runs[:]); err == nil {
			return f
		}
	}
	return nil
}

// quickScan is how many bytes are scanned in so short a time, some µs, that a processor of Go's scheduler can wait for it.
const quickScan = 1 << 20

// scanPages asks for dirty pages alone: a system call for many pages, since Linux 6.7.
func scanPages(pagemap *os.File) dirtyFinder {
	const (
		pagemapScan = 0xc0606610 // PAGEMAP_SCAN

		isFile    = 1 << 2
		isPresent = 1 << 3
		isSwapped = 1 << 4
		isZero    = 1 << 5 // the page that all share until they write to it
	)
	fd := pagemap.Fd()
	return func(b []byte, runs []pageRun) (int, uint64, error) {
		start := address(b)
		arg := struct { // struct pm_scan_arg
			size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
			inverted, mask, anyOf, returned                         uint64
		}{
			size: 96, start: start &^ pageMask, end: (start + uint64(len(b)) + pageMask) &^ pageMask,
			vec: uint64(uintptr(unsafe.Pointer(&runs[0]))), vecLen: uint64(len(runs)),
			inverted: isFile | isZero, mask: isFile | isZero, anyOf: isPresent | isSwapped, returned: isPresent,
		}
		var n uintptr
		var errno unix.Errno
		if len(b) <= quickScan { // without telling Go's scheduler, which costs 0.4 µs
			n, _, errno = unix.RawSyscall(unix.SYS_IOCTL, fd, pagemapScan, uintptr(unsafe.Pointer(&arg)))
		} else {
			n, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, pagemapScan, uintptr(unsafe.Pointer(&arg)))
		}
		runtime.KeepAlive(runs)
		if errno != 0 {
			return 0, 0, errno
		}
		return int(n), arg.walkEnd, nil
	}
}

// readPages reads the page table itself, 8 bytes a page.
func readPages(pagemap *os.File) dirtyFinder {
	const (
		isPresent = 1 << 63
		isSwapped = 1 << 62
		isFile    = 1 << 61
	)
	return func(b []byte, runs []pageRun) (n int, next uint64, err error) {
		var entries [4096]byte
		next = address(b) &^ pageMask
		for end := address(b) + uint64(len(b)); next < end; {
			read := min((end-next+pageMask)/pageBytes*8, uint64(len(entries)))
			if _, err := pagemap.ReadAt(entries[:read], int64(next/pageBytes*8)); err != nil {
				return 0, 0, err
			}
			for e := entries[:read]; len(e) > 0; e = e[8:] {
				entry := binary.NativeEndian.Uint64(e)
				switch dirty := entry&(isPresent|isSwapped) != 0 && entry&isFile == 0; {
				case !dirty:
				case n > 0 && runs[n-1].end == next:
					runs[n-1].end += pageBytes
				case n == len(runs):
					return n, next, nil
				default:
					runs[n] = pageRun{start: next, end: next + pageBytes}
					n++
				}
				next += pageBytes
			}
		}
		return n, next, nil
	}
}
