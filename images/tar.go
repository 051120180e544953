package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// writeTar writes the paths, as [Config] describes them, as a tar archive whose
// order, owners, modes and times say nothing of the machine it is written on.
func writeTar(ctx context.Context, w io.Writer, files fs.FS, paths []string, mtime time.Time) error {
	entries, err := collect(files, paths)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeEntry(tw, files, name, entries[name], mtime); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
	}
	return tw.Close()
}

// collect returns the type of every entry that the paths stand for, their
// parent directories included, by name.
func collect(files fs.FS, paths []string) (map[string]fs.FileMode, error) {
	entries := make(map[string]fs.FileMode)
	for _, p := range paths {
		if err := collectTree(files, p, entries); err != nil {
			return nil, fmt.Errorf("add %s: %w", p, err)
		}
		for dir := path.Dir(path.Clean(p)); dir != "."; dir = path.Dir(dir) {
			entries[dir] = fs.ModeDir
		}
	}
	delete(entries, ".")
	return entries, nil
}

// collectTree adds the file or directory at p and what is below. The path
// itself may be a symbolic link, which is followed; links below it stay links.
func collectTree(files fs.FS, p string, entries map[string]fs.FileMode) error {
	root, isDir := strings.CutSuffix(p, "/")
	if isDir {
		info, err := fs.Stat(files, root)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			entries[root] = fs.ModeDir
			return nil
		case err == nil && !info.IsDir():
			return errors.New("not a directory")
		}
	}
	return fs.WalkDir(files, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := entry.Type()
		switch mode {
		case 0, fs.ModeDir:
		case fs.ModeSymlink:
			// Only following the link tells whether it leads out of files.
			if _, err := fs.Stat(files, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file, a directory nor a symbolic link", name)
		}
		entries[name] = mode
		return nil
	})
}

func writeEntry(tw *tar.Writer, files fs.FS, name string, mode fs.FileMode, mtime time.Time) error {
	switch mode {
	case fs.ModeDir:
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: mtime})
	case fs.ModeSymlink:
		target, err := fs.ReadLink(files, name)
		if err != nil {
			return err
		}
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: mtime})
	}
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o644, ModTime: mtime}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
