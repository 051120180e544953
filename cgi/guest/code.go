package guest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/log"
	"github.com/tetratelabs/wazero"

	"containerd-shim-wagi-v1/cgi/build"
	"containerd-shim-wagi-v1/cgi/codecache"
	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

func (m *Module) warn(ctx context.Context, err error, message string) {
	level := log.WarnLevel
	if m.written != "" { // it runs without this form as well
		level = log.DebugLevel
	}
	log.G(ctx).WithError(err).WithField("module", m.config.Name).Log(level, message)
}

func (m *Module) kept() codecache.Cache { return codecache.Cache{Dir: m.config.CompileCache} }

// findCode looks for compiled code in the directory and asks the node; nil: there is none.
func (m *Module) findCode(ctx context.Context, binary []byte) *os.File {
	if m.config.CompileCache != "" {
		key, err := codecache.Key(build.Target(), bytes.NewReader(binary))
		if err == nil {
			var entry *os.File
			if entry, err = m.kept().Open(key); err == nil {
				return entry
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			m.warn(ctx, err, "compiled code cannot be used")
		}
	}
	if m.config.Compiler == "" {
		return nil
	}
	entry, err := codecache.Ask(ctx, m.config.Compiler, binary)
	if err != nil {
		m.warn(ctx, err, "node has no compiled code: the module is compiled here")
		return nil
	}
	return entry
}

// Code that is kept is the engine's file, the 32 bytes that name this file for the engine, and the sum of the cache. The engine
// looks for the file by its name, and so finds only what is for this module, engine and processor.
const codeName = 32

// scratch is a directory of the engine's cache, for one module.
type scratch struct {
	cache wazero.CompilationCache
	root  string // to be removed
	files string // where the engine's files are
}

func newScratch(temp string) (s scratch, err error) {
	if s.root, err = os.MkdirTemp(temp, "wagi-code-"); err != nil {
		return s, err
	}
	if s.cache, err = wazero.NewCompilationCacheWithDir(s.root); err == nil {
		s.files, err = s.only(s.root) // the engine's version gives it a name
	}
	if err != nil {
		s.remove()
	}
	return s, err
}

func (s scratch) remove() { _ = os.RemoveAll(s.root) } // what stays is small, and nothing else can be done

// only is the path of the only file in a directory.
func (s scratch) only(dir string) (string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(list) != 1 {
		return "", fmt.Errorf("the engine's cache holds %d files, not one", len(list))
	}
	return filepath.Join(dir, list[0].Name()), nil
}

// loadCode lets the engine load the module with code from a cache.
func (m *Module) loadCode(ctx context.Context, binary []byte, entry *os.File) error {
	s, err := newScratch(m.config.TempDir)
	if err != nil {
		return err
	}
	defer s.remove()
	info, err := entry.Stat()
	if err != nil {
		return err
	}
	var name [codeName]byte
	if _, err := entry.ReadAt(name[:], info.Size()-codecache.SumSize-codeName); err != nil {
		return err
	}
	if err := link(entry, filepath.Join(s.files, hex.EncodeToString(name[:]))); err != nil {
		return err
	}
	m.cache = s.cache
	return m.loadBinary(ctx, binary)
}

// compileAndKeep compiles the module for this process and for the directory of compiled code.
func (m *Module) compileAndKeep(ctx context.Context, binary []byte) error {
	s, err := newScratch(m.config.TempDir)
	if err != nil {
		m.warn(ctx, err, "compiled code is not kept")
		return m.loadBinary(ctx, binary)
	}
	defer s.remove()
	m.cache = s.cache
	if err := m.loadBinary(ctx, binary); err != nil {
		// The engine says the same of code that it cannot write, which is no fault of the module.
		_ = m.closeEngine(ctx)
		return m.loadBinary(ctx, binary)
	}
	key, err := codecache.Key(build.Target(), bytes.NewReader(binary))
	if err == nil {
		err = m.kept().Put(key, s.copyTo)
	}
	if err != nil {
		m.warn(ctx, err, "compiled code is not kept")
	}
	return nil
}

// copyTo writes the code that the engine has compiled.
func (s scratch) copyTo(w io.Writer) error {
	file, err := s.only(s.files)
	if err != nil {
		return err
	}
	name, err := hex.DecodeString(filepath.Base(file))
	if err != nil || len(name) != codeName {
		return fmt.Errorf("the engine names its file %s", filepath.Base(file))
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return err
	}
	_, err = w.Write(name)
	return err
}

// Generate compiles a module that was rewritten by another process and writes its code for the cache. temp is as in Config.
func Generate(ctx context.Context, rewritten []byte, temp string, w io.Writer) error {
	s, err := newScratch(temp)
	if err != nil {
		return err
	}
	defer s.remove()
	m := &Module{cache: s.cache, idle: newPool()}
	defer m.Close(ctx)
	if err := m.loadBinary(ctx, rewritten); err != nil {
		return compileError(err)
	}
	return s.copyTo(w)
}

// Precompile compiles a module into the cache, unless its code is there.
func Precompile(ctx context.Context, wasm []byte, cache codecache.Cache, temp string) error {
	code, err := instrument.Rewrite(wasm)
	if err != nil {
		return compileError(err)
	}
	key, err := codecache.Key(build.Target(), bytes.NewReader(code.Binary))
	if err != nil {
		return err
	}
	if entry, err := cache.Open(key); err == nil {
		return entry.Close()
	}
	return cache.Put(key, func(w io.Writer) error { return Generate(ctx, code.Binary, temp, w) })
}

// closeEngine frees the engine's part of the module.
func (m *Module) closeEngine(ctx context.Context) (err error) {
	if m.runtime != nil {
		err = m.runtime.Close(ctx)
		m.runtime = nil
	}
	if m.cache != nil {
		err = errors.Join(err, m.cache.Close(ctx))
		m.cache = nil
	}
	return err
}
