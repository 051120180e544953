package cgi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// moduleCache is a directory with modules by their digest, and with the digests that references meant.
type moduleCache struct {
	dir string // empty: nothing is kept
}

func (c moduleCache) modulePath(digest v1.Hash) string {
	return filepath.Join(c.dir, digest.Algorithm, digest.Hex)
}

func (c moduleCache) referencePath(ref name.Reference) string {
	sum := sha256.Sum256([]byte(ref.Name()))
	return filepath.Join(c.dir, "references", hex.EncodeToString(sum[:]))
}

// module is the module of that digest; nil: it is not there, or damaged.
func (c moduleCache) module(digest v1.Hash) []byte {
	if c.dir == "" {
		return nil
	}
	module, err := os.ReadFile(c.modulePath(digest))
	if sum := sha256.Sum256(module); err != nil || hex.EncodeToString(sum[:]) != digest.Hex {
		return nil
	}
	return module
}

func (c moduleCache) keep(digest v1.Hash, module []byte) error {
	return c.write(c.modulePath(digest), module)
}

// digest is what a reference meant last.
func (c moduleCache) digest(ref name.Reference) (digest v1.Hash, ok bool) {
	if c.dir == "" {
		return digest, false
	}
	text, err := os.ReadFile(c.referencePath(ref))
	if err == nil {
		digest, err = v1.NewHash(string(text))
	}
	return digest, err == nil
}

func (c moduleCache) setDigest(ref name.Reference, digest v1.Hash) error {
	return c.write(c.referencePath(ref), []byte(digest.String()))
}

// write replaces a file as a whole: other gateways may use the directory.
func (c moduleCache) write(file string, data []byte) error {
	if c.dir == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
