package command

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"containerd-shim-wagi-v1/cgi"
)

// startServer serves ../testdata/behave.wat at / on a free port and returns the server and its URL.
func startServer(t *testing.T, certificates []tls.Certificate) (*server, string) {
	t.Helper()
	module := cgi.Module{Route: "/", Module: "../testdata/behave.wat", Limits: cgi.Limits{Timeout: -1}}
	gateway, err := cgi.New(t.Context(), cgi.Config{Modules: []cgi.Module{module}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(context.Background(), gateway, certificates)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.serve(listener); err != http.ErrServerClosed {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		s.http.Close()
		<-ended
	})
	return s, s.url(netip.MustParseAddrPort("127.0.0.1:0"), listener)
}

// begin sends a request and returns its connection and the response once the guest runs.
func begin(t *testing.T, url, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); err != nil {
		t.Fatal(err)
	}
	return conn, reader
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	s, url := startServer(t, nil)
	conn, reader := begin(t, url, "POST /?copy HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
	drained := make(chan error, 1)
	go func() { drained <- s.drain(0, 20*time.Second, make(chan os.Signal)) }()
	for accepts := true; accepts; { // until the listener is closed
		probe, err := net.Dial("tcp", url[len("http://"):])
		if accepts = err == nil; accepts {
			probe.Close()
		}
	}
	if _, err := io.WriteString(conn, "cd"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "abcd" {
		t.Errorf("got %q, %v", body, err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestDrainStopsGuests(t *testing.T) {
	second := make(chan os.Signal, 1)
	second <- os.Interrupt
	tests := map[string]struct {
		grace   time.Duration
		signals chan os.Signal
	}{
		"after the grace time": {50 * time.Millisecond, make(chan os.Signal)},
		"at the second signal": {time.Hour, second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, url := startServer(t, nil)
			_, reader := begin(t, url, "GET /?first HTTP/1.1\r\nHost: h\r\n\r\n")
			if err := s.drain(0, test.grace, test.signals); err != nil {
				t.Error(err)
			}
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(response.Body); err == nil {
				t.Error("the response of a stopped guest looks complete")
			}
		})
	}
}

func TestTLS(t *testing.T) {
	issued := httptest.NewUnstartedServer(nil)
	issued.EnableHTTP2 = true
	issued.StartTLS()
	defer issued.Close()
	key, err := x509.MarshalPKCS8PrivateKey(issued.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	opts := serveOptions{tlsCert: filepath.Join(t.TempDir(), "cert.pem"), tlsKey: filepath.Join(t.TempDir(), "key.pem")}
	writePEM(t, opts.tlsCert, "CERTIFICATE", issued.Certificate().Raw)
	writePEM(t, opts.tlsKey, "PRIVATE KEY", key)
	certificates, err := opts.certificates()
	if err != nil {
		t.Fatal(err)
	}
	_, url := startServer(t, certificates)
	response, err := issued.Client().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if got, want := fmt.Sprintf("%s %s %v", response.Proto, body, err), "HTTP/2.0 hello\n <nil>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func writePEM(t *testing.T, file, kind string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAddress(t *testing.T) {
	tests := []struct{ flag, listen, port, container, want string }{
		{"", "", "", "", "127.0.0.1:3000"},
		{"", "", "", "1", "0.0.0.0:3000"},
		{"", "", "8080", "", "0.0.0.0:8080"},
		{"", "127.0.0.1:1", "8080", "1", "127.0.0.1:1"},
		{"[::1]:2", "127.0.0.1:1", "8080", "1", "[::1]:2"},
		{"", "", "80a", "", "invalid AddrPort"},
	}
	for _, test := range tests {
		t.Setenv("WAGI_LISTEN", test.listen)
		t.Setenv("PORT", test.port)
		t.Setenv("WAGI_CONTAINER", test.container)
		opts := serveOptions{listen: test.flag}
		if got, _ := opts.address(); got.String() != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}
