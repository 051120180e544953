package cgi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// reloadable is a directory with a modules.toml that changes.
type reloadable struct {
	t   *testing.T
	dir string
}

// config has routes /NAME, each of a module of its own that prints a text.
func (d reloadable) config(texts map[string]string) Config {
	d.t.Helper()
	file := filepath.Join(d.dir, "modules.toml")
	var text strings.Builder
	for name, output := range texts {
		writeFile(d.t, filepath.Join(d.dir, name+".wat"), printer("Content-Type: text/plain\n\n"+output))
		fmt.Fprintf(&text, "[[module]]\nroute = '/%s'\nmodule = '%s.wat'\n", name, name)
	}
	cfg, err := parseConfig(file, []byte("module = []\n"))
	if text.Len() > 0 {
		cfg, err = parseConfig(file, []byte(text.String()))
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return *cfg
}

func newReloader(t *testing.T, cfg Config) *Reloader {
	t.Helper()
	r, err := NewReloader(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Reloader) get(path string) string {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return fmt.Sprintf("%d %s", w.Code, w.Body)
}

// at is the compiled module of a route.
func (r *Reloader) at(t *testing.T, path string) *code {
	t.Helper()
	route, _ := r.current.Load().table.Load().match(path)
	if route == nil {
		t.Fatalf("no route for %s", path)
	}
	return route.module.code
}

func TestReload(t *testing.T) {
	dir := reloadable{t, t.TempDir()}
	r := newReloader(t, dir.config(map[string]string{"same": "same", "changed": "old", "gone": "gone"}))
	same, changed, gone := r.at(t, "/same"), r.at(t, "/changed"), r.at(t, "/gone")
	if err := r.Reload(t.Context(), dir.config(map[string]string{"same": "same", "changed": "new", "added": "added"})); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/same": "200 same", "/changed": "200 new", "/added": "200 added", "/gone": "404 "} {
		if got := r.get(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if r.at(t, "/same") != same {
		t.Error("an unchanged module was compiled again")
	}
	if users := []int64{same.users.Load(), changed.users.Load(), gone.users.Load()}; users[0] != 1 || users[1] != 0 || users[2] != 0 {
		t.Errorf("users %d, want 1 0 0", users)
	}

	bad := dir.config(map[string]string{"same": "other"})
	bad.Modules = append(bad.Modules, Module{Route: "/", Module: "missing.wasm"})
	if err := r.Reload(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "missing.wasm") {
		t.Errorf("error %v", err)
	}
	if got, want := r.get("/changed"), "200 new"; got != want {
		t.Errorf("after a failed reload: got %q, want %q", got, want)
	}
	if n := same.users.Load(); n != 1 {
		t.Errorf("after a failed reload: %d users, want 1", n)
	}
}

// A request ends on the gateway that it began on, which lives as long.
func TestReloadLetsRequestsFinish(t *testing.T) {
	cfg, err := parseConfig("testdata/modules.toml", []byte("[[module]]\nroute = '/'\nmodule = 'behave.wat'\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := newReloader(t, *cfg)
	old, module := r.current.Load(), r.at(t, "/")
	server := httptest.NewServer(r)
	defer server.Close()
	body, client := io.Pipe()
	go func() { _, _ = client.Write([]byte("one\n")) }()
	response, err := send(deadline(t), server.URL+"/?copy", body, 8)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := r.Reload(t.Context(), Config{}); err != nil {
		t.Fatal(err)
	}
	if got := status(t, server.URL); got != http.StatusNotFound {
		t.Errorf("new gateway: status %d", got)
	}
	if n := module.users.Load(); n != 1 {
		t.Fatalf("module has %d users while a request runs", n)
	}
	go func() { _, _ = client.Write([]byte("two\n")) }()
	if got, err := io.ReadAll(response.Body); string(got) != "one\ntwo\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	server.Close() // waits for the request
	if n, m := old.users.Load(), module.users.Load(); n != 0 || m != 0 {
		t.Errorf("users %d of the old gateway, %d of its module", n, m)
	}
}

func TestReloaderDrainsLaterGatewaysToo(t *testing.T) {
	r := newReloader(t, Config{})
	r.Drain()
	for range 2 {
		if got, want := r.get("/readyz"), "503 draining"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := r.Reload(t.Context(), Config{}); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	if got, want := r.get("/healthz"), "503 "; got != want {
		t.Errorf("closed: got %q, want %q", got, want)
	}
	if err := r.Reload(t.Context(), Config{}); err != http.ErrServerClosed {
		t.Errorf("closed: error %v", err)
	}
}

// Requests run while gateways replace each other: none fails, and of the old gateways nothing is left.
func TestReloadHammer(t *testing.T) {
	dir := reloadable{t, t.TempDir()}
	texts := []map[string]string{{"a": "one", "same": "same"}, {"a": "two", "same": "same", "b": "b"}}
	r := newReloader(t, dir.config(texts[0]))
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for ctx.Err() == nil {
				if got := r.get("/a"); got != "200 one" && got != "200 two" {
					t.Errorf("got %q", got)
				}
				if got := r.get("/same"); got != "200 same" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	var all []*generation
	for i := range 40 {
		all = append(all, r.current.Load())
		if err := r.Reload(t.Context(), dir.config(texts[(i+1)%2])); err != nil {
			t.Error(err)
		}
	}
	stop()
	wait.Wait()
	for i, g := range all {
		if n := g.users.Load(); n != 0 {
			t.Errorf("gateway %d has %d users", i, n)
		}
	}
}
