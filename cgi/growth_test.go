package cgi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// growth begins to measure how much memory Go takes from the system.
func growth() (grown func() uint64) {
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	return func() uint64 {
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		return after.Sys - min(before.Sys, after.Sys)
	}
}

// small is a module that prints a number.
const small = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00" "\20\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\0a\0a%05d\0a")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`

// TestManyModules serves a thousand modules by one gateway.
func TestManyModules(t *testing.T) {
	const n = 1000
	dir := t.TempDir()
	var modules []Module
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("%d.wat", i))
		if err := os.WriteFile(file, fmt.Appendf(nil, small, i), 0o600); err != nil {
			t.Fatal(err)
		}
		modules = append(modules, Module{Route: fmt.Sprintf("/%d", i), Module: file})
	}
	server := startServer(t, Config{Modules: modules})
	for i := range n {
		response, err := http.Get(fmt.Sprintf("%s/%d", server.URL, i))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := fmt.Sprintf("%05d\n", i); err != nil || string(body) != want {
			t.Fatalf("/%d: got %q, %v, want %q", i, body, err, want)
		}
	}
}

// TestManyWaitingGuests has five thousand guests that wait for their input, answers another request meanwhile, and then them.
func TestManyWaitingGuests(t *testing.T) {
	const n = 5000
	gateway, err := New(t.Context(), Config{
		Limits:  Limits{MaxConcurrency: n + 1, Timeout: -1},
		Modules: []Module{{Route: "/", Module: "testdata/behave.wat"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	grown := growth()
	input := make(chan struct{})
	var waiting, ended sync.WaitGroup
	waiting.Add(n)
	for range n {
		ended.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "/?read", &lateByte{waiting.Done, input})
			r.ContentLength = 1
			serveHello(t, gateway, r)
		})
	}
	waiting.Wait()
	serveHello(t, gateway, httptest.NewRequest(http.MethodGet, "/", nil))
	if each := grown() / n; each > 64<<10 {
		t.Errorf("a guest that waits takes %d KiB of Go's memory", each>>10)
	}
	close(input)
	ended.Wait()
	if err := gateway.Close(); err != nil {
		t.Error(err)
	}
}

func serveHello(t *testing.T, gateway *Gateway, r *http.Request) {
	w := httptest.NewRecorder()
	gateway.ServeHTTP(w, r)
	if w.Code != http.StatusOK || w.Body.String() != "hello\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

// lateByte is a body of one byte that comes when input is closed.
type lateByte struct {
	waits func() // called when somebody waits for it; nil: it was
	input <-chan struct{}
}

func (b *lateByte) Read(p []byte) (int, error) {
	if b.waits == nil {
		return 0, io.EOF
	}
	b.waits()
	b.waits = nil
	<-b.input
	return copy(p, "x"), nil
}

// TestBodiesTakeConstantMemory moves long bodies through a guest, in and out, by each protocol.
func TestBodiesTakeConstantMemory(t *testing.T) {
	const n = 128 << 20
	withProtocols(t, func(t *testing.T, client *http.Client) {
		server := behave(t, "")
		grown := growth()
		response, err := sendBy(deadline(t), client, server.URL+"/?copy", io.LimitReader(zeros{}, n), n)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got, err := io.Copy(io.Discard, response.Body); got != n || err != nil {
			t.Errorf("got %d bytes, %v", got, err)
		}
		if bytes := grown(); bytes > n/4 {
			t.Errorf("%d MiB took %d MiB", n>>20, bytes>>20)
		}
	})
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
