package guest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// trackedForm is the form that quick guests get after a while.
func trackedForm(t testing.TB, m *Module) *Module {
	t.Helper()
	m.tracker.begun.Store(true)
	m.tracker.make()
	form := m.tracker.form.Load()
	if form == nil {
		t.Fatal("there is no tracked form")
	}
	return form
}

// runIn is Run in one form.
func (m *Module) runIn(ctx context.Context, form *Module, call *Call) error {
	g := m.newGuest(ctx, call)
	defer g.free()
	return g.run(form, call.Entrypoint)
}

// A module gets its tracked form when its guests are quick, and leaves it while they are not.
func TestTracked(t *testing.T) {
	m := compileFile(t, "testdata/hello.wasm", Config{})
	run := func() {
		var out strings.Builder
		if err := m.Run(t.Context(), &Call{Stdout: &out}); err != nil || !strings.HasSuffix(out.String(), "\nhello\n") {
			t.Fatalf("got %q, %v", &out, err)
		}
	}
	m.tracker.mean.Store(2 * int64(sampledTime))
	for range 2 * sampleEvery {
		run()
	}
	if m.tracker.mean.Load() == 2*int64(sampledTime) {
		t.Error("guests are not measured")
	}
	for range 100 {
		m.tracker.add(0)
	}
	m.tracker.making.Wait()
	form := m.form()
	if form == m {
		t.Fatal("quick guests do not get the tracked form")
	}
	run()
	if i := form.idle.take(&form.idle.shards[0]); i == nil || i.written == nil {
		t.Errorf("got %+v, want an instance that tells what was written to", i)
	}
	for range 100 {
		m.tracker.add(time.Second)
	}
	if m.form() != m {
		t.Error("slow guests get the tracked form")
	}
	run()
}

// Closing a module waits for its tracked form.
func TestTrackedClose(t *testing.T) {
	m := compileFile(t, "testdata/hello.wasm", Config{})
	for range 100 {
		m.tracker.add(0)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if form := m.tracker.form.Load(); form != nil && form.runtime != nil {
		t.Errorf("the tracked form is not closed")
	}
}

// Tracked forms are made one at a time, and closing a module does not wait for those of others.
func TestTrackedInTurn(t *testing.T) {
	forms <- struct{}{}
	defer func() { <-forms }()
	m := compileFile(t, "testdata/hello.wasm", Config{})
	for range 100 {
		m.tracker.add(0)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.tracker.form.Load() != nil {
		t.Error("two forms are made at once")
	}
}

func TestUntracked(t *testing.T) {
	const start = `(func (export "_start"))`
	for name, c := range map[string]struct {
		text string
		cfg  Config
	}{
		"no memory":          {start, Config{}},
		"much memory":        {`(memory 5)` + start, Config{}},
		"initialised":        {`(memory 1) (func (export "_initialize") (drop (memory.grow (i32.const 4))))` + start, Config{}},
		"large":              {`(memory 1) (func (export "large") ` + strings.Repeat("nop ", trackedSize) + `)` + start, Config{}},
		"new instances":      {`(memory 1)` + start, Config{NoReuse: true}},
		"cannot be put back": {`(memory 1) (table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))` + start, Config{}},
		"outbound requests":  {`(memory 1)` + start, Config{AllowedHosts: []string{"http://localhost"}}},
	} {
		m, err := compileText(t, "(module "+c.text+")", c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if m.tracker != nil {
			t.Errorf("%s: the module is to be tracked", name)
		}
	}
}

// What system calls write is put back, whatever they are asked for.
func TestTrackedCalls(t *testing.T) {
	names := slices.Sorted(maps.Keys(preview1Functions))
	names = slices.DeleteFunc(names, func(name string) bool { return name == "proc_exit" })
	wrote := map[string]bool{}
	for seed := range uint64(20) {
		testTrackedCalls(t, rand.New(rand.NewPCG(seed, 0)), names, wrote)
	}
	if got, want := len(wrote), 22; got != want {
		t.Errorf("%d of %d calls have written something, not %d: %v", got, len(names), want, slices.Sorted(maps.Keys(wrote)))
	}
}

func testTrackedCalls(t *testing.T, r *rand.Rand, names []string, wrote map[string]bool) {
	dir := t.TempDir()
	err := os.WriteFile(dir+"/name", []byte("some content"), 0o600)
	if err == nil {
		err = os.Symlink("name", dir+"/link")
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := compileText(t, callsText(r, names), Config{Volumes: []Volume{{Guest: "/data", Host: dir}}})
	if err != nil {
		t.Fatal(err)
	}
	form := trackedForm(t, m)
	for _, name := range names {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		call := &Call{Entrypoint: name, Args: []string{"name", "argument"}, Env: NewEnvironment("A=1", "B=2"), Stdin: strings.NewReader("input")}
		err := m.runIn(ctx, form, call)
		cancel()
		i := form.idle.take(&form.idle.shards[0])
		if i == nil {
			t.Fatalf("%s: %v", name, err)
		}
		content, image := i.memory.content(), m.image.content
		if !bytes.Equal(content[:len(image)], image) || len(segments(content[len(image):])) > 0 {
			t.Errorf("%s left something", name)
		}
		if i.hostWritten&^1 != 0 {
			wrote[name] = true
		}
		form.idle.put(&form.idle.shards[0], i)
	}
}

// likely are parameters of calls that drawn ones hardly lead to success: %d is an address. The file name is open as 4.
var likely = map[string]string{
	"path_open":         "(i32.const 3) (i32.const 0) (i32.const 512) (i32.const 4) (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const %d)",
	"path_filestat_get": "(i32.const 3) (i32.const 0) (i32.const 512) (i32.const 4) (i32.const %d)",
	"path_readlink":     "(i32.const 3) (i32.const 200000) (i32.const 4) (i32.const %d) (i32.const 20) (i32.const 8000)",
	"fd_pread":          "(i32.const 4) (i32.const 8) (i32.const 3) (i64.const 0) (i32.const %d)",
	"fd_pwrite":         "(i32.const 4) (i32.const 8) (i32.const 3) (i64.const 0) (i32.const %d)",
	"fd_seek":           "(i32.const 4) (i64.const 0) (i32.const 0) (i32.const %d)",
	"fd_tell":           "(i32.const 4) (i32.const %d)",
}

// callsText is a module with a function for each system call that makes it some times. Its memory begins with buffers, on all
// pages, and paths.
func callsText(r *rand.Rand, names []string) string {
	var imports, functions strings.Builder
	page := func() int { return 4096*(1+r.IntN(60)) - r.IntN(2)*4 }
	for _, name := range names {
		params := preview1Functions[name].params
		types := strings.NewReplacer("i", "i32 ", "l", "i64 ").Replace(params)
		fmt.Fprintf(&imports, "(import %q %q (func $%s (param %s) (result i32)))\n", preview1, name, name, types)
		fmt.Fprintf(&functions, "(func (export %q) (drop (call $path_open "+likely["path_open"]+"))\n", name, 300)
		if params, ok := likely[name]; ok {
			fmt.Fprintf(&functions, "(drop (call $%s "+params+"))\n", name, page())
		}
		for range 30 {
			fmt.Fprintf(&functions, "(drop (call $%s", name)
			for at, p := range params {
				n := []int{r.IntN(5), r.IntN(5), 8 * r.IntN(8), 512, page(), page(), 4}[r.IntN(7)]
				if at == 0 && r.IntN(2) == 0 {
					n = r.IntN(4)
				}
				fmt.Fprintf(&functions, " (i%d.const %d)", map[rune]int{'i': 32, 'l': 64}[p], n)
			}
			functions.WriteString("))\n")
		}
		functions.WriteString(")\n")
	}
	var buffers strings.Builder
	for range 16 {
		fmt.Fprintf(&buffers, "\\%02x\\%02x\\%02x\\00\\%02x\\00\\00\\00", 0xfe, (page()>>8)&0xff, r.IntN(4), 1+r.IntN(20))
	}
	const paths = `(data (i32.const 512) "name") (data (i32.const 200000) "link")`
	return "(module\n" + imports.String() + `(memory 4) (data (i32.const 0) "` + buffers.String() + `") ` + paths + "\n" + functions.String() + ")"
}
