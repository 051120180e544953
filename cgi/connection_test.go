package cgi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// No byte of a body is taken for a request: unless the body has been read to its end, the connection ends with the response.
// RFC 9112 §9.3.
func TestUnreadBodyEndsConnection(t *testing.T) {
	const smuggled = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
	const length = " HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"
	const chunked = " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	const old = " HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 100\r\n\r\n"
	tests := map[string]struct{ request, want string }{
		"no body":                     {"POST /" + length, "200 OK"},
		"part of a body":              {"POST /" + length + "part", "200 OK"},
		"expected":                    {"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n", "200 OK"},
		"HTTP/1.0":                    {"POST /" + old + "part", "200 OK"},
		"guest times out":             {"POST /spin?spin" + length + "part", "504 Gateway Timeout"},
		"guest times out, HTTP/1.0":   {"POST /spin?spin" + old + "part", "504 Gateway Timeout"},
		"body times out":              {"POST /spin?read" + length + "part", "504 Gateway Timeout"},
		"body times out, chunked":     {"POST /spin?read" + chunked + "5\r\npart", "408 Request Timeout"},
		"response is not held back":   {"POST /?large" + length + "part", "200 OK"},
		"no route":                    {"POST /none" + length, "404 Not Found"},
		"no route, chunked":           {"POST /none" + chunked, "404 Not Found"},
		"no route, HTTP/1.0":          {"POST /none" + old, "404 Not Found"},
		"health":                      {"POST /healthz" + length, "200 OK"},
		"body is too large":           {"POST /small" + length, "413 Request Entity Too Large"},
		"body is too large, part":     {"POST /small" + length + "part", "413 Request Entity Too Large"},
		"body is too large, chunked":  {"POST /small" + chunked + "5\r\n01234\r\n", "413 Request Entity Too Large"},
		"body is too large to linger": {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", "200 OK"},
	}
	address := startServer(t, Config{Modules: []Module{
		{Route: "/", Module: "testdata/behave.wat"},
		{Route: "/spin", Module: "testdata/behave.wat", Limits: Limits{Timeout: 300 * time.Millisecond}},
		{Route: "/small", Module: "testdata/behave.wat", Limits: Limits{MaxBody: 4}},
	}}).Listener.Addr().String()
	var wait sync.WaitGroup
	for name, test := range tests {
		wait.Go(func() {
			answers, err := converse(address, test.request, smuggled)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if line, _, _ := strings.Cut(answers, "\r\n"); !strings.HasSuffix(line, test.want) || strings.Count(answers, "HTTP/1.") != 1 {
				t.Errorf("%s: want one answer, %s, got\n%.1000s", name, test.want, answers)
			}
			if strings.Contains(answers, "chunked") && !strings.HasSuffix(answers, "\r\n0\r\n\r\n") {
				t.Errorf("%s: the answer breaks off", name)
			}
		})
	}
	wait.Wait()
}

// converse sends a request and, when the answer begins, what follows it on the connection. It returns all answers until the end.
func converse(address, request, next string) (answers string, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(lingerTime - time.Second)) // it is open
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(3 * lingerTime)) // it is open
	_, _ = io.WriteString(conn, next)                    // the connection may have ended
	rest, err := io.ReadAll(conn)
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil
	}
	return string(first) + string(rest), err
}

// A guest that is stopped after it has read its body leaves no connection that is good for nothing.
func TestTimeoutAfterBody(t *testing.T) {
	server := behave(t, `timeout = "200ms"`)
	for range 3 {
		response, err := send(deadline(t), server.URL+"/?in", strings.NewReader("body"), 4)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := status(t, server.URL); response.StatusCode != http.StatusGatewayTimeout || got != http.StatusOK {
			t.Errorf("status %d, then %d", response.StatusCode, got)
		}
	}
}

// A connection goes on when a body that its script leaves unread has arrived.
func TestArrivedBodyKeepsConnection(t *testing.T) {
	conn, err := net.Dial("tcp", behave(t, "").Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
	for _, path := range []string{"/", "/?read", "/?copy"} {
		if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answers, err := io.ReadAll(conn)
	if n := strings.Count(string(answers), "HTTP/1.1 "); err != nil || n != 4 {
		t.Errorf("%d answers, %v:\n%.1000s", n, err, answers)
	}
}
