package cgi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A module reaches the hosts that its configuration lists, and no others.
func TestOutbound(t *testing.T) {
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hi") }))
	defer peer.Close()
	for allowed, want := range map[string]string{"http://127.0.0.1": "0\n", "http://127.0.0.2": "7\n", "": "7\n"} {
		module := Module{Route: "/", Module: "testdata/fetch.wat"}
		if allowed != "" {
			module.AllowedHosts = []string{allowed}
		}
		g, err := New(t.Context(), Config{Modules: []Module{module}})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("GET", "/?"+peer.URL, nil))
		if got := w.Body.String(); w.Code != http.StatusOK || got != want {
			t.Errorf("allowed_hosts %q: status %d, %q, want %q", allowed, w.Code, got, want)
		}
		g.Close()
	}
	_, err := New(t.Context(), Config{Modules: []Module{{Route: "/", Module: "testdata/fetch.wat", AllowedHosts: []string{"a.example"}}}})
	if want := `route "/": module "testdata/fetch.wat": allowed host "a.example" is not a URL with a host`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}
