package cgi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Clients leave where no read shows it: net/http reads after the body, and one byte of the next request.
func TestClientLeaves(t *testing.T) {
	const large = 10000000
	requests := map[string]struct{ head, rest string }{ // the rest is sent when the guest runs
		"no body":                    {"GET %s HTTP/1.1\r\nHost: h\r\n\r\n", ""},
		"no body, next request":      {"GET %s HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		"body":                       {"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n", "body"},
		"body, HTTP/1.0":             {"POST %s HTTP/1.0\r\nContent-Length: 4\r\n\r\n", "body"},
		"part of a body":             {"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbo", "dy"},
		"body in the system":         {"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n", strings.Repeat("x", 50000)},
		"body larger than buffers":   {"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n", strings.Repeat("x", large)},
		"body that is not asked for": {"POST %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", ""},
		"chunked body":               {"POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", ""},
		"chunked body, next request": {"POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "GET"},
	}
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close) // after the subtests, which are parallel
	guests := map[string]string{"computes": "/?spin", "streams": "/?first", "sleeps": "/sleep", "waits": "/fetch?" + silent.URL}
	for name, request := range requests {
		for guest, target := range guests {
			t.Run(name+", guest "+guest, func(t *testing.T) {
				t.Parallel()
				started, ended := make(chan struct{}, 1), make(chan error, 1)
				address := startServer(t, Config{
					Start: func([]string, []string) { started <- struct{}{} },
					Done:  func(r *Record) { ended <- r.Err },
					Modules: []Module{
						{Route: "/", Module: "testdata/behave.wat"},
						{Route: "/sleep", Module: "testdata/hostile/poll.wat"},
						{Route: "/fetch", Module: "testdata/fetch.wat", AllowedHosts: []string{silent.URL}},
					},
					Limits:  Limits{Timeout: -1},
					TempDir: t.TempDir(),
				}).Listener.Addr().String()
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprintf(conn, request.head, target); err != nil {
					t.Fatal(err)
				}
				<-started
				if len(request.rest) == large {
					// The client's system sends no end behind what the gateway's does not take, but that it has given up.
					_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // it is open
					_ = conn.(*net.TCPConn).SetLinger(0)
				}
				_, _ = io.WriteString(conn, request.rest)
				conn.Close()
				select {
				case err := <-ended:
					if !errors.Is(err, errEnded) {
						t.Errorf("the guest ended with %v", err)
					}
				case <-time.After(20 * time.Second):
					t.Error("the guest goes on")
				}
			})
		}
	}
}
