package cgi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reader reads a file of its volume before its resume point and prints it after.
const reader = `(module
	(import "wagi" "resume" (func $resume))
	(import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
	(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
	(memory (export "memory") 1)
	(data (i32.const 0) "text")
	(func $check (param $errno i32) (if (local.get $errno) (then unreachable)))
	(func (export "_start")
		(call $check (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0)
			(i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8)))
		(i32.store (i32.const 16) (i32.const 1024))
		(i32.store (i32.const 20) (i32.const 1024))
		(call $check (call $fd_read (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 20)))
		(call $check (call $fd_close (i32.load (i32.const 8))))
		(call $resume)
		(call $check (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))`

// A module is started when it is loaded, and again when it is reloaded: what it has read may have changed.
func TestResumeReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "modules.toml")
	writeFile(t, filepath.Join(dir, "reader.wat"), reader)
	writeFile(t, file, fmt.Sprintf("[[module]]\nroute = '/'\nmodule = 'reader.wat'\nvolumes = { '/' = '%s' }\nresume = true\n", filepath.ToSlash(dir)))
	writeText := func(text string) { writeFile(t, filepath.Join(dir, "text"), "Content-Type: text/plain\n\n"+text) }
	load := func() *Config {
		cfg, err := LoadConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	writeText("one")
	r := newReloader(t, *load())
	writeText("two")
	for range 3 {
		if got, want := r.get("/"), "200 one"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := r.Reload(t.Context(), *load()); err != nil {
		t.Fatal(err)
	}
	if got, want := r.get("/"), "200 two"; got != want {
		t.Errorf("after the reload: got %q, want %q", got, want)
	}
	if err := os.Remove(filepath.Join(dir, "text")); err != nil {
		t.Fatal(err)
	}
	err := r.Reload(t.Context(), *load())
	want := file + `:1:3: route "/": module "reader.wat": did not come to its resume point: guest trapped: unreachable`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if got, want := r.get("/"), "200 two"; got != want {
		t.Errorf("after a reload that failed: got %q, want %q", got, want)
	}
}

// What a module is given before its resume point.
func TestResumeStart(t *testing.T) {
	cfg, err := parseConfig("modules.toml", []byte(`
		[[module]]
		route = "/a/..."
		module = "a.wasm"
		argv = "ruby /app/main.rb ${SCRIPT_NAME} ${ARGS}"
		environment = { NAME = "value", HTTP_X = "y", QUERY_STRING = "dropped" }
		resume = true
		[[module]]
		route = "/..."
		module = "b.wasm"
		resume = true
		[[module]]
		route = "/c"
		module = "c.wasm"
		resume = false`))
	if err != nil {
		t.Fatal(err)
	}
	tests := []string{
		`true ["ruby" "/app/main.rb" "/a"] ["ALL=1" "NAME=value" "HTTP_X=y"]`,
		`true ["/"] ["ALL=1"]`,
		`false [] []`,
	}
	for n, want := range tests {
		m := &module{Module: cfg.Modules[n]}
		if err := m.setEnvironment([]string{"ALL=1"}); err != nil {
			t.Fatal(err)
		}
		got := m.guestConfig(cfg)
		if got := fmt.Sprintf("%v %q %q", got.Resume, got.StartArgs, got.StartEnv); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, err := parseConfig("modules.toml", []byte("[[module]]\nroute = '/'\nmodule = 'a.wasm'\nresume = 'yes'\n")); err == nil ||
		err.Error() != `modules.toml:4:1: key "resume": want true or false, not "yes"` {
		t.Errorf("got %v", err)
	}
}
