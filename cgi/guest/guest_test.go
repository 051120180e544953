package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// programs is the directory of the modules made of testdata's Go programs, and of their compiled code.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "guest"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(programs)
		return m.Run()
	}())
}

var buildPrograms = sync.OnceValue(func() error {
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", programs, "./testdata/hello", "./testdata/resume", "./testdata/story")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	// go test takes a result from its cache when all that the test itself opened is unchanged.
	sources, err := filepath.Glob("testdata/*/*.go")
	for _, source := range sources {
		_, serr := os.Stat(source)
		err = errors.Join(err, serr)
	}
	return err
})

// compileProgram compiles a Go program of testdata. What was compiled before is taken from the cache.
func compileProgram(t testing.TB, name string, cfg Config) *Module {
	t.Helper()
	if err := buildPrograms(); err != nil {
		t.Fatal(err)
	}
	return compileCached(t, filepath.Join(programs, name), cfg)
}

func compileCached(t testing.TB, file string, cfg Config) *Module {
	t.Helper()
	cfg.CompileCache = filepath.Join(programs, "cache")
	return compileFile(t, file, cfg)
}

func compileFile(t testing.TB, file string, cfg Config) *Module {
	t.Helper()
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name = filepath.Base(file)
	m, err := Compile(t.Context(), wasm, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(context.Background()) })
	return m
}

// compileUnmodified compiles a module without rewriting it: nothing can stop its guests.
func compileUnmodified(t *testing.T, file string) *Module {
	t.Helper()
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	outline, err := inspect(wasm)
	if err != nil {
		t.Fatal(err)
	}
	m := &Module{
		config: Config{Name: filepath.Base(file), Entrypoint: defaultEntrypoint},
		memory: outline.memory, limit: defaultMemory, idle: newPool(), lane: new(lane), turns: processTurns(),
	}
	if m.cache, err = wazero.NewCompilationCacheWithDir(filepath.Join(programs, "cache")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(context.Background()) })
	m.image, err = newImage(nil)
	err = errors.Join(err, m.loadBinary(t.Context(), wasm), m.link(t.Context(), outline), m.prepare(t.Context(), &instrument.Module{}))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A guest does the same in an instance that was used before, in one of its own, and in the original module.
func TestSame(t *testing.T) {
	if err := buildPrograms(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		file        string
		entrypoints []string
		args        []string
	}{
		{"testdata/hello.wasm", []string{"_start"}, nil},
		{"testdata/start.wasm", []string{"_start"}, []string{"1"}},
		{"testdata/tables.wasm", []string{"_start"}, nil},
		{"testdata/secret.wasm", []string{"look", "return", "exit", "unreachable", "bounds"}, nil},
		{"testdata/misbehave.wasm", []string{"return", "exit0", "exit7", "grow", "fault", "divide", "bounds", "table", "throw", "fresh"}, nil},
		{filepath.Join(programs, "hello"), []string{"_start"}, nil},
		{filepath.Join(programs, "story"), []string{"_start"}, []string{"story", "streams", "argument"}},
	}
	for _, test := range tests {
		recycled, fresh := compileCached(t, test.file, Config{}), compileCached(t, test.file, Config{NoReuse: true})
		unmodified := compileUnmodified(t, test.file)
		for range 3 {
			for _, entrypoint := range test.entrypoints {
				want := outcome(t, unmodified, entrypoint, test.args)
				for name, m := range map[string]*Module{"recycled": recycled, "fresh": fresh} {
					if got := outcome(t, m, entrypoint, test.args); got != want {
						t.Errorf("%s %s %q, %s: got\n%s\nwant\n%s", test.file, entrypoint, test.args, name, got, want)
					}
				}
			}
		}
	}
}

// outcome is what can be seen of a guest.
func outcome(t *testing.T, m *Module, entrypoint string, args []string) string {
	var stdout, stderr bytes.Buffer
	call := &Call{
		Entrypoint: entrypoint, Args: args, Env: NewEnvironment("NAME=value"),
		Stdin: strings.NewReader("body"), Stdout: &stdout, Stderr: &stderr,
	}
	err := m.Run(t.Context(), call)
	return fmt.Sprintf("%s\n%s\n%v", &stdout, &stderr, err)
}

func TestRunResult(t *testing.T) {
	m := compileFile(t, "testdata/misbehave.wasm", Config{Memory: 5<<20 + 1000})
	tests := []struct {
		entrypoint string
		want       error
	}{
		{"return", nil},
		{"exit0", nil},
		{"exit7", &ExitError{7}},
		{"exit-1", &ExitError{0xffffffff}},
		{"grow", &ExitError{80}},
		{"fault", nil},
		{"unreachable", &TrapError{Reason: "unreachable"}},
		{"divide", &TrapError{Reason: "integer divide by zero"}},
		{"bounds", &TrapError{Reason: "out of bounds memory access"}},
		{"table", &TrapError{Reason: "invalid table access"}},
		{"recurse", &TrapError{Reason: "stack overflow"}},
		{"throw", &TrapError{Reason: "uncaught exception"}},
		{"result", &EntrypointError{"misbehave.wasm", "result", "has parameters or results"}},
		{"exit", &EntrypointError{"misbehave.wasm", "exit", "has parameters or results"}},
		{"absent", &EntrypointError{"misbehave.wasm", "absent", "is not an exported function"}},
		{"", &EntrypointError{"misbehave.wasm", "_start", "is not an exported function"}},
		{"memory", &EntrypointError{"misbehave.wasm", "memory", "is not an exported function"}},
	}
	for _, test := range tests {
		t.Run(test.entrypoint, func(t *testing.T) {
			err := m.Run(t.Context(), &Call{Entrypoint: test.entrypoint})
			if trap, ok := err.(*TrapError); ok && trap.Trace == "" && test.entrypoint != "recurse" {
				t.Errorf("trap without a trace: %q", err)
			}
			if got, want := errorString(err), errorString(test.want); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func errorString(err error) string {
	if err == nil {
		return "nil"
	}
	return err.Error()
}

func TestCheck(t *testing.T) {
	if err := compileFile(t, "testdata/hello.wasm", Config{}).Check(); err != nil {
		t.Error(err)
	}
	m := compileFile(t, "testdata/misbehave.wasm", Config{Entrypoint: "exit"})
	if _, ok := errors.AsType[*EntrypointError](m.Check()); !ok {
		t.Errorf("got %v, want an EntrypointError", m.Check())
	}
	if !m.Exports("spin") || m.Exports("memory") || m.Exports("_routes") {
		t.Error("Exports does not tell exported functions from the rest")
	}
}

// A guest must stop soon after its context, with the context's error and cause, whatever it does.
func TestStop(t *testing.T) {
	m := compileFile(t, "testdata/misbehave.wasm", Config{})
	gone := errors.New("client gone")
	for _, entrypoint := range []string{"spin", "sleep", "read", "write"} {
		t.Run(entrypoint, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			stdin, stdinWriter := io.Pipe()
			context.AfterFunc(ctx, func() { stdinWriter.CloseWithError(context.Cause(ctx)) })
			time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
			err := m.Run(ctx, &Call{Entrypoint: entrypoint, Stdin: stdin})
			if !errors.Is(err, context.Canceled) || !errors.Is(err, gone) {
				t.Errorf("got %v, want context.Canceled because of %q", err, gone)
			}
		})
	}
}

func TestStopAtDeadline(t *testing.T) {
	m := compileFile(t, "testdata/misbehave.wasm", Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := m.Run(ctx, &Call{Entrypoint: "spin"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if err := m.Run(ctx, &Call{Entrypoint: "return"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("begun after the deadline: got %v, want context.DeadlineExceeded", err)
	}
}

// The start function of a module is a part of the guest.
func TestStartFunction(t *testing.T) {
	m := compileFile(t, "testdata/start.wasm", Config{})
	tests := []struct {
		args []string
		want error
	}{
		{nil, nil},
		{[]string{"1"}, &ExitError{4}},
		{[]string{"1", "2"}, &TrapError{Reason: "unreachable"}},
	}
	for _, test := range tests {
		err := m.Run(t.Context(), &Call{Args: test.args})
		if got, want := errorString(err), errorString(test.want); got != want {
			t.Errorf("%d arguments: got %s, want %s", len(test.args), got, want)
		}
	}
}

// Guests of one module run at the same time, each from the initial state, and leave nothing behind.
func TestFresh(t *testing.T) {
	m := compileFile(t, "testdata/misbehave.wasm", Config{})
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 100 {
				if err := m.Run(t.Context(), &Call{Entrypoint: "fresh"}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestStreams(t *testing.T) {
	m := compileProgram(t, "story", Config{})
	var stdout, stderr bytes.Buffer
	err := m.Run(t.Context(), &Call{
		Args:   []string{"story", "streams", "", "two words"},
		Env:    NewEnvironment("PATH_INFO=/a=b", "EMPTY=", "HTTP_HOST=x"),
		Stdin:  strings.NewReader("body"),
		Stdout: &stdout,
		Stderr: &stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `args ["story" "streams" "" "two words"]` + "\n" +
		`env ["PATH_INFO=/a=b" "EMPTY=" "HTTP_HOST=x"]` + "\n" +
		`stdin "body"` + "\n"
	if got := stdout.String(); got != want {
		t.Errorf("got stdout\n%swant\n%s", got, want)
	}
	if got := stderr.String(); got != "to stderr\n" {
		t.Errorf("got stderr %q", got)
	}
}

// The system calls that need no volume are judged by the guest itself.
func TestSystemCalls(t *testing.T) {
	runStory(t, Config{}, "calls")
	runStory(t, Config{}, "clocks")
}

// runStory runs a story of testdata/story, which ends with status 1 when a line of it fails.
func runStory(t *testing.T, cfg Config, args ...string) {
	t.Helper()
	m := compileProgram(t, "story", cfg)
	var out bytes.Buffer
	err := m.Run(t.Context(), &Call{Args: append([]string{"story"}, args...), Stdout: &out, Stderr: &out})
	if err != nil {
		t.Errorf("%v: %v\n%s", args, err, out.String())
	}
}

// Whatever guests do, goroutines and files of the host are gone afterwards.
func TestNothingLeaks(t *testing.T) {
	dir := t.TempDir()
	m := compileProgram(t, "story", Config{Volumes: []Volume{{Guest: "/data", Host: dir}}})
	run := func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := m.Run(ctx, &Call{Args: []string{"story", "hoard"}, Stderr: os.Stderr}); err != nil {
			t.Fatal(err)
		}
	}
	run()
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 3 {
		run()
	}
	if got := openFiles(t); got > files {
		t.Errorf("%d open files, %d before", got, files)
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
}

func openFiles(t *testing.T) int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("open files cannot be counted: %v", err)
	}
	return len(fds)
}

func TestCompileErrors(t *testing.T) {
	const header = "\x00asm\x01\x00\x00\x00"
	tests := []struct {
		name, wasm, want string
	}{
		{"empty", "", "is empty"},
		{"text", "(module)", `does not begin with \0asm`},
		{"component", "\x00asm\x0d\x00\x01\x00", "is a component (WASI preview 2), not a core module: build for wasm32-wasip1"},
		{"version", "\x00asm\x02\x00\x00\x00", "has WebAssembly version 02000000"},
		{"magic only in part", "\x00as", "is cut off in the middle"},
		{"header only in part", "\x00asm\x02", "is cut off in the middle"},
		{"cut off", header + "\x01\x05\x01", "is cut off"},
		{"huge section", header + "\x01\xff\xff\xff\xff\x0f", "is cut off"},
		{"invalid", header + "\x01\x01\x01", "does not compile"},
		{"gc", header + "\x01\x05\x01\x5f\x01\x7f\x00", "garbage collection"},
		{"memory64", header + "\x05\x03\x01\x04\x01", "64-bit memories"},
		{"two memories", header + "\x05\x05\x02\x00\x01\x00\x01", "several memories"},
		{"shared memory", header + "\x05\x04\x01\x03\x01\x02", "without threads"},
		{"much memory", header + "\x05\x04\x01\x00\x80\x40", "begins with 512 MiB of memory, more than its limit of 256 MiB: raise the limit"},
		{"imports memory", header + "\x02\x0f\x01\x03env\x06memory\x02\x00\x01", `imports the memory "env"."memory"`},
		{"imports table", header + "\x02\x09\x01\x01e\x01t\x01\x70\x00\x01", `imports the table "e"."t"`},
		{"imports global", header + "\x02\x08\x01\x01e\x01g\x03\x7f\x00", `imports the global "e"."g"`},
		{"wasix", importing("wasix_32v1", "thread_spawn", ""), `imports the function "wasix_32v1"."thread_spawn", which the gateway does not have (it is built for WASIX`},
		{"socket", importing(preview1, "sock_open", ""), "the gateway gives no network"},
		{"undefined symbol", importing("env", "puts", ""), "an undefined symbol when it was linked"},
		{"other signature", importing(preview1, "fd_close", "\x7f\x7f"), "with other parameters or results than it has"},
		{"no memory", importing(preview1, "fd_close", "\x7f"), "needs a memory, and has none"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := Compile(t.Context(), []byte(test.wasm), Config{Name: "some.wasm"})
			if err == nil {
				m.Close(t.Context())
				t.Fatal("compiled")
			}
			if got := err.Error(); !strings.Contains(got, test.want) || !strings.HasPrefix(got, `module "some.wasm": `) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}

// importing is a module that imports one function, which returns an i32.
func importing(module, name, params string) string {
	types := "\x01\x60" + vector(params) + "\x01\x7f"
	imports := "\x01" + vector(module) + vector(name) + "\x00\x00"
	return "\x00asm\x01\x00\x00\x00" + "\x01" + vector(types) + "\x02" + vector(imports)
}

func vector(s string) string {
	return string(rune(len(s))) + s
}

func FuzzInspect(f *testing.F) {
	for _, file := range []string{"testdata/hello.wasm", "testdata/misbehave.wasm"} {
		wasm, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wasm)
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		if o, err := inspect(wasm); err == nil && o.pages > 0 && !o.memory {
			t.Error("pages without a memory")
		}
	})
}
