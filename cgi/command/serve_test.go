package command

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"containerd-shim-wagi-v1/cgi"
)

// startServer serves ../testdata/behave.wat at / and echo.wat at /echo, on a free port unless opts say otherwise.
// It returns the server and the URL of its first listener.
func startServer(t *testing.T, opts serveOptions) (*server, string) {
	t.Helper()
	gateway, err := cgi.NewReloader(t.Context(), cgi.Config{Modules: []cgi.Module{
		{Route: "/", Module: "../testdata/behave.wat", Limits: cgi.Limits{Timeout: -1}},
		{Route: "/echo", Module: "../testdata/echo.wat"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if opts.listen == nil {
		opts.listen = []string{"127.0.0.1:0"}
	}
	opts.socketMode = "0600"
	places, err := opts.places()
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := places.open(opts.timeouts.header)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := opts.certificate()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(context.Background(), gateway, opts.timeouts, certificate)
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() {
			if err := s.serve(l); err != http.ErrServerClosed {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		s.http.Close()
		serving.Wait()
	})
	return s, listeners[0].url(s.scheme())
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
	s, url := startServer(t, serveOptions{})
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

func TestEnding(t *testing.T) {
	for _, test := range []struct {
		container, kubernetes string
		delay, grace          time.Duration
	}{
		{"", "", 0, 8 * time.Second},
		{"", "10.96.0.1", 0, 8 * time.Second}, // a laptop's shell beside a cluster
		{"1", "", time.Second, 8 * time.Second},
		{"1", "10.96.0.1", 4 * time.Second, 25 * time.Second},
	} {
		t.Setenv("WAGI_CONTAINER", test.container)
		t.Setenv("KUBERNETES_SERVICE_HOST", test.kubernetes)
		if delay, grace := ending(); delay != test.delay || grace != test.grace {
			t.Errorf("container %q, Kubernetes %q: got %s and %s, want %s and %s", test.container, test.kubernetes, delay, grace, test.delay, test.grace)
		}
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
			s, url := startServer(t, serveOptions{})
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

// A real client sees each protocol.
func TestProtocols(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	cert, key := writeCertificate(t, t.TempDir(), "localhost")
	_, plain := startServer(t, serveOptions{})
	_, secure := startServer(t, serveOptions{tlsCert: cert, tlsKey: key})
	tests := []struct{ url, option, want string }{
		{plain, "--http1.0", "SERVER_PROTOCOL=HTTP/1.0"},
		{plain, "--http1.1", "SERVER_PROTOCOL=HTTP/1.1"},
		{plain, "--http2-prior-knowledge", "SERVER_PROTOCOL=HTTP/2.0"},
		{secure, "--http1.0", "SERVER_PROTOCOL=HTTP/1.0"},
		{secure, "--http1.1", "SERVER_PROTOCOL=HTTP/1.1"},
		{secure, "--http2", "SERVER_PROTOCOL=HTTP/2.0"},
		{secure, "--http2", "X_FULL_URL=" + secure + "/echo"},
	}
	for _, test := range tests {
		t.Run(test.url[:5]+test.option, func(t *testing.T) {
			echo, err := exec.Command("curl", "-sS", "--max-time", "20", "--cacert", cert, test.option, test.url+"/echo").CombinedOutput()
			if err != nil || !strings.Contains(string(echo), test.want+"\n") {
				t.Errorf("want %s, got %v\n%s", test.want, err, echo)
			}
		})
	}
}

// A client that is silent is hung up on: before its head is complete, and between requests.
func TestTimeouts(t *testing.T) {
	_, url := startServer(t, serveOptions{timeouts: timeouts{header: 50 * time.Millisecond, idle: 50 * time.Millisecond}})
	for _, request := range []string{"GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%q: %v", request, err)
		}
	}
}
