package cgi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/log"
)

// behave is a gateway with testdata/behave.wat at /, limited by extra lines of modules.toml.
func behave(t *testing.T, limits string) *httptest.Server {
	t.Helper()
	cfg, err := parseConfig("testdata/modules.toml", []byte("[[module]]\nroute = \"/\"\nmodule = \"behave.wat\"\n"+limits))
	if err != nil {
		t.Fatal(err)
	}
	cfg.TempDir = t.TempDir()
	return startServer(t, *cfg)
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// withProtocols runs a test with a client of HTTP/1.1 and with one of HTTP/2.
func withProtocols(t *testing.T, test func(*testing.T, *http.Client)) {
	var http1, http2 http.Protocols
	http1.SetHTTP1(true)
	http2.SetUnencryptedHTTP2(true)
	for name, protocols := range map[string]*http.Protocols{"http1": &http1, "http2": &http2} {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
			defer client.CloseIdleConnections()
			test(t, client)
		})
	}
}

// send sends a request whose body has the given length, -1 if it is not to be known.
func send(ctx context.Context, url string, body io.Reader, length int64) (*http.Response, error) {
	return sendBy(ctx, http.DefaultClient, url, body, length)
}

func sendBy(ctx context.Context, client *http.Client, url string, body io.Reader, length int64) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = length
	return client.Do(r)
}

func status(t *testing.T, url string) int {
	t.Helper()
	response, err := send(deadline(t), url, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func TestFailureStatus(t *testing.T) {
	tests := []struct {
		name, limits, query string
		want                int
	}{
		{"good", "", "", http.StatusOK},
		{"timeout", `timeout = "50ms"`, "?spin", http.StatusGatewayTimeout},
		{"cpu", `cpu = "20ms"`, "?spin", http.StatusGatewayTimeout},
		{"head too large", "", "?head", http.StatusInternalServerError},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := status(t, behave(t, test.limits).URL+"/"+test.query); got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
		})
	}
}

// A guest that fails after its response has begun must not look like one that succeeded.
func TestFailureBreaksOff(t *testing.T) {
	for name, limits := range map[string]string{"?trap": "", "?output": `max_output = "1MiB"`, "?first": `timeout = "500ms"`} {
		t.Run(name, func(t *testing.T) {
			response, err := send(deadline(t), behave(t, limits).URL+"/"+name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err = io.Copy(io.Discard, response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v, want %v", err, io.ErrUnexpectedEOF)
			}
		})
	}
}

func TestOutputReachesClientWhileGuestRuns(t *testing.T) {
	withProtocols(t, func(t *testing.T, client *http.Client) {
		response, err := sendBy(deadline(t), client, behave(t, `timeout = "none"`).URL+"/?first", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		line, err := bufio.NewReader(response.Body).ReadString('\n')
		if err != nil || line != "hello\n" {
			t.Errorf("got %q, %v", line, err)
		}
	})
}

func TestBodyReachesGuestAsItComes(t *testing.T) {
	withProtocols(t, func(t *testing.T, client *http.Client) {
		server := behave(t, "")
		reader, writer := io.Pipe()
		go func() { _, _ = writer.Write([]byte("one\n")) }()
		response, err := sendBy(deadline(t), client, server.URL+"/?copy", reader, 8)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body := bufio.NewReader(response.Body)
		for range 2 {
			if line, err := body.ReadString('\n'); err != nil || len(line) != 4 {
				t.Fatalf("got %q, %v", line, err)
			}
			_, _ = writer.Write([]byte("two\n")) // the second time the pipe is closed
			writer.Close()
		}
	})
}

func TestLongBodies(t *testing.T) {
	withProtocols(t, func(t *testing.T, client *http.Client) {
		server := behave(t, "")
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		for name, length := range map[string]int64{"known length": int64(len(sent)), "unknown length": -1} {
			t.Run(name, func(t *testing.T) {
				response, err := sendBy(deadline(t), client, server.URL+"/?copy", bytes.NewReader(sent), length)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				got, err := io.ReadAll(response.Body)
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("got %d bytes, %v, want %d", len(got), err, len(sent))
				}
			})
		}
	})
}

// A guest may leave its body unread: the connection goes on, or is closed, but the next request is answered.
func TestUnreadBodies(t *testing.T) {
	withProtocols(t, func(t *testing.T, client *http.Client) {
		server := behave(t, "")
		for _, length := range []int{1, lingerBytes, lingerBytes + 1, 4 * lingerBytes} {
			response, err := sendBy(deadline(t), client, server.URL, bytes.NewReader(make([]byte, length)), int64(length))
			if err != nil {
				t.Fatalf("%d bytes: %v", length, err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || string(body) != "hello\n" {
				t.Errorf("%d bytes: %q, %v", length, body, err)
			}
			response.Body.Close()
		}
	})
}

func TestSpoolLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	b, err := spool(strings.NewReader(strings.Repeat("x", maxSpoolMemory+1)), dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.file == nil || b.length != maxSpoolMemory+1 {
		t.Errorf("file %v, length %d", b.file, b.length)
	}
	b.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestSpoolWithoutSpace(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	b := &body{file: full}
	defer b.Close()
	err = b.fill(strings.NewReader("x"))
	if statusOf(err) != http.StatusInsufficientStorage || !strings.Contains(fmt.Sprint(err), "/dev/full") || reasonOf(err) != "other" {
		t.Errorf("%v, status %d, reason %s", err, statusOf(err), reasonOf(err))
	}
}

// The second request waits for the only guest, so it is answered as soon as the guest of the first is stopped.
func TestClientGoneStopsGuest(t *testing.T) {
	withProtocols(t, func(t *testing.T, client *http.Client) {
		server := behave(t, "timeout = \"none\"\nmax_concurrency = 1\nqueue = 1")
		for _, unread := range []string{"", "body", strings.Repeat("x", 50000)} {
			ctx, cancel := context.WithCancel(deadline(t))
			response, err := sendBy(ctx, client, server.URL+"/?first", strings.NewReader(unread), int64(len(unread)))
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			response.Body.Close()
			if got := status(t, server.URL); got != http.StatusOK {
				t.Errorf("%d bytes unread: status %d", len(unread), got)
			}
		}
	})
}

func TestBrokenBodyStopsGuest(t *testing.T) {
	server := behave(t, "timeout = \"none\"\nmax_concurrency = 1\nqueue = 1")
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /?copy HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil { // the guest has begun
		t.Fatal(err)
	}
	conn.Close()
	if got := status(t, server.URL); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
}

// A client that stops in the middle of its body holds a guest no longer than the body's timeout.
func TestBodyTimeout(t *testing.T) {
	module := Module{Route: "/", Module: "testdata/behave.wat", Limits: Limits{Timeout: -1}}
	server := startServer(t, Config{Modules: []Module{module}, BodyTimeout: 50 * time.Millisecond})
	tests := map[string]struct{ request, want string }{
		"known length":   {"POST /?copy HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na", "\r\n1\r\na\r\n"}, // the response breaks off
		"unknown length": {"POST /?copy HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na", "HTTP/1.1 408 "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
			if _, err := io.WriteString(conn, test.request); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.Contains(string(answer), test.want) || bytes.HasSuffix(answer, []byte("\r\n0\r\n\r\n")) {
				t.Errorf("got %q, %v", answer, err)
			}
		})
	}
}

// A client that does not read its response holds a guest no longer than the timeout.
func TestTimeoutStopsGuestThatWrites(t *testing.T) {
	withProtocols(t, func(t *testing.T, client *http.Client) {
		server := behave(t, "timeout = \"300ms\"\nmax_concurrency = 1\nqueue = 1")
		response, err := sendBy(deadline(t), client, server.URL+"/?output", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got := status(t, server.URL); got != http.StatusOK && got != http.StatusGatewayTimeout {
			t.Errorf("status %d", got)
		}
		if got := status(t, server.URL); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
	})
}

func TestConcurrencyLimit(t *testing.T) {
	server := behave(t, "timeout = \"none\"\nmax_concurrency = 1\nqueue = 0")
	response, err := send(deadline(t), server.URL+"/?first", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	refused, err := send(deadline(t), server.URL, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Body.Close()
	if refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, header %v", refused.StatusCode, refused.Header)
	}
}

func TestReadiness(t *testing.T) {
	gateway, err := New(context.Background(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) int {
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	if health, ready := get("/healthz"), get("/readyz"); health != 200 || ready != 200 {
		t.Errorf("healthz %d, readyz %d", health, ready)
	}
	gateway.Drain()
	if health, ready := get("/healthz"), get("/readyz"); health != 200 || ready != 503 {
		t.Errorf("draining: healthz %d, readyz %d", health, ready)
	}
	w := httptest.NewRecorder()
	gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if got := w.Header().Get("Connection"); got != "close" {
		t.Errorf("draining: Connection %q, want close", got)
	}
}

func TestHealthPathsCanBeMovedAndSwitchedOff(t *testing.T) {
	gateway, err := New(context.Background(), Config{HealthPath: "/alive", ReadyPath: "off"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/alive": 200, "/healthz": 404, "/readyz": 404} {
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestStderr(t *testing.T) {
	var logged bytes.Buffer
	logger := log.L.Dup()
	logger.Logger.SetOutput(&logged)
	t.Cleanup(func() { logger.Logger.SetOutput(os.Stderr) })
	file := stderrFile(t.TempDir(), "/x/...")
	s := newStderr(func() *log.Entry { return logger.WithField("route", "/x") }, file)
	pieces := []string{"one\r\ntw", "o\n\n", strings.Repeat("y", maxStderrLine+1), "\nlast"}
	for _, piece := range pieces {
		if n, err := s.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	s.close()
	got := logged.String()
	for _, want := range []string{"line=one ", "line=two ", "line=" + strings.Repeat("y", maxStderrLine) + " ", "line=y ", "line=last ", "route=/x"} {
		if !strings.Contains(got, want) {
			t.Errorf("log lacks %.20q", want)
		}
	}
	if n := strings.Count(got, "\n"); n != 5 {
		t.Errorf("%d entries, want 5", n)
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != strings.Join(pieces, "") {
		t.Errorf("kept %d bytes, %v", len(kept), err)
	}
}

// Everything at once, with clients that leave; nothing may be left over.
func TestHammer(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("requests", func(t *testing.T) {
		server := behave(t, "timeout = \"200ms\"\nmax_concurrency = 8\nqueue = 1000")
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				for _, query := range []string{"", "?copy", "?trap", "?first", "?spin", "?head", "?stderr", "?copy"} {
					ctx, cancel := context.WithTimeout(deadline(t), time.Duration(i*10+5)*time.Millisecond)
					response, err := send(ctx, server.URL+"/"+query, strings.NewReader("0123456789"), int64(10-11*(i%2)))
					if err == nil {
						_, _ = io.Copy(io.Discard, response.Body) // that it may break off is what is tried
						response.Body.Close()
					}
					cancel()
				}
			})
		}
		wait.Wait()
		if got := status(t, server.URL); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before && time.Now().Before(end); {
		runtime.Gosched()
	}
	if left := runtime.NumGoroutine() - before; left > 0 {
		t.Errorf("%d goroutines are left", left)
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "text.wat"), "(module\n  (func (i32.cosnt 1)))")
	writeFile(t, filepath.Join(dir, "junk.wasm"), "\x00asm junk")
	writeFile(t, filepath.Join(dir, "noroutes.wat"), printerOf("_routes", ""))
	tests := []struct{ module, env, want string }{
		{"missing.wasm", "", `modules.toml:1:3: route "/": open missing.wasm: no such file or directory`},
		{"text.wat", "", `text.wat:2:10: unknown instruction i32.cosnt`},
		{"junk.wasm", "", `modules.toml:1:3: route "/": module "junk.wasm": `},
		{"noroutes.wat", "", `modules.toml:1:3: route "/": _routes: printed nothing`},
		{"oci:NAME", "", `module "oci:NAME": want oci:NAME:TAG or oci://HOST/NAME:TAG`},
		{"bindle:name/1.0.0", "", `module "bindle:name/1.0.0": Bindle is gone: name a file or a reference oci:NAME:TAG`},
		{"https://host/x", "", `module "https://host/x": "https" is no scheme of a module: name a file or a reference oci:NAME:TAG`},
		{"file://elsewhere/x", "", `want file:///PATH`},
		{"text.wat", "${WAGI_TEST_UNSET}", `environment "A": ${WAGI_TEST_UNSET} is not set`},
	}
	for _, test := range tests {
		text := fmt.Sprintf("[[module]]\nroute = '/'\nmodule = '%s'\nenvironment.A = '%s'", test.module, test.env)
		cfg, err := parseConfig(filepath.Join(dir, "modules.toml"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		gateway, err := New(context.Background(), *cfg)
		if err == nil {
			gateway.Close()
			t.Errorf("%s: no error", test.module)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, want %q", test.module, err, test.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	text := `[[module]]
route = "/a/..."
module = "behave.wat"
volumes = { "/data" = "missing:ro" }
[[module]]
route = "/a/b"
module = "behave.wat"
entrypoint = "main"
[[module]]
route = "/healthz"
module = "behave.wat"
[[module]]
route = "/alive"
module = "behave.wat"
`
	cfg, err := parseConfig("testdata/modules.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	cfg.HealthPath = "/alive"
	gateway, err := New(context.Background(), *cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	got := strings.Join(gateway.Warnings(), "\n")
	if strings.Contains(got, `route "/healthz"`) {
		t.Errorf("got\n%s\nabout a route that can match", got)
	}
	for _, want := range []string{
		`testdata/modules.toml:5:3: route "/a/b" can never match: "/a/..." comes first`,
		`testdata/modules.toml:1:3: volume "/data": missing is no directory`,
		`testdata/modules.toml:5:3: module "behave.wat": entrypoint "main"`,
		`testdata/modules.toml:12:3: route "/alive" can never match: the gateway answers there itself`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant %s", got, want)
		}
	}
}

// A body that breaks off is the client's fault, also when the client still listens.
func TestBrokenBody(t *testing.T) {
	address := behave(t, "").Listener.Addr().String()
	for _, request := range []string{
		"POST /?read HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
		"POST /?read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
			t.Errorf("%q: answer %q, %v", request, answer, err)
		}
	}
}

// A request whose end another server might see elsewhere is answered, and nothing behind it on its connection is a request.
// RFC 9112 §6.1.
func TestAmbiguousRequestEndsConnection(t *testing.T) {
	const smuggled = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	tests := map[string]struct {
		request string
		ends    bool
	}{
		"both fields":         {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
		"chunked":             {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
		"chunked, no route":   {"POST /no HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
		"both fields, 1.0":    {"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0", true},
		"length":              {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n0", false},
		"no body, 1.0":        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
		"chunked, 1.0":        {"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", true},
		"another coding, 1.1": {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", true},
	}
	address := behave(t, "").Listener.Addr().String()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
			if _, err := io.WriteString(conn, test.request+smuggled+"GET /no HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			answers, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			want := 3
			if test.ends {
				want = 1
			}
			if got := bytes.Count(answers, []byte("HTTP/1.")); got != want {
				t.Errorf("%d answers, want %d:\n%s", got, want, answers)
			}
		})
	}
}
