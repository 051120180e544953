package guest

import (
	"os"
	"path"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

// Flags of path_open and of times in WASI.
const (
	lookupSymlinkFollow = 1 << 0

	oflagsCreat     = 1 << 0
	oflagsDirectory = 1 << 1
	oflagsExcl      = 1 << 2
	oflagsTrunc     = 1 << 3

	fstflagsAtim    = 1 << 0
	fstflagsAtimNow = 1 << 1
	fstflagsMtim    = 1 << 2
	fstflagsMtimNow = 1 << 3
)

// maxPath is PATH_MAX: a longer path would cost the gateway more memory than the guest.
const maxPath = 4096

// path reads a path that a guest names.
func (g *guest) path(addr, size uint32) (string, error) {
	if size > maxPath {
		return "", errnoNametoolong
	}
	b, err := g.view(addr, size)
	return string(b), err
}

// resolve turns a path relative to an open directory into one relative to the directory's volume.
// It keeps what the volume must look at: symlinks, ".." behind them and a slash at the end.
func (g *guest) resolve(fd, addr, size uint32) (*volume, string, error) {
	d, err := g.lookup(fd)
	if err != nil {
		return nil, "", err
	}
	if d.dir == nil {
		return nil, "", errnoNotdir
	}
	if d.device {
		return nil, "", errnoRofs
	}
	name, err := g.path(addr, size)
	if err != nil {
		return nil, "", err
	}
	if name == "" {
		return nil, "", errnoNoent
	}
	if clean := path.Clean(name); clean[0] == '/' || clean == ".." || strings.HasPrefix(clean, "../") {
		return nil, "", errnoPerm
	}
	if d.path != "." {
		name = d.path + "/" + name
	}
	g.worked(fileWork + len(name)*partWork)
	return d.volume, name, nil
}

func (g *guest) pathOpen(p params) error {
	if p.u32(4)&oflagsDirectory != 0 && p.u32(4)&(oflagsCreat|oflagsTrunc) != 0 {
		return errnoInval // path_create_directory makes directories
	}
	d, err := g.open(p)
	if err != nil {
		return err
	}
	d.flags = uint16(p.u32(7))
	if p.u32(4)&oflagsDirectory != 0 && d.dir == nil {
		d.close()
		return errnoNotdir
	}
	fd, err := g.insert(d)
	if err != nil {
		d.close()
		return err
	}
	return g.putU32(p.u32(8), fd)
}

// open opens what path_open names, in a volume or in the gateway's directory.
func (g *guest) open(p params) (*descriptor, error) {
	flag := openFlags(p.u32(4), p[5], p.u32(7))
	if g.isDevice(p.u32(0)) {
		return g.openDevice(p.u32(2), p.u32(3), flag)
	}
	v, name, err := g.resolve(p.u32(0), p.u32(2), p.u32(3))
	if err != nil {
		return nil, err
	}
	return v.open(name, p.u32(1)&lookupSymlinkFollow != 0, flag)
}

// openFlags turns WASI's flags into those of os.OpenFile. Rights tell reading from writing.
// A guest that asks for neither means what its other flags imply.
func openFlags(oflags uint32, rights uint64, fdflags uint32) int {
	flag := os.O_RDONLY
	switch read, write := rights&rightsRead != 0, rights&rightsWrite != 0; {
	case oflags&oflagsDirectory != 0:
	case read && write, !read && !write && (oflags&(oflagsCreat|oflagsTrunc) != 0 || fdflags&fdflagsAppend != 0):
		flag = os.O_RDWR
	case write:
		flag = os.O_WRONLY
	}
	for _, f := range []struct {
		set  bool
		flag int
	}{
		{oflags&oflagsCreat != 0, os.O_CREATE},
		{oflags&oflagsExcl != 0, os.O_EXCL},
		{oflags&oflagsTrunc != 0, os.O_TRUNC},
		{fdflags&fdflagsAppend != 0, os.O_APPEND},
		{fdflags&(fdflagsSync|fdflagsDsync|fdflagsRsync) != 0, os.O_SYNC},
	} {
		if f.set {
			flag |= f.flag
		}
	}
	return flag
}

func (g *guest) pathCreateDirectory(p params) error {
	v, name, err := g.resolve(p.u32(0), p.u32(1), p.u32(2))
	if err != nil {
		return err
	}
	return v.mkdir(name)
}

func (g *guest) pathFilestatGet(p params) error {
	return g.pathFilestat(p, g.putFilestat)
}

func (g *guest) pathFilestatGetUnstable(p params) error {
	return g.pathFilestat(p, g.putFilestatUnstable)
}

func (g *guest) pathFilestat(p params, put func(uint32, sys.Stat_t) error) error {
	if g.isDevice(p.u32(0)) {
		st, err := g.statInDevice(p.u32(2), p.u32(3))
		if err != nil {
			return err
		}
		return put(p.u32(4), st)
	}
	v, name, err := g.resolve(p.u32(0), p.u32(2), p.u32(3))
	if err != nil {
		return err
	}
	stat := v.root.Lstat
	if p.u32(1)&lookupSymlinkFollow != 0 {
		stat = v.root.Stat
	}
	info, err := stat(name)
	if err != nil {
		return err
	}
	return put(p.u32(4), sys.NewStat_t(info))
}

func (g *guest) pathFilestatSetTimes(p params) error {
	v, name, err := g.resolve(p.u32(0), p.u32(2), p.u32(3))
	if err != nil {
		return err
	}
	atime, mtime, err := times(p[4], p[5], p.u32(6))
	if err != nil {
		return err
	}
	if p.u32(1)&lookupSymlinkFollow == 0 {
		if err := v.notSymlink(name, errnoNotsup); err != nil {
			return err
		}
	}
	return v.chtimes(name, atime, mtime)
}

// times are the times to set; the zero time leaves one as it is.
func times(atim, mtim uint64, flags uint32) (atime, mtime time.Time, err error) {
	const atimes, mtimes = fstflagsAtim | fstflagsAtimNow, fstflagsMtim | fstflagsMtimNow
	if flags&atimes == atimes || flags&mtimes == mtimes {
		return atime, mtime, errnoInval
	}
	now := time.Now()
	switch flags & atimes {
	case fstflagsAtim:
		atime = time.Unix(0, int64(atim))
	case fstflagsAtimNow:
		atime = now
	}
	switch flags & mtimes {
	case fstflagsMtim:
		mtime = time.Unix(0, int64(mtim))
	case fstflagsMtimNow:
		mtime = now
	}
	return atime, mtime, nil
}

func (g *guest) pathLink(p params) error {
	from, oldname, err := g.resolve(p.u32(0), p.u32(2), p.u32(3))
	if err != nil {
		return err
	}
	to, newname, err := g.resolve(p.u32(4), p.u32(5), p.u32(6))
	if err != nil {
		return err
	}
	if from != to {
		return errnoXdev
	}
	return from.link(oldname, newname)
}

func (g *guest) pathReadlink(p params) error {
	v, name, err := g.resolve(p.u32(0), p.u32(1), p.u32(2))
	if err != nil {
		return err
	}
	target, err := v.root.Readlink(name)
	if err != nil {
		return err
	}
	b, err := g.bytes(p.u32(3), p.u32(4))
	if err != nil {
		return err
	}
	return g.putU32(p.u32(5), uint32(copy(b, target)))
}

func (g *guest) pathRemoveDirectory(p params) error {
	v, name, err := g.resolve(p.u32(0), p.u32(1), p.u32(2))
	if err != nil {
		return err
	}
	return v.rmdir(name)
}

func (g *guest) pathUnlinkFile(p params) error {
	v, name, err := g.resolve(p.u32(0), p.u32(1), p.u32(2))
	if err != nil {
		return err
	}
	return v.unlink(name)
}

func (g *guest) pathRename(p params) error {
	from, oldname, err := g.resolve(p.u32(0), p.u32(1), p.u32(2))
	if err != nil {
		return err
	}
	to, newname, err := g.resolve(p.u32(3), p.u32(4), p.u32(5))
	if err != nil {
		return err
	}
	if from != to {
		return errnoXdev
	}
	return from.rename(oldname, newname)
}

func (g *guest) pathSymlink(p params) error {
	target, err := g.path(p.u32(0), p.u32(1))
	if err != nil {
		return err
	}
	v, name, err := g.resolve(p.u32(2), p.u32(3), p.u32(4))
	if err != nil {
		return err
	}
	return v.symlink(target, name)
}
