package guest

import (
	"encoding/binary"
	"io"
	"os"

	"github.com/tetratelabs/wazero/sys"
)

// directory is an open directory. It keeps no file of the host but while it is being listed.
type directory struct {
	preopen string     // the guest's path when it was open from the start
	listing *os.File   // nil: not begun
	first   uint64     // cookie of entries[0]
	entries []dirEntry // the part of the listing that was read last
}

type dirEntry struct {
	name     string
	ino      uint64
	filetype byte
}

// fdReaddir fills a buffer with entries, the last one cut off where the buffer ends.
func (g *guest) fdReaddir(p params) error {
	d, err := g.lookup(p.u32(0))
	if err != nil {
		return err
	}
	if d.dir == nil {
		return errnoNotdir
	}
	b, err := g.bytes(p.u32(1), p.u32(2))
	if err != nil {
		return err
	}
	used := 0
	for cookie := p[3]; used < len(b); cookie++ {
		g.worked(entryWork)
		entry, err := g.entry(d, cookie)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		used += copy(b[used:], dirent(cookie+1, entry))
	}
	return g.putU32(p.u32(4), uint32(used))
}

// dirent is an entry as a guest reads it; next is the cookie of the one after it.
func dirent(next uint64, entry dirEntry) []byte {
	b := make([]byte, 24, 24+len(entry.name))
	binary.LittleEndian.PutUint64(b, next)
	binary.LittleEndian.PutUint64(b[8:], entry.ino)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(entry.name)))
	b[20] = entry.filetype
	return append(b, entry.name...)
}

// entry is an open directory's entry at a cookie: "." is 0, ".." is 1. The error is io.EOF behind the last.
// Cookie 0 begins a new listing, and so does one that was passed already.
func (g *guest) entry(d *descriptor, cookie uint64) (dirEntry, error) {
	if d.device {
		return deviceEntry(cookie)
	}
	dir := d.dir
	if cookie == 0 || cookie < dir.first || dir.listing == nil {
		if err := dir.rewind(); err != nil {
			return dirEntry{}, err
		}
		st, err := d.stat()
		if err != nil {
			return dirEntry{}, err
		}
		if dir.listing, err = d.volume.openListing(d.path); err != nil {
			return dirEntry{}, err
		}
		dir.entries = []dirEntry{{".", st.Ino, filetypeDirectory}, {"..", 0, filetypeDirectory}}
	}
	for cookie >= dir.first+uint64(len(dir.entries)) {
		if err := dir.read(); err != nil {
			return dirEntry{}, err
		}
		g.worked(len(dir.entries) * entryWork)
	}
	return dir.entries[cookie-dir.first], nil
}

// read goes on to the next part of the listing.
func (dir *directory) read() error {
	const part = 256
	infos, err := dir.listing.Readdir(part)
	if len(infos) == 0 {
		return err
	}
	dir.first += uint64(len(dir.entries))
	dir.entries = make([]dirEntry, len(infos))
	for i, info := range infos {
		dir.entries[i] = dirEntry{info.Name(), sys.NewStat_t(info).Ino, filetype(info.Mode())}
	}
	return nil
}

// rewind ends a listing.
func (dir *directory) rewind() error {
	if dir.listing == nil {
		return nil
	}
	err := dir.listing.Close()
	dir.listing, dir.first, dir.entries = nil, 0, nil
	return err
}
