package cgi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What requests are kept in is used again: nothing of one may show in another, however it has ended.
func TestAnswersDoNotMix(t *testing.T) {
	server := startServer(t, Config{
		Modules: []Module{
			{Route: "/echo/...", Module: "testdata/echo.wat"},
			{Route: "/", Module: "testdata/behave.wat", Limits: Limits{Timeout: 50 * time.Millisecond, MaxConcurrency: 64}},
		},
		TempDir: t.TempDir(),
	})
	disturb := func(query string, patience time.Duration) {
		ctx, cancel := context.WithTimeout(deadline(t), patience)
		defer cancel()
		if response, err := send(ctx, server.URL+"/"+query, strings.NewReader("disturbing"), 10); err == nil {
			_, _ = io.Copy(io.Discard, response.Body) // that it may break off is what is tried
			response.Body.Close()
		}
	}
	ask := func(name string) error {
		r, err := http.NewRequestWithContext(deadline(t), http.MethodPost, server.URL+"/echo/"+name+"?q="+name, strings.NewReader("body "+name))
		if err != nil {
			return err
		}
		r.Header.Set("X-Request-Id", name)
		r.Header.Set("X-"+name, "field")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		text := string(b)
		for _, want := range []string{
			"arg=/echo/" + name + "\n", "arg=q=" + name + "\n", "\nPATH_INFO=/" + name + "\n", "\nQUERY_STRING=q=" + name + "\n",
			"\nHTTP_X_REQUEST_ID=" + name + "\n", "\nHTTP_X_" + strings.ToUpper(name) + "=field\n", "\n\nbody " + name,
		} {
			if strings.Count(text, want) != 1 {
				return fmt.Errorf("%d times %q in %s", strings.Count(text, want), want, text)
			}
		}
		if strings.Contains(text, "disturbing") || strings.Count(text, "=field") != 1 {
			return fmt.Errorf("request %s got %s", name, text)
		}
		if id := response.Header["X-Request-Id"]; len(id) != 1 || id[0] != name {
			return fmt.Errorf("request %s got the id %q", name, id)
		}
		return err
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 8 {
				for _, query := range []string{"", "?copy", "?trap", "?first", "?spin", "?large", "?error"} {
					disturb(query, time.Duration(5+20*(n%4))*time.Millisecond)
					if err := ask(fmt.Sprintf("%c%dx%s", 'a'+i, n, strings.Trim(query, "?"))); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
}

// To put a large memory back takes longer than a client should wait for its answer.
func TestAnswerLeavesBeforeMemoryIsPutBack(t *testing.T) {
	small, err := os.ReadFile("testdata/behave.wat")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "large.wat")
	large := strings.Replace(string(small), `(memory (export "memory") 4)`, `(memory (export "memory") 512)`, 1)
	if err := os.WriteFile(file, []byte(large), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway, err := New(t.Context(), Config{
		Modules: []Module{{Route: "/large", Module: file}, {Route: "/small", Module: "testdata/behave.wat"}},
		Limits:  Limits{Timeout: 500 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gateway.Close(); err != nil {
			t.Error(err)
		}
	})
	for target, want := range map[string]struct {
		status  int
		flushed bool
		length  string
	}{
		"/small":      {200, false, ""},
		"/large":      {200, true, "6"},
		"/small?spin": {504, false, "0"},
		"/large?spin": {504, true, "0"},
	} {
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if length := w.Header().Get("Content-Length"); w.Code != want.status || w.Flushed != want.flushed || length != want.length {
			t.Errorf("%s: status %d, flushed %t, length %q; want %v", target, w.Code, w.Flushed, length, want)
		}
	}
}

// A script need not print a body for HEAD. That says nothing about the length of the one that GET has, RFC 9110 §8.6.
func TestHeadWithoutBody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "head.wat")
	const text = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 512)
  (data (i32.const 0) "\08\00\00\00\1a\00\00\00Content-Type: text/plain\0a\0a")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 4096)))))`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := startServer(t, Config{Modules: []Module{{Route: "/", Module: file}}})
	response, err := http.Head(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if length, ok := response.Header["Content-Length"]; response.StatusCode != http.StatusOK || ok {
		t.Errorf("status %d, Content-Length %q; want 200 and none", response.StatusCode, length)
	}
}
