package guest

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
)

// maxDescriptors bounds what a guest has open, so that it cannot use up the descriptors of the gateway.
const maxDescriptors = 256

// maxVectors is IOV_MAX: how many buffers one call reads or writes.
const maxVectors = 1024

// A guest reads and writes so many bytes at a time: between two pieces it can be stopped, as its buffers may all be the
// whole memory. Of standard error, which may be short lines, each of them work for the log, a piece is shorter.
const (
	maxPiece    = 256 << 10
	stderrPiece = 1 << 10
)

// Types of files in WASI.
const (
	filetypeUnknown         = 0
	filetypeBlockDevice     = 1
	filetypeCharacterDevice = 2
	filetypeDirectory       = 3
	filetypeRegularFile     = 4
	filetypeSymbolicLink    = 7
)

// Flags of descriptors in WASI.
const (
	fdflagsAppend   = 1 << 0
	fdflagsDsync    = 1 << 1
	fdflagsNonblock = 1 << 2
	fdflagsRsync    = 1 << 3
	fdflagsSync     = 1 << 4
)

// Rights of descriptors in WASI. Guests learn from them how a descriptor was opened.
const (
	rightsRead  = 1 << 1
	rightsSeek  = 1 << 2
	rightsTell  = 1 << 5
	rightsWrite = 1 << 6
	rightsAll   = 1<<30 - 1
)

// descriptor is what a number stands for in a guest: a stream of the call, or a file or directory of a volume, or the
// gateway's directory or file.
type descriptor struct {
	reader  io.Reader     // nil: not open for reading
	writer  io.Writer     // nil: not open for writing
	file    *os.File      // nil for all but a volume's file
	dir     *directory    // nil for streams and files
	volume  *volume       // nil for what is in none
	path    string        // of the file or directory, in its volume
	device  bool          // it is the directory /dev/wagi
	waits   bool          // it is a stream that does not say itself when it waits
	request *bytes.Reader // nil for all but /dev/wagi/request
	flags   uint16
}

func (d *descriptor) close() error {
	switch {
	case d.file != nil:
		return d.file.Close()
	case d.dir != nil:
		return d.dir.rewind()
	}
	return nil
}

// lookup finds an open descriptor.
func (g *guest) lookup(fd uint32) (*descriptor, error) {
	if uint64(fd) >= uint64(len(g.descriptors)) || g.descriptors[fd] == nil {
		return nil, errnoBadf
	}
	return g.descriptors[fd], nil
}

// lookupFile finds a descriptor of a volume's file.
func (g *guest) lookupFile(fd uint32) (*descriptor, error) {
	d, err := g.lookup(fd)
	switch {
	case err != nil:
		return nil, err
	case d.dir != nil:
		return nil, errnoIsdir
	case d.file == nil:
		return nil, errnoSpipe
	}
	g.worked(fileWork)
	return d, nil
}

// seekable is an open file that has an offset.
type seekable interface {
	io.Seeker
	io.ReaderAt
}

// lookupSeekable finds a file of a volume or the gateway's.
func (g *guest) lookupSeekable(fd uint32) (*descriptor, seekable, error) {
	if d, err := g.lookup(fd); err == nil && d.request != nil {
		return d, d.request, nil
	}
	d, err := g.lookupFile(fd)
	if err != nil {
		return nil, nil, err
	}
	return d, d.file, nil
}

// insert gives a descriptor the lowest free number.
func (g *guest) insert(d *descriptor) (uint32, error) {
	for fd, old := range g.descriptors {
		if old == nil {
			g.descriptors[fd] = d
			return uint32(fd), nil
		}
	}
	if len(g.descriptors) == maxDescriptors {
		return 0, errnoMfile
	}
	g.descriptors = append(g.descriptors, d)
	return uint32(len(g.descriptors) - 1), nil
}

func (g *guest) fdClose(p params) error {
	d, err := g.lookup(p.u32(0))
	if err != nil {
		return err
	}
	g.descriptors[p.u32(0)] = nil
	return d.close()
}

func (g *guest) fdRenumber(p params) error {
	from, to := p.u32(0), p.u32(1)
	d, err := g.lookup(from)
	if err != nil {
		return err
	}
	old, err := g.lookup(to)
	if err != nil || from == to {
		return err
	}
	g.descriptors[to], g.descriptors[from] = d, nil
	return old.close()
}

// vectors calls each for the buffers that a guest names, until one call fails or does less than asked.
// A stream is read once only: the rest of the buffers might have to wait for more.
func (g *guest) vectors(p params, d *descriptor, take access, once bool, each func(b []byte) (int, error)) (total int, err error) {
	most := maxPiece
	if d == &g.streams[2] {
		most = stderrPiece
	}
	count := p.u32(2)
	if count > maxVectors {
		return 0, errnoInval
	}
	list, err := g.array(p.u32(1), count, 8)
	if err != nil {
		return 0, err
	}
	for ; len(list) > 0; list = list[8:] {
		b, err := take(g, binary.LittleEndian.Uint32(list), binary.LittleEndian.Uint32(list[4:]))
		if err != nil {
			return total, err
		}
		for len(b) > 0 {
			if total > 0 && g.meter.waited && g.ctx.Err() != nil {
				return total, nil
			}
			piece := b[:min(len(b), most)]
			b = b[len(piece):]
			n, err := g.piece(d, piece, each)
			total += n
			if total > 0 && (err != nil || n < len(piece) || once) {
				return total, nil
			}
			if err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// piece calls each for a piece of a buffer. What the client is slow to send or to take, the guest waits for; all else is
// its work.
func (g *guest) piece(d *descriptor, b []byte, each func(b []byte) (int, error)) (n int, err error) {
	if d.file != nil || d == &g.streams[2] {
		n, err = each(b)
		g.worked(fileWork + n/bytesPerWork)
		return n, err
	}
	if d.waits {
		g.meter.pause()
	}
	n, err = each(b)
	switch {
	case !g.meter.waited:
		g.worked(n / bytesPerWork)
	case d.reader != nil && n >= transfer:
		g.meter.restart()
	default:
		g.meter.resume()
	}
	if err != nil && d.writer != nil { // the writer may have ended the guest's context, which is looked at after a wait
		g.meter.waited = true
	}
	return n, err
}

func (g *guest) fdRead(p params) error {
	d, err := g.lookup(p.u32(0))
	switch {
	case err != nil:
		return err
	case d.dir != nil:
		return errnoIsdir
	case d.reader == nil:
		return errnoBadf
	}
	n, err := g.vectors(p, d, (*guest).bytes, d.file == nil, func(b []byte) (n int, err error) {
		n, err = d.reader.Read(b)
		for n == 0 && err == nil && g.ctx.Err() == nil {
			n, err = d.reader.Read(b)
		}
		return n, err
	})
	if err != nil && err != io.EOF {
		return err
	}
	return g.putU32(p.u32(3), uint32(n))
}

func (g *guest) fdWrite(p params) error {
	d, err := g.lookup(p.u32(0))
	if err != nil {
		return err
	}
	if d.writer == nil {
		return errnoBadf
	}
	n, err := g.vectors(p, d, (*guest).view, false, d.writer.Write)
	g.printed = d == &g.streams[1]
	if err != nil {
		return err
	}
	return g.putU32(p.u32(3), uint32(n))
}

func (g *guest) fdPread(p params) error {
	d, file, err := g.lookupSeekable(p.u32(0))
	if err != nil {
		return err
	}
	offset := int64(p[3])
	n, err := g.vectors(p, d, (*guest).bytes, false, func(b []byte) (int, error) {
		n, err := file.ReadAt(b, offset)
		offset += int64(n)
		return n, err
	})
	if err != nil && err != io.EOF {
		return err
	}
	return g.putU32(p.u32(4), uint32(n))
}

func (g *guest) fdPwrite(p params) error {
	d, err := g.lookupFile(p.u32(0))
	if err != nil {
		return err
	}
	offset := int64(p[3])
	n, err := g.vectors(p, d, (*guest).view, false, func(b []byte) (int, error) {
		n, err := d.file.WriteAt(b, offset)
		offset += int64(n)
		return n, err
	})
	if err != nil {
		return err
	}
	return g.putU32(p.u32(4), uint32(n))
}

func (g *guest) fdSeek(p params) error {
	return g.seek(p, [...]int{io.SeekStart, io.SeekCurrent, io.SeekEnd})
}

func (g *guest) fdSeekUnstable(p params) error {
	return g.seek(p, [...]int{io.SeekCurrent, io.SeekEnd, io.SeekStart})
}

func (g *guest) seek(p params, whences [3]int) error {
	_, file, err := g.lookupSeekable(p.u32(0))
	if err != nil {
		return err
	}
	if p.u32(2) >= uint32(len(whences)) {
		return errnoInval
	}
	offset, err := file.Seek(int64(p[1]), whences[p.u32(2)])
	if err != nil {
		return err
	}
	return g.putU64(p.u32(3), uint64(offset))
}

func (g *guest) fdTell(p params) error {
	_, file, err := g.lookupSeekable(p.u32(0))
	if err != nil {
		return err
	}
	offset, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return g.putU64(p.u32(1), uint64(offset))
}

// fdSync is fd_datasync as well: Go has no portable call that syncs data alone.
func (g *guest) fdSync(p params) error {
	d, err := g.lookup(p.u32(0))
	if err != nil || d.file == nil {
		return err
	}
	return d.file.Sync()
}

func (g *guest) fdAdvise(p params) error {
	_, err := g.lookupFile(p.u32(0))
	return err
}

// fdAllocate makes a file at least as long as asked. It reserves no blocks.
func (g *guest) fdAllocate(p params) error {
	d, err := g.lookupFile(p.u32(0))
	if err != nil {
		return err
	}
	end := int64(p[1]) + int64(p[2])
	if int64(p[1]) < 0 || int64(p[2]) <= 0 || end < 0 {
		return errnoInval
	}
	info, err := d.file.Stat()
	if err != nil || info.Size() >= end {
		return err
	}
	return d.file.Truncate(end)
}

func (g *guest) fdFdstatGet(p params) error {
	d, err := g.lookup(p.u32(0))
	if err != nil {
		return err
	}
	st, err := g.stat(d)
	if err != nil {
		return err
	}
	b, err := g.bytes(p.u32(1), 24)
	if err != nil {
		return err
	}
	rights := uint64(rightsAll)
	if d.dir == nil && d.reader == nil {
		rights &^= rightsRead
	}
	if d.dir == nil && d.writer == nil {
		rights &^= rightsWrite
	}
	if d.volume == nil && d.request == nil { // isatty looks for these
		rights &^= rightsSeek | rightsTell
	}
	clear(b)
	b[0] = filetype(st.Mode)
	binary.LittleEndian.PutUint16(b[2:], d.flags)
	binary.LittleEndian.PutUint64(b[8:], rights)
	binary.LittleEndian.PutUint64(b[16:], rightsAll)
	return nil
}

// fdFdstatSetFlags changes append mode. Streams block whatever the guest asks for; files never do.
func (g *guest) fdFdstatSetFlags(p params) error {
	d, err := g.lookup(p.u32(0))
	if err != nil {
		return err
	}
	flags := uint16(p.u32(1))
	if changed := flags ^ d.flags; d.file == nil && changed != 0 || changed&^(fdflagsAppend|fdflagsNonblock) != 0 {
		return errnoNotsup
	} else if changed&fdflagsAppend != 0 {
		if err := setAppend(d.file, flags&fdflagsAppend != 0); err != nil {
			return err
		}
	}
	d.flags = flags
	return nil
}

// fdFdstatSetRights takes nothing away: what a guest may do is decided by its volumes.
func (g *guest) fdFdstatSetRights(p params) error {
	_, err := g.lookup(p.u32(0))
	return err
}

func (g *guest) fdPrestatGet(p params) error {
	name, err := g.preopen(p.u32(0))
	if err != nil {
		return err
	}
	if err := g.putU32(p.u32(1), 0); err != nil { // the tag: a directory
		return err
	}
	return g.putU32(p.u32(1)+4, uint32(len(name)))
}

func (g *guest) fdPrestatDirName(p params) error {
	name, err := g.preopen(p.u32(0))
	if err != nil {
		return err
	}
	if p.u32(2) < uint32(len(name)) {
		return errnoNametoolong
	}
	b, err := g.bytes(p.u32(1), uint32(len(name)))
	copy(b, name)
	return err
}

// preopen is the guest's path of a directory that was open from the start.
func (g *guest) preopen(fd uint32) (string, error) {
	d, err := g.lookup(fd)
	if err != nil {
		return "", err
	}
	if d.dir == nil || d.dir.preopen == "" {
		return "", errnoBadf
	}
	return d.dir.preopen, nil
}
