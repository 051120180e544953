package cgi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"containerd-shim-wagi-v1/cgi/codecache"
)

// slowNode is the socket of a node that has no code. Where a module has the export "late", it says so only when the function that
// is returned has been called.
func slowNode(t *testing.T) (socket string, finish func()) {
	t.Helper()
	ctx, finish := context.WithCancel(context.Background())
	n := &codecache.Node{
		Cache: codecache.Cache{Dir: t.TempDir()},
		Compile: func(_ context.Context, module *os.File, _ io.Writer) error {
			if binary, err := io.ReadAll(module); err != nil || bytes.Contains(binary, []byte("late")) {
				<-ctx.Done()
			}
			return errors.New("no code")
		},
	}
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unixpacket", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		n.Serve(context.Background(), l, func(error) {})
	}()
	t.Cleanup(func() {
		finish()
		l.Close()
		<-served
	})
	return socket, finish
}

// newLoading makes a gateway of texts by module, of which all are compiled by a slow node.
func newLoading(t *testing.T, toml string, modules map[string]string) (r *Reloader, finish func()) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range modules {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := parseConfig(filepath.Join(dir, "modules.toml"), []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Compiler, finish = slowNode(t)
	cfg.TempDir = dir
	if r, err = NewReloader(t.Context(), *cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, finish
}

const sayHello = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\23\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\n\nhello text")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "late")))`

// While a module is compiled, requests for it wait as long as is configured; health and other paths are answered.
func TestLoading(t *testing.T) {
	r, finish := newLoading(t, `
[[module]]
route = "/now"
module = "hello.wat"
wait = "0s"
[[module]]
route = "/soon"
module = "hello.wat"
wait = "10ms"
[[module]]
route = "/timeout"
module = "hello.wat"
timeout = "20ms"
[[module]]
route = "/patient"
module = "hello.wat"
`, map[string]string{"hello.wat": sayHello})
	for path, want := range map[string]string{
		"/now": "503 ", "/soon": "503 ", "/timeout": "503 ", "/other": "404 ", "/healthz": "200 OK", "/readyz": "503 starting",
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := r.get(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		if retry := w.Header().Get("Retry-After"); (retry == "1") != (want == "503 ") {
			t.Errorf("%s: Retry-After %q", path, retry)
		}
	}
	patient := make(chan string)
	go func() { patient <- r.get("/patient") }()
	select {
	case got := <-patient:
		t.Errorf("got %q of a module that is not compiled", got)
	case <-time.After(50 * time.Millisecond):
	}
	finish()
	if got := <-patient; !strings.HasPrefix(got, "200 hello") {
		t.Errorf("got %q", got)
	}
	if err := r.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if got := r.get("/readyz"); got != "200 OK" {
		t.Errorf("/readyz: got %q", got)
	}
}

// A module that may have routes of its own keeps those behind it from answering for them.
func TestLoadingRoutes(t *testing.T) {
	routes := strings.NewReplacer(
		`"_start"`, `"_routes"`,
		`\23\00\00\00`, `\0c\00\00\00`,
		`"Content-Type: text/plain\n\nhello text"`, `"/sub _start2\n"`).Replace(sayHello)
	r, finish := newLoading(t, `
[[module]]
route = "/a"
module = "routes.wat"
wait = "0s"
[[module]]
route = "/..."
module = "hello.wat"
wait = "0s"
`, map[string]string{"routes.wat": routes, "hello.wat": sayHello})
	match := func(path string) string {
		route, _ := r.current.Load().table.Load().match(path)
		return route.text
	}
	for path, want := range map[string]string{"/a": "/a", "/a/sub": "/a", "/a/other": "/a", "/ab": "/...", "/": "/..."} {
		if got := match(path); got != want {
			t.Errorf("while loading %s is for %s, want %s", path, got, want)
		}
	}
	finish()
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/a": "/a", "/a/sub": "/a/sub", "/a/other": "/...", "/ab": "/..."} {
		if got := match(path); got != want {
			t.Errorf("%s is for %s, want %s", path, got, want)
		}
	}
}

// A module that is ready serves while another is still being compiled.
func TestLoadingFirst(t *testing.T) {
	processors := runtime.GOMAXPROCS(2) // as wagi has at least
	t.Cleanup(func() { runtime.GOMAXPROCS(processors) })
	r, finish := newLoading(t, `
[[module]]
route = "/late"
module = "late.wat"
[[module]]
route = "/"
module = "early.wat"
`, map[string]string{"late.wat": sayHello, "early.wat": strings.Replace(sayHello, `"late"`, `"early"`, 1)})
	if got := r.get("/"); !strings.HasPrefix(got, "200 hello") {
		t.Errorf("got %q", got)
	}
	if got := r.get("/readyz"); got != "503 starting" {
		t.Errorf("/readyz: got %q", got)
	}
	finish()
	if got := r.get("/late"); !strings.HasPrefix(got, "200 hello") {
		t.Errorf("got %q", got)
	}
}

// What only compiling finds is the error of Wait, and of the requests that waited.
func TestLoadingFails(t *testing.T) {
	r, finish := newLoading(t, "[[module]]\nroute = '/'\nmodule = 'bad.wat'\n", map[string]string{
		"bad.wat": `(module (func (export "_start") (i32.add (i32.const 1) (i64.const 2)) drop) (func (export "late")))`,
	})
	got := make(chan string)
	go func() { got <- r.get("/") }()
	finish()
	if err := r.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), `modules.toml:1:3: route "/": module "bad.wat": does not compile`) {
		t.Errorf("got error %v", err)
	}
	if answer := <-got; answer != "503 " {
		t.Errorf("got %q", answer)
	}
	if ready := r.get("/readyz"); ready != "503 starting" {
		t.Errorf("/readyz: got %q", ready)
	}
}

// That a module cannot be loaded is said at once, and not when the others are.
func TestLoadingFailsEarly(t *testing.T) {
	processors := runtime.GOMAXPROCS(2) // as wagi has at least
	t.Cleanup(func() { runtime.GOMAXPROCS(processors) })
	r, _ := newLoading(t, `
[[module]]
route = "/late"
module = "late.wat"
[[module]]
route = "/"
module = "bad.wat"
`, map[string]string{"late.wat": sayHello, "bad.wat": `(module (func (export "_initialize") unreachable))`})
	if err := r.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("got error %v", err)
	}
}
