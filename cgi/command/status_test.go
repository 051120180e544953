package command

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/cgi"
)

func TestStatus(t *testing.T) {
	gateway, err := cgi.New(t.Context(), cgi.Config{})
	if err != nil {
		t.Fatal(err)
	}
	draining, err := cgi.New(t.Context(), cgi.Config{})
	if err != nil {
		t.Fatal(err)
	}
	draining.Drain()
	tests := []struct {
		name   string
		start  func(http.Handler) *httptest.Server
		serve  http.Handler
		args   string
		want   string // @ is the address
		failed bool
	}{
		{"health", httptest.NewServer, gateway, "health", "ready: yes\n", false},
		{"health over TLS", httptest.NewTLSServer, gateway, "health --tls", "ready: yes\n", false},
		{"health while draining", httptest.NewServer, draining, "health", "ready: no: 503 draining\n", true},
		{"health elsewhere", httptest.NewServer, gateway, "health --ready-path /r", "ready: no: 404 Not Found\n", true},
		{"status", httptest.NewServer, gateway, "status", "address  @\nalive    yes\nready    yes\n", false},
		{"status while draining", httptest.NewServer, draining, "status", "address  @\nalive    yes\nready    no: 503 draining\n", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := test.start(test.serve)
			defer server.Close()
			address := server.Listener.Addr().String()
			t.Setenv("WAGI_LISTEN", strings.Replace(address, "127.0.0.1", "0.0.0.0", 1))
			out, err := wagi(test.args)
			if want := strings.ReplaceAll(test.want, "@", address); out != want || (err != nil) != test.failed {
				t.Errorf("got %q, %v, want %q", out, err, want)
			}
		})
	}
}

// wagi runs a command line in this process.
func wagi(args string) (string, error) {
	var out bytes.Buffer
	root := rootCommand()
	root.SetArgs(strings.Fields(args))
	root.SetOut(&out)
	err := root.Execute()
	return out.String(), err
}
