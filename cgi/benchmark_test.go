package cgi

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkServeHTTP is what a small request costs from the handler on: net/http before it is not in.
func BenchmarkServeHTTP(b *testing.B) {
	gateway, err := New(b.Context(), Config{Modules: []Module{{Route: "/hello", Module: "guest/testdata/hello.wasm"}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := gateway.Close(); err != nil {
			b.Error(err)
		}
	})
	r := httptest.NewRequest(http.MethodGet, "http://localhost:3000/hello?a=1", nil)
	r.RequestURI = "/hello?a=1"
	r.Header = http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}}
	b.ReportAllocs()
	for b.Loop() {
		w := &discard{header: http.Header{}}
		gateway.ServeHTTP(w, r)
		if w.status != http.StatusOK || w.bytes != len("hello\n") {
			b.Fatalf("got status %d and %d bytes", w.status, w.bytes)
		}
	}
}

// discard counts what a handler answers.
type discard struct {
	header        http.Header
	status, bytes int
}

func (d *discard) Header() http.Header { return d.header }

func (d *discard) WriteHeader(status int) { d.status = status }

func (d *discard) Write(p []byte) (int, error) {
	d.bytes += len(p)
	return len(p), nil
}
