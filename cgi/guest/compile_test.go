package guest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"

	"containerd-shim-wagi-v1/cgi/codecache"
)

// entries are the files of a directory with their content.
func entries(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files[name], err = os.ReadFile(filepath.Join(dir, name))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// sayHello compiles testdata/hello.wasm, runs it, and returns what the log has to say of that. Nothing is left in the temporary directory.
func sayHello(t *testing.T, cfg Config) string {
	t.Helper()
	wasm, err := os.ReadFile("testdata/hello.wasm")
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&logged)
	cfg.TempDir = t.TempDir()
	m, err := Compile(log.WithLogger(t.Context(), logrus.NewEntry(logger)), wasm, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	var out strings.Builder
	if err := m.Run(t.Context(), &Call{Stdout: &out}); err != nil || !strings.Contains(out.String(), "hello") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if left := entries(t, cfg.TempDir); len(left) > 0 {
		t.Errorf("left in the temporary directory: %d files", len(left))
	}
	return logged.String()
}

func TestCompileCache(t *testing.T) {
	cfg := Config{CompileCache: filepath.Join(t.TempDir(), "cache")}
	if said := sayHello(t, cfg); said != "" {
		t.Error(said)
	}
	made := entries(t, cfg.CompileCache)
	if len(made) != 1 {
		t.Fatalf("%d entries, want 1", len(made))
	}
	for name, whole := range made {
		file := filepath.Join(cfg.CompileCache, name)
		if said := sayHello(t, cfg); said != "" {
			t.Error(said)
		}
		poison := bytes.Clone(whole)
		poison[len(poison)/2] ^= 1
		for what, content := range map[string][]byte{"truncated": whole[:len(whole)/2], "changed": poison, "empty": nil} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if said := sayHello(t, cfg); !strings.Contains(said, "is damaged") {
				t.Errorf("%s: log %q", what, said)
			}
			if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, whole) {
				t.Errorf("%s: not made again: %v", what, err)
			}
		}
	}
}

// An entry with a sum that is right, but with the code of another module, does not run: the engine does not find it.
func TestForeignCode(t *testing.T) {
	dir := t.TempDir()
	if said := sayHello(t, Config{CompileCache: dir}); said != "" {
		t.Error(said)
	}
	other, err := os.ReadFile("testdata/misbehave.wasm")
	if err != nil {
		t.Fatal(err)
	}
	var code bytes.Buffer
	if err := Generate(t.Context(), other, t.TempDir(), &code); err != nil {
		t.Fatal(err)
	}
	for key := range entries(t, dir) {
		err := codecache.Cache{Dir: dir}.Put(key, func(w io.Writer) error {
			_, err := w.Write(code.Bytes())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	sayHello(t, Config{CompileCache: dir})
}

// A cache that cannot be written is no reason not to serve, but one that is no directory is a mistake of who named it.
func TestCompileCacheUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := sayHello(t, Config{CompileCache: filepath.Join(file, "below")}); !strings.Contains(said, "is not kept") {
		t.Errorf("log %q", said)
	}
	if _, err := Compile(t.Context(), []byte("\x00asm\x01\x00\x00\x00"), Config{CompileCache: file}); err == nil {
		t.Error("a file was taken for a cache directory")
	}
}

// What is compiled ahead is what Compile looks for.
func TestPrecompile(t *testing.T) {
	wasm, err := os.ReadFile("testdata/hello.wasm")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 2 {
		if err := Precompile(t.Context(), wasm, codecache.Cache{Dir: dir}, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	ahead := entries(t, dir)
	sayHello(t, Config{CompileCache: dir})
	if after := entries(t, dir); len(ahead) != 1 || len(after) != 1 {
		t.Errorf("%d entries ahead, %d after", len(ahead), len(after))
	}
}

func TestLittleMemoryCompilesSlowly(t *testing.T) {
	processors := runtime.GOMAXPROCS(4)
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(processors)
		debug.SetMemoryLimit(limit)
	})
	for limit, want := range map[int64][2]int{
		64 << 20:      {1, 1},
		256 << 20:     {1, 2},
		1 << 30:       {4, 2},
		math.MaxInt64: {4, 2},
	} {
		debug.SetMemoryLimit(limit)
		if got := [2]int{Compilers(), compileWorkers()}; got != want {
			t.Errorf("limit %d: modules at a time, workers: %d, want %d", limit, got, want)
		}
	}
}
