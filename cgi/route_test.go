package cgi

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/cgi/guest"
	"unicode/utf8"
)

func TestParseRoutes(t *testing.T) {
	tests := []struct {
		own, out string
		want     []string // nil: an error
	}{
		{"/app/...", "/a one\n\n  /b/...\ttwo \r\n", []string{"/app/b/... two", "/app/a one"}},
		{"/app", "a one", []string{"/app/a one"}},
		{"/app/", "/a one\n", []string{"/app/a one"}},
		{"/...", "/a one\n/... all\n", []string{"/... all", "/a one"}},
		{"/app/...", "/... all\n", []string{"/app/... all"}},
		{"/app", "", nil},
		{"/app", "\n\n", nil},
		{"/app", "  \n", nil},
		{"/app", "/a\n", nil},
		{"/app", "/a one two\n", nil},
	}
	for _, test := range tests {
		routes, err := parseRoutes(test.out, newRoute(test.own, "_start", &module{}))
		var got []string
		for _, r := range routes {
			got = append(got, r.text+" "+r.entrypoint)
		}
		if !slices.Equal(got, test.want) || (err == nil) != (test.want != nil) {
			t.Errorf("%s with %q: got %q, %v, want %q", test.own, test.out, got, err, test.want)
		}
	}
}

func TestHides(t *testing.T) {
	tests := []struct {
		first, second string
		want          bool
	}{
		{"/a", "/a", true},
		{"/a", "/a/...", false},
		{"/a/...", "/a", true},
		{"/a/...", "/a/", true},
		{"/a/...", "/a/b/...", true},
		{"/a/...", "/ab", false},
		{"/a/b/...", "/a/...", false},
		{"/...", "/a/...", true},
		{"/a/...", "/...", false},
	}
	for _, test := range tests {
		if got := newRoute(test.first, "", &module{}).hides(newRoute(test.second, "", &module{})); got != test.want {
			t.Errorf("%s hides %s: %t", test.first, test.second, got)
		}
	}
}

func FuzzRoute(f *testing.F) {
	for _, route := range []string{"/", "/foo", "/foo/", "/foo/...", "/..."} {
		for _, path := range []string{"/", "/foo", "/foo/", "/foobar", "/foo/%41", "*"} {
			f.Add(route, path)
		}
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		rt := newRoute(text, "_start", &module{})
		pathInfo, ok := rt.match(path)
		if ok && rt.script+pathInfo != path {
			t.Errorf("%q and %q: SCRIPT_NAME %q and PATH_INFO %q do not make the path", text, path, rt.script, pathInfo)
		}
		if !ok && (text == path || strings.HasSuffix(text, wildcard) && strings.HasPrefix(path, rt.script+"/")) {
			t.Errorf("%q does not match %q", text, path)
		}
		if decoded := decodePath(pathInfo); !utf8.ValidString(decoded) && utf8.ValidString(pathInfo) {
			t.Errorf("%q decodes to %q", pathInfo, decoded)
		}
		if !rt.hides(rt) {
			t.Errorf("%q does not hide itself", text)
		}
	})
}

func TestRoutesFunctionSeesNoVolumes(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "m.wat"), `(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\20\00\00\00\0d\00\00\00")
  (data (i32.const 32) "/route _start")
  (func (export "_routes") ;; prints its route if there is no volume
    (if (i32.eqz (call $fd_prestat_get (i32.const 3) (i32.const 16))) (then (return)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start") unreachable))`)
	gateway, err := New(t.Context(), Config{Modules: []Module{{
		Route: "/", Module: filepath.Join(dir, "m.wat"), Volumes: []guest.Volume{{Guest: "/", Host: dir}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	if routes := gateway.Routes(); len(routes) != 2 || routes[0].Route != "/route" {
		t.Errorf("got %v", routes)
	}
}
