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
	"runtime"
	"runtime/debug"

	"github.com/containerd/log"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/cpu"

	"containerd-shim-wagi-v1/cgi/codecache"
	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// smallMemory is the memory limit of the process (GOMEMLIMIT), in bytes, under which memory matters more than time.
const smallMemory = 256 << 20

// Compilers is how many modules should be compiled at a time: as many as there are processors and memory for.
func Compilers() int {
	return int(max(1, min(int64(runtime.GOMAXPROCS(0)), debug.SetMemoryLimit(-1)/smallMemory)))
}

// compileWorkers is how many workers compile one module. Each needs memory for the largest function:
// a Go program of 6 MB takes 97 MB with one and 120 MB with two.
func compileWorkers() int {
	if debug.SetMemoryLimit(-1) < smallMemory {
		return 1
	}
	return 2
}

// SaveMemory makes Go's collector run often in a small container, until the function that it returns is called: what is left of reading
// and rewriting modules would stand beside their code.
func SaveMemory() (end func()) {
	if debug.SetMemoryLimit(-1) >= smallMemory {
		return func() {}
	}
	percent := debug.SetGCPercent(20)
	return func() { debug.SetGCPercent(percent) }
}

// load rewrites the module and gives it to the engine. What cannot be rewritten the engine must not see: guests of it could
// not be stopped, and a count that nothing stands behind makes the engine allocate gigabytes.
func (m *Module) load(ctx context.Context, wasm []byte) (*instrument.Module, error) {
	code, err := instrument.Rewrite(wasm)
	if err != nil {
		return nil, compileError(err)
	}
	if m.image, err = newImage(code.Data); err != nil {
		return nil, err
	}
	code.Data = nil
	if debug.SetMemoryLimit(-1) < smallMemory {
		debug.FreeOSMemory() // of the rewriting, and of the original
	}
	if err := m.loadRewritten(ctx, code.Binary); err != nil {
		return nil, compileError(err)
	}
	code.Binary = nil // what is not needed any more is not kept while the module serves
	return code, nil
}

// loadRewritten takes the code of the module from a cache, or compiles it. A cache can fail, but not the module for that.
func (m *Module) loadRewritten(ctx context.Context, binary []byte) error {
	entry := m.findCode(ctx, binary)
	if entry != nil {
		defer entry.Close()
		err := m.loadCode(ctx, binary, entry)
		if err == nil {
			return nil
		}
		m.warn(ctx, err, "compiled code cannot be used")
		m.closeCache(ctx)
	}
	if m.config.CompileCache == "" {
		return m.loadBinary(ctx, binary)
	}
	return m.compileAndKeep(ctx, binary)
}

func (m *Module) warn(ctx context.Context, err error, message string) {
	log.G(ctx).WithError(err).WithField("module", m.config.Name).Warn(message)
}

// Target names what code is compiled for: the engine and the processor with all that it can do.
func Target() string {
	return fmt.Sprintf("%s %s/%s %+v %+v", EngineVersion(), runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
}

func (m *Module) kept() codecache.Cache { return codecache.Cache{Dir: m.config.CompileCache} }

// findCode looks for compiled code in the directory and asks the node; nil: there is none.
func (m *Module) findCode(ctx context.Context, binary []byte) *os.File {
	if m.config.CompileCache != "" {
		key, err := codecache.Key(Target(), bytes.NewReader(binary))
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
		m.closeCache(ctx)
		return m.loadBinary(ctx, binary)
	}
	key, err := codecache.Key(Target(), bytes.NewReader(binary))
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
	key, err := codecache.Key(Target(), bytes.NewReader(code.Binary))
	if err != nil {
		return err
	}
	if entry, err := cache.Open(key); err == nil {
		return entry.Close()
	}
	return cache.Put(key, func(w io.Writer) error { return Generate(ctx, code.Binary, temp, w) })
}

func (m *Module) loadBinary(ctx context.Context, wasm []byte) (err error) {
	rc := wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExceptionHandling |
						experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst).
		WithDebugInfoEnabled(false) // reading DWARF costs more than all the rest of a cached start
	if m.cache != nil {
		rc = rc.WithCompilationCache(m.cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	m.compiled, err = m.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, compileWorkers()), wasm)
	return err
}

// closeCache frees the code of a cache that is not to be used any more.
func (m *Module) closeCache(ctx context.Context) {
	if m.runtime != nil {
		m.runtime.Close(ctx)
		m.runtime = nil
	}
	if m.cache != nil {
		_ = m.cache.Close(ctx)
		m.cache = nil
	}
}

// EngineVersion names the WebAssembly engine, such as "wazero v1.12.0".
func EngineVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				return "wazero " + dep.Version
			}
		}
	}
	return "wazero"
}
