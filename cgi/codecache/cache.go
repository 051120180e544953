// Package codecache keeps compiled code in a directory that several processes share, and hands it from a node to its containers.
//
// An entry is machine code, so who can write one runs programs as whoever loads it. An entry is used only if it is whole
// and belongs to root or to the user who loads it. Containers do not see the node's directory: they show the module that they have, at
// a socket of their own, and get its entry, open for reading, from a mount that cannot be written to.
//
// The package knows nothing of WebAssembly: it is where the gateway and the shim meet.
package codecache

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SumSize is the length of what is behind the code in an entry, in bytes.
const SumSize = sha256.Size

// DefaultSize bounds a Cache, in bytes.
const DefaultSize = 1 << 30

const (
	temporary = ".new-"     // begins the names of entries that are being written
	abandoned = time.Hour   // after which one of those is left over from a crash
	touched   = time.Minute // how exactly the time of an entry tells when it was used last
)

// A Cache is a directory with an entry for each module: the code and its SHA-256. Processes may use it at the same time.
type Cache struct {
	Dir  string // made, with its parents, for the first entry
	Size int64  // bytes of all entries; those that were not used for the longest time go first; default DefaultSize
}

// Key names the code of a module: by what the module holds and by what the code is for, engine and processor.
func Key(target string, module io.Reader) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", target)
	if _, err := io.Copy(h, module); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Open opens an entry for reading. What is behind its code is the sum. The error is fs.ErrNotExist if there is none; one that is
// damaged or foreign is removed, if it can be, and the error says so.
func (c Cache) Open(key string) (*os.File, error) {
	if info, err := os.Lstat(c.path(key)); err == nil && !info.Mode().IsRegular() { // to open a pipe would wait
		_ = os.Remove(c.path(key))
		return nil, fmt.Errorf("compiled code %s: %w", c.path(key), errDamaged)
	}
	f, err := os.Open(c.path(key))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = verify(f, info)
	}
	if err != nil {
		f.Close()
		_ = os.Remove(c.path(key)) // in another's directory it stays, and is refused again
		return nil, fmt.Errorf("compiled code %s: %w", c.path(key), err)
	}
	if now := time.Now(); now.Sub(info.ModTime()) > touched {
		_ = os.Chtimes(c.path(key), now, now) // where that fails, nobody can remove entries either
	}
	return f, nil
}

func (c Cache) path(key string) string { return filepath.Join(c.Dir, key) }

var (
	errDamaged = errors.New("is damaged")
	errForeign = errors.New("belongs to another user, or others may write to it")
)

// verify says why an entry must not be used.
func verify(f *os.File, info fs.FileInfo) error {
	length := info.Size() - SumSize
	switch {
	case !info.Mode().IsRegular() || length < 0:
		return errDamaged
	case !trusted(info):
		return errForeign
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, length)); err != nil {
		return err
	}
	var sum [sha256.Size]byte
	if _, err := f.ReadAt(sum[:], length); err != nil {
		return err
	}
	if !bytes.Equal(h.Sum(nil), sum[:]) {
		return errDamaged
	}
	return nil
}

// Put makes an entry of what code writes. It replaces one that is there, as a whole. After an error there is no trace of it.
func (c Cache) Put(key string, code func(io.Writer) error) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.Dir, temporary)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	defer f.Close()
	sum := sha256.New()
	if err := code(io.MultiWriter(f, sum)); err != nil {
		return err
	}
	// No fsync: what a crash leaves of an entry does not match its sum.
	if _, err := f.Write(sum.Sum(nil)); err != nil {
		return err
	}
	// Containers of any user open what they get once more by way of /proc. The directory keeps others out.
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), c.path(key)); err != nil {
		return err
	}
	return c.evict(key)
}

// evict removes entries until the rest fits, and what crashes have left. The entry kept stays however large it is.
func (c Cache) evict(kept string) error {
	listed, err := os.ReadDir(c.Dir)
	if err != nil {
		return err
	}
	var entries []fs.FileInfo
	var size int64
	for _, e := range listed {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular(): // removed meanwhile, or no entry
		case strings.HasPrefix(e.Name(), temporary):
			if time.Since(info.ModTime()) > abandoned {
				_ = os.Remove(c.path(e.Name())) // another process may have been first
			}
		case len(e.Name()) == 2*sha256.Size:
			entries = append(entries, info)
			size += info.Size()
		}
	}
	slices.SortFunc(entries, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, e := range entries {
		if size <= cmp.Or(c.Size, DefaultSize) {
			return nil
		}
		if e.Name() == kept {
			continue
		}
		if err := os.Remove(c.path(e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		size -= e.Size()
	}
	return nil
}
