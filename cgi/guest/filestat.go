package guest

import (
	"encoding/binary"
	"io/fs"
	"os"

	"github.com/tetratelabs/wazero/sys"
)

func (g *guest) fdFilestatSetSize(p params) error {
	d, err := g.lookupFile(p.u32(0))
	if err != nil {
		return err
	}
	return d.file.Truncate(int64(p[1]))
}

func (g *guest) fdFilestatSetTimes(p params) error {
	d, err := g.lookup(p.u32(0))
	if err != nil {
		return err
	}
	if d.volume == nil {
		return errnoNotsup
	}
	atime, mtime, err := times(p[1], p[2], p.u32(3))
	if err != nil {
		return err
	}
	if d.dir != nil {
		return d.volume.chtimes(d.path, atime, mtime)
	}
	return d.volume.chtimesFile(d.file, d.path, atime, mtime)
}

func (g *guest) fdFilestatGet(p params) error {
	return g.fdFilestat(p, g.putFilestat)
}

func (g *guest) fdFilestatGetUnstable(p params) error {
	return g.fdFilestat(p, g.putFilestatUnstable)
}

func (g *guest) fdFilestat(p params, put func(uint32, sys.Stat_t) error) error {
	d, err := g.lookup(p.u32(0))
	if err != nil {
		return err
	}
	st, err := g.stat(d)
	if err != nil {
		return err
	}
	return put(p.u32(1), st)
}

func (g *guest) stat(d *descriptor) (sys.Stat_t, error) {
	if d.volume != nil {
		g.worked(fileWork)
	}
	return d.stat()
}

// stat describes the file. Of a stream only the type is known: a character device when it is a terminal of the host.
func (d *descriptor) stat() (sys.Stat_t, error) {
	var (
		info fs.FileInfo
		err  error
	)
	switch {
	case d.device:
		return statDevice(), nil
	case d.request != nil:
		return statRequest(d.request.Size()), nil
	case d.dir != nil:
		info, err = d.volume.root.Stat(d.path)
	case d.file != nil:
		info, err = d.file.Stat()
	default:
		return d.statStream(), nil
	}
	if err != nil {
		return sys.Stat_t{}, err
	}
	return sys.NewStat_t(info), nil
}

func (d *descriptor) statStream() sys.Stat_t {
	file, ok := d.reader.(*os.File)
	if !ok {
		file, ok = d.writer.(*os.File)
	}
	if ok {
		if info, err := file.Stat(); err == nil && info.Mode()&fs.ModeCharDevice != 0 {
			return sys.Stat_t{Mode: info.Mode().Type()}
		}
	}
	return sys.Stat_t{Mode: fs.ModeIrregular}
}

func filetype(mode fs.FileMode) byte {
	switch {
	case mode.IsRegular():
		return filetypeRegularFile
	case mode.IsDir():
		return filetypeDirectory
	case mode&fs.ModeSymlink != 0:
		return filetypeSymbolicLink
	case mode&fs.ModeCharDevice != 0:
		return filetypeCharacterDevice
	case mode&fs.ModeDevice != 0:
		return filetypeBlockDevice
	}
	return filetypeUnknown
}

func (g *guest) putFilestat(addr uint32, st sys.Stat_t) error {
	b, err := g.bytes(addr, 64)
	if err != nil {
		return err
	}
	putStat(b, b[32:], st)
	binary.LittleEndian.PutUint64(b[24:], st.Nlink)
	return nil
}

// putFilestatUnstable writes the form of wasi_unstable, where the number of links has 32 bits.
func (g *guest) putFilestatUnstable(addr uint32, st sys.Stat_t) error {
	b, err := g.bytes(addr, 56)
	if err != nil {
		return err
	}
	putStat(b, b[24:], st)
	binary.LittleEndian.PutUint32(b[20:], uint32(st.Nlink))
	return nil
}

// putStat writes what both forms have in common, the size and the times to the rest.
func putStat(b, rest []byte, st sys.Stat_t) {
	clear(b)
	binary.LittleEndian.PutUint64(b, st.Dev)
	binary.LittleEndian.PutUint64(b[8:], st.Ino)
	b[16] = filetype(st.Mode)
	binary.LittleEndian.PutUint64(rest, uint64(st.Size))
	binary.LittleEndian.PutUint64(rest[8:], uint64(st.Atim))
	binary.LittleEndian.PutUint64(rest[16:], uint64(st.Mtim))
	binary.LittleEndian.PutUint64(rest[24:], uint64(st.Ctim))
}
