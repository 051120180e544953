package cgi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"containerd-shim-wagi-v1/cgi/guest"
)

// FuzzResponse prints anything, in pieces, as a guest would: the client must get a well-formed response, the same for all ways to cut it.
func FuzzResponse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v["output"], 3)
	}
	f.Fuzz(func(t *testing.T, output string, cut int) {
		whole := printTo(t, output)
		cut = max(0, min(cut, len(output)))
		if pieces := printTo(t, output[:cut], output[cut:]); !slices.Equal(pieces, whole) {
			t.Errorf("in pieces %q, whole %q", pieces, whole)
		}
	})
}

// printTo prints to a response and says what became of it: the error, or the redirect, or status, fields and body.
func printTo(t *testing.T, pieces ...string) []string {
	life := &lifetime{request: context.Background()}
	defer life.close()
	w := httptest.NewRecorder()
	out := &response{w: w, life: life, work: new(guest.Work), limit: -1}
	for _, piece := range pieces {
		if _, err := out.Write([]byte(piece)); err != nil {
			out.abandon()
			return []string{err.Error()}
		}
	}
	redirect, err := out.end()
	if err != nil {
		return []string{err.Error()}
	}
	if redirect != "" {
		return []string{redirect}
	}
	if w.Code < 200 || w.Code > 999 {
		t.Errorf("status %d", w.Code)
	}
	sent := []string{strconv.Itoa(w.Code), w.Body.String()}
	for name, values := range w.Header() {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			t.Errorf("field %q: %q", name, values)
		}
		if slices.Contains(framing, name) && name != "Content-Length" {
			t.Errorf("framing field %q", name)
		}
		if name != "Content-Length" { // that is missing once the response is held back for too long
			sent = append(sent, name+": "+strings.Join(values, "\n"))
		}
	}
	slices.Sort(sent)
	return sent
}

// The timeout may strike at any point of a response. The client gets an error's status, a response that looks broken off, or a
// complete one, and never a connection that ends without a word.
func TestResponseExpires(t *testing.T) {
	const short, long = "Content-Type: text/plain\n\nhello", 2 * holdBytes
	type step func(*response) error
	end := func(o *response) error { _, err := o.end(); return err }
	print := func(text string) step {
		return func(o *response) error { _, err := o.Write([]byte(text)); return err }
	}
	flush := func(o *response) error { o.flush(); return context.Cause(o.life) }
	expire := func(o *response) error { o.life.cancel(errTimeout); o.expire(); return nil }
	during := func(next step) step { // expires when the head is on its way
		return func(o *response) error {
			o.w = &expiringWriter{o.w, func() { expire(o) }}
			return next(o)
		}
	}
	tests := map[string]struct {
		steps  []step
		status int
		body   string // empty: it breaks off
	}{
		"before the head":         {[]step{print(short), expire, end}, http.StatusGatewayTimeout, ""},
		"before the head, late":   {[]step{print(short), expire, flush}, http.StatusGatewayTimeout, ""},
		"before much":             {[]step{expire, print(short + strings.Repeat("x", long))}, http.StatusGatewayTimeout, ""},
		"with the head":           {[]step{print(short), during(flush), end}, http.StatusOK, ""},
		"with much":               {[]step{during(print(short + strings.Repeat("x", long))), print("!")}, http.StatusOK, ""},
		"after the head":          {[]step{print(short), flush, expire, end}, http.StatusOK, ""},
		"with the whole":          {[]step{print(short), during(end)}, http.StatusOK, "hello"},
		"after the whole":         {[]step{print(short), end, expire}, http.StatusOK, "hello"},
		"after the head and rest": {[]step{print(short), flush, print("!"), end, expire}, http.StatusOK, "hello!"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				life := &lifetime{request: r.Context()}
				defer life.close()
				out := &response{w: w, life: life, work: new(guest.Work), limit: -1}
				defer out.release()
				for _, step := range test.steps {
					if err := step(out); err != nil {
						out.abandon()
						if out.sent() {
							panic(http.ErrAbortHandler)
						}
						w.Header().Set("Content-Length", "0") // as fail does
						w.WriteHeader(statusOf(err))
						return
					}
				}
			}))
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetHTTP1(true)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Start()
			defer server.Close()
			withProtocols(t, func(t *testing.T, client *http.Client) {
				response, err := sendBy(deadline(t), client, server.URL, nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if response.StatusCode != test.status || test.body != "" && string(body) != test.body ||
					(err != nil) != (test.status == http.StatusOK && test.body == "") {
					t.Errorf("status %d, %d bytes: %.10q, %v; want status %d, %q", response.StatusCode, len(body), body, err, test.status, test.body)
				}
			})
		})
	}
}

// A head leaves though the script goes on, also that of a response that has no body.
func TestHeadLeavesEarly(t *testing.T) {
	for _, head := range []string{"Status: 200\n\n", "Status: 204\n\n", "Status: 304\n\n"} {
		module := filepath.Join(t.TempDir(), "head.wat")
		text := fmt.Sprintf(`(module
			(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
			(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
			(memory (export "memory") 1)
			(data (i32.const 0) "\10\00\00\00\%02x\00\00\00" "\80\00\00\00\01\00\00\00" %q)
			(func (export "_start")
				(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
				(drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 64)))))`, len(head), head)
		if err := os.WriteFile(module, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		server := startServer(t, Config{Modules: []Module{{Route: "/", Module: module}}})
		body, input := io.Pipe()
		response, err := sendBy(deadline(t), http.DefaultClient, server.URL, body, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := "Status: " + strconv.Itoa(response.StatusCode) + "\n\n"; got != head {
			t.Errorf("got %q, want %q", got, head)
		}
		input.Close()
		response.Body.Close()
	}
}

// expiringWriter calls expire when the head is given to it.
type expiringWriter struct {
	http.ResponseWriter
	expire func()
}

func (w *expiringWriter) WriteHeader(status int) {
	w.expire()
	w.ResponseWriter.WriteHeader(status)
}

func (w *expiringWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
