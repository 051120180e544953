package guest

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"golang.org/x/net/dns/dnsmessage"
)

// destination is a server that guests send requests to.
type destination struct {
	*httptest.Server
	arrived chan struct{} // a request for /silent or /stall
	left    chan struct{} // its client is gone
}

func newDestination(t *testing.T) *destination {
	d := &destination{arrived: make(chan struct{}, maxOpen), left: make(chan struct{}, maxOpen)}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.FormValue("status"))
		http.Redirect(w, r, r.FormValue("to"), status)
	})
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("/raw", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, strings.ReplaceAll(r.FormValue("bytes"), "LARGE", strings.Repeat("x", maxResponseHead)))
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.FormValue("size"))
		piece := make([]byte, 32<<10)
		for ; size > 0; size -= len(piece) {
			w.Write(piece[:min(len(piece), size)])
		}
	})
	mux.HandleFunc("/silent", func(w http.ResponseWriter, r *http.Request) { d.block(r) })
	mux.HandleFunc("/stall", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin")
		http.NewResponseController(w).Flush()
		d.block(r)
	})
	d.Server = httptest.NewServer(mux)
	t.Cleanup(d.Close)
	return d
}

// block waits until the client is gone.
func (d *destination) block(r *http.Request) {
	d.arrived <- struct{}{}
	<-r.Context().Done()
	d.left <- struct{}{}
}

// echo answers with the request, as soon as it has all of it.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header()["X-Twice"] = []string{"first", "second"}
	w.Header().Set("X-Long", "seventeen letters")
	fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.Path)
	r.Header.Set("Host", r.Host)
	r.Header.Write(w)
	fmt.Fprintf(w, "%d %v\n", r.ContentLength, r.TransferEncoding)
	w.Write(body)
}

// url is a URL of the server, whose address may be given another host.
func (d *destination) url(host, path string) string {
	return "http://" + strings.Replace(d.Listener.Addr().String(), "127.0.0.1", host, 1) + path
}

func compileOutbound(t testing.TB, cfg Config) *Module {
	return compileFile(t, "testdata/outbound.wasm", cfg)
}

// runOutbound runs a guest of testdata/outbound.wat and returns what it printed, the error that it met, and the log.
func runOutbound(t testing.TB, m *Module, entrypoint string, args ...string) (out string, code httpError, logged string) {
	t.Helper()
	var stdout, logs bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&logs)
	ctx := log.WithLogger(t.Context(), logrus.NewEntry(logger))
	err := m.Run(ctx, &Call{Entrypoint: entrypoint, Args: append(args, make([]string, 5-len(args))...), Stdout: &stdout})
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return stdout.String(), httpError(exit.Code), logs.String()
	}
	if err != nil {
		t.Fatalf("%s %.200q: %v", entrypoint, args, err)
	}
	return stdout.String(), 0, logs.String()
}

func TestOutbound(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	fields := strings.Join([]string{
		"Host:elsewhere.example", "Connection:close, X-Secret", "X-Secret:1", "Transfer-Encoding:chunked", "Content-Length:999",
		"TE:trailers", "Upgrade:h2c", "Proxy-Authorization:Basic x", "x-kept:1\r", "X-Kept: 2", "",
	}, "\n")
	got, code, logged := runOutbound(t, m, "fetch", d.URL+"/echo", "POST", fields, "body")
	status, rest, _ := strings.Cut(got, "\n")
	head, body, _ := strings.Cut(rest, "\n\n")
	if code != 0 || status != "200" || logged != "" {
		t.Errorf("got status %q, error %d, log %q", status, code, logged)
	}
	lines := slices.DeleteFunc(strings.Split(head, "\n"), func(line string) bool { return strings.HasPrefix(line, "date:") })
	if want := []string{"content-length:" + strconv.Itoa(len(body)), "content-type:text/plain; charset=utf-8", "x-long:seventeen letters", "x-twice:first", "x-twice:second"}; !slices.Equal(lines, want) {
		t.Errorf("got header fields %q, want %q", lines, want)
	}
	want := "POST /echo\nContent-Length: 4\r\nHost: " + d.Listener.Addr().String() + "\r\nUser-Agent: WAGI/1\r\nX-Kept: 1\r\nX-Kept: 2\r\n4 []\nbody"
	if body != want {
		t.Errorf("sent\n%s\nwant\n%s", body, want)
	}
}

func TestOutboundHeader(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	tests := []struct {
		name, want string
		code       httpError
	}{
		{"x-twice", "first", 0},
		{"X-TWICE", "first", 0},
		{"X-Long", "", httpBufferTooSmall},
		{"X-Absent", "", httpHeaderNotFound},
		{"", "", httpHeaderNotFound},
		{"a b", "", httpHeaderNotFound},
		{"\xff", "", httpUTF8},
	}
	for _, test := range tests {
		got, code, _ := runOutbound(t, m, "header", d.URL+"/echo", "GET", "", "", test.name)
		if got != test.want || code != test.code {
			t.Errorf("%q: got %q, error %d, want %q, error %d", test.name, got, code, test.want, test.code)
		}
	}
}

func TestOutboundErrors(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{"https://127.0.0.1:1/other"}})
	echo := d.URL + "/echo"
	raw := func(response string) string {
		return d.URL + "/raw?bytes=" + strings.NewReplacer("\r", "%0d", "\n", "%0a", " ", "%20", "\t", "%09").Replace(response)
	}
	tests := []struct {
		name, url, method, fields string
		want                      httpError
		body                      string // that comes before the error
	}{
		{"all well", echo, "GET", "", 0, ""},
		{"any token is a method", echo, "fetch", "", 0, ""},
		{"no text in URL", "http://127.0.0.1/\xff", "GET", "", httpUTF8, ""},
		{"no text in method", echo, "\xff", "", httpUTF8, ""},
		{"no text in field", echo, "GET", "a:\xff", httpUTF8, ""},
		{"other host", "http://127.0.0.2/", "GET", "", httpDestinationNotAllowed, ""},
		{"user looks like the host", "http://127.0.0.1@127.0.0.2/", "GET", "", httpDestinationNotAllowed, ""},
		{"no method", echo, "", "", httpInvalidMethod, ""},
		{"method with blank", echo, "GE T", "", httpInvalidMethod, ""},
		{"tunnel", echo, "CONNECT", "", httpInvalidMethod, ""},
		{"no colon", echo, "GET", "a", httpInvalidEncoding, ""},
		{"empty line", echo, "GET", "a:b\n\nc:d", httpInvalidEncoding, ""},
		{"no field name", echo, "GET", ":b", httpInvalidEncoding, ""},
		{"blank in field name", echo, "GET", "a :b", httpInvalidEncoding, ""},
		{"control in value", echo, "GET", "a:b\rc:d", httpInvalidEncoding, ""},
		{"not ASCII in value", echo, "GET", "a:é", httpInvalidEncoding, ""},
		{"too many fields", echo, "GET", strings.Repeat("a:b\n", maxRequestHead/4+1), httpInvalidEncoding, ""},
		{"no URL", "", "GET", "", httpInvalidURL, ""},
		{"relative", "/echo", "GET", "", httpInvalidURL, ""},
		{"no scheme", "127.0.0.1", "GET", "", httpInvalidURL, ""},
		{"no host", "http:///echo", "GET", "", httpInvalidURL, ""},
		{"open bracket", "http://[::1", "GET", "", httpInvalidURL, ""},
		{"control in URL", "http://127.0.0.1/\n", "GET", "", httpInvalidURL, ""},
		{"too long", echo + strings.Repeat("x", maxRequestHead), "GET", "", httpInvalidURL, ""},
		{"other scheme", "ftp://127.0.0.1/", "GET", "", httpRequestFailed, ""},
		{"nobody listens", "http://127.0.0.1:1/", "GET", "", httpRequestFailed, ""},
		{"no HTTP", raw("garbage"), "GET", "", httpRequestFailed, ""},
		{"nothing", raw(""), "GET", "", httpRequestFailed, ""},
		{"large head", raw("HTTP/1.1 200 OK\r\na: LARGE\r\n\r\n"), "GET", "", httpRequestFailed, ""},
		{"switched protocols", raw("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "GET", "", httpRequestFailed, ""},
		{"body cut off", raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "GET", "", httpRequestFailed, "\n\nabc"},
		{"bad chunk", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx"), "GET", "", httpRequestFailed, ""},
		{"tab in the response's field", raw("HTTP/1.1 200 OK\r\na: b\tc\r\n\r\n"), "GET", "", httpRuntime, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, code, logged := runOutbound(t, m, "fetch", test.url, test.method, test.fields)
			if code != test.want || !strings.HasSuffix(got, test.body) {
				t.Errorf("got error %d, want %d; response %q; log %q", code, test.want, got, logged)
			}
			said := code == httpDestinationNotAllowed || code == httpRequestFailed
			if has := strings.Contains(logged, `outbound request failed`); has != said {
				t.Errorf("got log %q", logged)
			}
		})
	}
}

// Addresses and lengths that lead out of the memory, and handles of nothing.
func TestOutboundMisuse(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	if _, line, _ := runOutbound(t, m, "misuse", d.URL+"/echo", "GET", "", "", "X-Twice"); line != 0 {
		t.Errorf("line %d failed", uint32(line))
	}
}

func TestOutboundMemoryNotFound(t *testing.T) {
	wasm, err := os.ReadFile("testdata/outbound.wasm")
	if err != nil {
		t.Fatal(err)
	}
	wasm = bytes.Replace(wasm, []byte("\x06memory\x02\x00"), []byte("\x06hidden\x02\x00"), 1)
	m, err := Compile(t.Context(), wasm, Config{AllowedHosts: []string{allowAll}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(context.Background())
	if _, code, _ := runOutbound(t, m, "fetch", "http://127.0.0.1/", "GET"); code != httpMemoryNotFound {
		t.Errorf("got error %d", code)
	}
}

func TestAllowedHosts(t *testing.T) {
	d := newDestination(t)
	tests := []struct {
		name    string
		allowed []string
		host    string
		want    httpError
	}{
		{"none", nil, "127.0.0.1", httpDestinationNotAllowed},
		{"scheme and port do not count", []string{"https://127.0.0.1:444/path"}, "127.0.0.1", 0},
		{"second", []string{"http://example.com", "http://127.0.0.1"}, "127.0.0.1", 0},
		{"localhost", []string{"http://localhost"}, "localhost", 0},
		{"case and dot", []string{"http://LocalHost."}, "LOCALHOST", 0},
		{"mapped", []string{"http://127.0.0.1"}, "[::ffff:127.0.0.1]", 0},
		{"localhost is not its address", []string{"http://localhost"}, "127.0.0.1", httpDestinationNotAllowed},
		{"an address is not its name", []string{"http://127.0.0.1"}, "localhost", httpDestinationNotAllowed},
		{"subdomain", []string{"http://localhost"}, "www.localhost", httpDestinationNotAllowed},
		{"all but loopback", []string{allowAll}, "127.0.0.1", httpDestinationNotAllowed},
		{"all but localhost", []string{allowAll}, "localhost", httpDestinationNotAllowed},
		{"all but mapped loopback", []string{allowAll}, "[::ffff:127.0.0.1]", httpDestinationNotAllowed},
		{"all but unspecified", []string{allowAll}, "0.0.0.0", httpDestinationNotAllowed},
		{"all but metadata", []string{allowAll}, "169.254.169.254", httpDestinationNotAllowed},
		{"all and loopback", []string{allowAll, "http://127.0.0.1"}, "127.0.0.1", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := compileOutbound(t, Config{AllowedHosts: test.allowed})
			_, code, logged := runOutbound(t, m, "fetch", d.url(test.host, "/echo"), "GET")
			if code != test.want {
				t.Errorf("got error %d, want %d; log %q", code, test.want, logged)
			}
			dialled := slices.Contains(test.allowed, allowAll) && code != 0
			if strings.Contains(logged, "is not a public address") != dialled {
				t.Errorf("got log %q", logged)
			}
		})
	}
}

func TestAllowedHostsErrors(t *testing.T) {
	for _, entry := range []string{"", "example.com", "example.com:80", "/path", "https://", "http://[::1", "mailto:a@example.com", "https://*.example.com"} {
		_, err := parseAllowedHosts([]string{"https://example.com", entry})
		if err == nil || !strings.Contains(err.Error(), strconv.Quote(entry)) {
			t.Errorf("%q: got error %v", entry, err)
		}
	}
	m, err := Compile(t.Context(), []byte("\x00asm\x01\x00\x00\x00"), Config{Name: "some.wasm", AllowedHosts: []string{"example.com"}})
	if err == nil {
		m.Close(t.Context())
		t.Fatal("compiled")
	}
	if want := `module "some.wasm": allowed host "example.com" is not a URL with a host, such as https://example.com`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestReach(t *testing.T) {
	hosts, err := parseAllowedHosts([]string{allowAll, "http://10.0.0.1", "http://[fd00::1]", "http://localhost", "http://service.example"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		host, addr string
		want       bool
	}{
		{"service.example", "93.184.216.34", true},
		{"service.example", "2606:2800:220:1::1", true},
		{"service.example", "::ffff:93.184.216.34", true},
		{"service.example", "64:ff9b::5db8:d822", true},
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"fd00::1", "fd00::1", true},
		{"fd00::1", "fd00::2", false},
		{"localhost", "127.0.0.1", true},
		{"localhost", "::1", true},
		{"LOCALHOST.", "127.0.0.1", true},
		{"localhost", "10.0.0.1", false},
	}
	for _, addr := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
		"240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd00:ec2::254",
		"fe80::1", "fe80::1%eth0", "2606:2800:220:1::1%eth0", "fec0::1", "ff02::1",
	} {
		tests = append(tests, struct {
			host, addr string
			want       bool
		}{"service.example", addr, false})
	}
	for _, test := range tests {
		if addr := netip.MustParseAddr(test.addr); hosts.reach(test.host, addr) != test.want {
			t.Errorf("%s at %s: got %v", test.host, addr, !test.want)
		}
	}
}

// A public name whose address is a private one leads nowhere.
func TestRebinding(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{"http://service.example"}})
	nameserver := serveNames(t, [4]byte{127, 0, 0, 1})
	m.outbound.dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", nameserver)
	}}
	_, code, logged := runOutbound(t, m, "fetch", d.url("service.example", "/echo"), "GET")
	if code != httpDestinationNotAllowed || !strings.Contains(logged, "127.0.0.1 is not a public address") {
		t.Errorf("got error %d, log %q", code, logged)
	}
}

// serveNames runs a nameserver that has one address for every name.
func serveNames(t *testing.T, addr [4]byte) (listens string) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buf := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(buf[:n]); err != nil {
				t.Error(err)
				return
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: addr}}}
			}
			answer, err := m.Pack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.WriteTo(answer, from)
		}
	}()
	return conn.LocalAddr().String()
}

// Each hop of a redirect must lead to an allowed host.
func TestRedirect(t *testing.T) {
	d := newDestination(t)
	redirect := func(status int, to string) string {
		return fmt.Sprintf("%s/redirect?status=%d&to=%s", d.URL, status, to)
	}
	tests := []struct {
		name    string
		allowed []string
		url     string
		want    httpError
		said    string // what was sent or, if nothing was, logged
	}{
		{"same host", []string{d.URL}, redirect(302, "/echo"), 0, "GET /echo"},
		{"keeps method and body", []string{d.URL}, redirect(307, "/echo"), 0, "POST /echo"},
		{"other allowed host", []string{d.URL, "http://localhost"}, redirect(302, d.url("localhost", "/echo")), 0, "GET /echo"},
		{"refused host", []string{d.URL}, redirect(302, d.url("localhost", "/echo")), httpDestinationNotAllowed, "redirect to localhost"},
		{"second hop", []string{d.URL}, redirect(302, "/redirect?status=302%26to="+d.url("localhost", "/echo")), httpDestinationNotAllowed, "redirect to localhost"},
		{"metadata", []string{d.URL}, redirect(302, "http://169.254.169.254/"), httpDestinationNotAllowed, "redirect to 169.254.169.254"},
		{"private address", []string{d.URL, allowAll}, redirect(302, d.url("localhost", "/echo")), httpDestinationNotAllowed, "127.0.0.1 is not a public address"},
		{"other scheme", []string{d.URL}, redirect(302, "file://127.0.0.1/etc/passwd"), httpRequestFailed, "unsupported protocol scheme"},
		{"loop", []string{d.URL}, d.URL + "/loop", httpRequestFailed, "more than 10 redirects"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := compileOutbound(t, Config{AllowedHosts: test.allowed})
			got, code, logged := runOutbound(t, m, "fetch", test.url, "POST", "", "body")
			if code != test.want || !strings.Contains(got+logged, test.said) || strings.HasPrefix(test.said, "POST") != strings.HasSuffix(got, "\nbody") {
				t.Errorf("got error %d, want %d; response %q; log %q", code, test.want, got, logged)
			}
		})
	}
}

func TestSessions(t *testing.T) {
	d := newDestination(t)
	tests := []struct {
		name string
		set  int
		open int64 // by other guests
		want string
	}{
		{"default", 0, 0, "64\n"},
		{"set", 3, 0, "3\n"},
		{"with other guests", 0, maxOpen - 2, "2\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}, HTTPMaxConcurrency: test.set})
			m.outbound.open.Add(test.open)
			for range 2 {
				if got, code, _ := runOutbound(t, m, "hoard", d.URL+"/echo", "GET"); got != test.want || code != httpTooManySessions {
					t.Errorf("got %q, error %d, want %q", got, code, test.want)
				}
			}
			if got := m.outbound.open.Load(); got != test.open {
				t.Errorf("%d responses count as open, want %d", got, test.open)
			}
		})
	}
}

// Handles, connections and the room for request bodies are free again as soon as a response is closed.
func TestReuse(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}, Memory: 1 << 20})
	body := strings.Repeat("x", 40_000)
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			if got, code, logged := runOutbound(t, m, "reuse", d.URL+"/echo", "POST", "", body); got != "0\n" || code != 0 {
				t.Errorf("got %q, error %d, log %q", got, code, logged)
			}
		})
	}
}

func TestUploadLimit(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	m.outbound.maxSending = 9
	for body, want := range map[string]httpError{"nine byte": 0, "ten bytes!": httpTooManySessions} {
		if _, code, _ := runOutbound(t, m, "fetch", d.URL+"/echo", "POST", "", body); code != want {
			t.Errorf("%d bytes: got error %d, want %d", len(body), code, want)
		}
	}
}

// A body streams through: memory does not grow with it.
func TestLargeBody(t *testing.T) {
	const size = 128 << 20
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, code, logged := runOutbound(t, m, "drain", fmt.Sprintf("%s/large?size=%d", d.URL, size), "GET")
	runtime.ReadMemStats(&after)
	if got != strconv.Itoa(size)+"\n" || code != 0 {
		t.Errorf("got %q, error %d, log %q", got, code, logged)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16<<20 {
		t.Errorf("%d bytes allocated", allocated)
	}
}

func TestOutboundTimeout(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	var err error
	if m.outbound, err = newOutbound(m.config, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/silent": "timeout awaiting response headers", "/stall": errStalled.Error()} {
		if _, code, logged := runOutbound(t, m, "drain", d.URL+path, "GET"); code != httpRequestFailed || !strings.Contains(logged, want) {
			t.Errorf("%s: got error %d, log %q", path, code, logged)
		}
		<-d.left
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if _, err := (&connection{near, time.Millisecond}).Write([]byte("nobody reads")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A guest stops where it waits for a server, and the server sees it go.
func TestStopOutbound(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	gone := errors.New("client gone")
	for _, path := range []string{"/silent", "/stall"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-d.arrived
			cancel(gone)
		}()
		err := m.Run(ctx, &Call{Entrypoint: "drain", Args: []string{d.URL + path, "GET", "", "", ""}})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, gone) {
			t.Errorf("%s: got %v, want context.Canceled because of %q", path, err, gone)
		}
		<-d.left
	}
}

// Responses that a guest leaves open are closed at its end, however that comes.
func TestOutboundLeaksNothing(t *testing.T) {
	d := newDestination(t)
	m := compileOutbound(t, Config{AllowedHosts: []string{d.URL}})
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 5 {
		for entrypoint, want := range map[string]string{
			"abandon":      "nil",
			"abandon-trap": "guest trapped: unreachable",
			"abandon-spin": "guest stopped: context canceled",
		} {
			ctx, cancel := context.WithCancel(t.Context())
			var arrivals sync.WaitGroup
			arrivals.Go(func() {
				<-d.arrived
				<-d.arrived
				if entrypoint == "abandon-spin" {
					cancel()
				}
			})
			err := m.Run(ctx, &Call{Entrypoint: entrypoint, Args: []string{d.URL + "/stall", "GET", "", "", ""}})
			arrivals.Wait() // else those of the next guest may count as this one's
			if got := errorString(err); got != want {
				t.Errorf("%s: got %s, want %s", entrypoint, got, want)
			}
			<-d.left
			<-d.left
			cancel()
		}
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines || openFiles(t) > files; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before; %d open files, %d before", runtime.NumGoroutine(), goroutines, openFiles(t), files)
		}
	}
	if got := m.outbound.open.Load(); got != 0 {
		t.Errorf("%d responses count as open", got)
	}
}

// The roots of trust are the system's, or those that SSL_CERT_FILE names. They are read once a process.
func TestCertificates(t *testing.T) {
	if url := os.Getenv("GUEST_TEST_URL"); url != "" {
		_, code, logged := runOutbound(t, compileOutbound(t, Config{AllowedHosts: []string{url}}), "fetch", url, "GET")
		fmt.Printf("error %d, log %s\n", code, logged)
		return
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for roots, want := range map[string]string{file: "error 0, ", filepath.Join(dir, "absent"): "error 11, log .*there are no CA certificates here"} {
		child := exec.Command(os.Args[0], "-test.run=^TestCertificates$")
		child.Env = append(os.Environ(), "GUEST_TEST_URL="+server.URL, "SSL_CERT_FILE="+roots, "SSL_CERT_DIR="+t.TempDir())
		out, err := child.CombinedOutput()
		if before, after, _ := strings.Cut(want, ".*"); err != nil || !strings.Contains(string(out), before) || !strings.Contains(string(out), after) {
			t.Errorf("%v: got %s, want %q", err, out, want)
		}
	}
}
