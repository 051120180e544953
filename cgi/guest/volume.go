package guest

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/log"
)

// neverBlock keeps the opening of a fifo without a peer from blocking, where no context reaches. Files do not mind it.
const neverBlock = syscall.O_NONBLOCK

// volume is a directory of the host that a guest has open. Names are slash-separated and relative to it;
// os.Root sees to it that neither ".." nor a symlink leads out.
type volume struct {
	root     *os.Root
	readOnly bool
	number   int // in the module's Volumes
}

// openVolumes opens the module's volumes as the guest's first descriptors after its streams.
// A directory that is missing is left out, which is logged once.
func (g *guest) openVolumes(m *Module) {
	for number, config := range m.config.Volumes {
		if v := g.openVolume(m, number); v != nil {
			g.descriptors = append(g.descriptors, &descriptor{volume: v, path: ".", dir: &directory{preopen: path.Clean(config.Guest)}})
		}
	}
}

// openVolume opens one of the module's volumes. It is nil when the directory is missing.
func (g *guest) openVolume(m *Module, number int) *volume {
	config := &m.config.Volumes[number]
	root, err := os.OpenRoot(config.Host)
	if err != nil {
		if !m.missing[number].Swap(true) {
			log.G(g.ctx).WithError(err).WithField("module", m.config.Name).WithField("volume", config.Guest).Warn("volume left out")
		}
		return nil
	}
	v := &volume{root, config.ReadOnly, number}
	g.volumes = append(g.volumes, v)
	return v
}

// openChanges are the flags with which opening changes something, or is meant to.
const openChanges = os.O_WRONLY | os.O_RDWR | os.O_CREATE | os.O_TRUNC | os.O_APPEND

// open opens a file or directory.
func (v *volume) open(name string, follow bool, flag int) (*descriptor, error) {
	if v.readOnly && flag&openChanges != 0 {
		return nil, errnoRofs
	}
	if !follow {
		if err := v.notSymlink(name, errnoLoop); err != nil {
			return nil, err
		}
	}
	file, err := v.root.OpenFile(name, flag|neverBlock, 0o666)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		return &descriptor{volume: v, path: name, dir: &directory{}}, file.Close()
	case info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0:
		err = errnoNotsup
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	d := &descriptor{volume: v, path: name, file: file}
	if flag&os.O_WRONLY == 0 {
		d.reader = file
	}
	if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		d.writer = file
	}
	return d, nil
}

// openListing opens a directory to read its entries.
func (v *volume) openListing(name string) (*os.File, error) {
	return v.root.OpenFile(name, os.O_RDONLY|neverBlock, 0)
}

// notSymlink is err when name is a symlink itself.
func (v *volume) notSymlink(name string, err error) error {
	if info, lerr := v.root.Lstat(name); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	return nil
}

func (v *volume) writable() error {
	if v.readOnly {
		return errnoRofs
	}
	return nil
}

func (v *volume) mkdir(name string) error {
	if err := v.writable(); err != nil {
		return err
	}
	return v.root.Mkdir(name, 0o777)
}

func (v *volume) unlink(name string) error {
	if err := v.writable(); err != nil {
		return err
	}
	if info, err := v.root.Lstat(name); err != nil || info.IsDir() {
		return orErrno(err, errnoIsdir)
	}
	return v.root.Remove(name)
}

func (v *volume) rmdir(name string) error {
	if err := v.writable(); err != nil {
		return err
	}
	if info, err := v.root.Lstat(name); err != nil || !info.IsDir() {
		return orErrno(err, errnoNotdir)
	}
	return v.root.Remove(name)
}

func orErrno(err error, e errno) error {
	if err != nil {
		return err
	}
	return e
}

func (v *volume) rename(oldname, newname string) error {
	if err := v.writable(); err != nil {
		return err
	}
	// POSIX replaces an empty directory by another one, os.Root does not.
	if to, err := v.root.Lstat(newname); err == nil && to.IsDir() {
		from, err := v.root.Lstat(oldname)
		switch {
		case err != nil:
			return err
		case !from.IsDir():
			return errnoIsdir
		case os.SameFile(from, to):
			return nil
		}
		if err := v.root.Remove(newname); err != nil {
			return err
		}
	}
	return v.root.Rename(oldname, newname)
}

func (v *volume) link(oldname, newname string) error {
	if err := v.writable(); err != nil {
		return err
	}
	return v.root.Link(oldname, newname)
}

// symlink makes only links that stay inside: programs of the host may follow them too.
func (v *volume) symlink(target, name string) error {
	if err := v.writable(); err != nil {
		return err
	}
	inside := path.Join(path.Dir(strings.TrimRight(name, "/")), target)
	if path.IsAbs(target) || inside == ".." || strings.HasPrefix(inside, "../") {
		return errnoPerm
	}
	return v.root.Symlink(target, name)
}

// chtimes sets the times of what name leads to; the zero time leaves one as it is.
func (v *volume) chtimes(name string, atime, mtime time.Time) error {
	if err := v.writable(); err != nil {
		return err
	}
	return v.root.Chtimes(name, atime, mtime)
}
