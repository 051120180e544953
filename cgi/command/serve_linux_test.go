package command

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// All that may stand between the gateway and the system's connection lets it see that a client leaves before its body was read.
func TestClientLeavesBehindLayers(t *testing.T) {
	cert, key := writeCertificate(t, t.TempDir(), "localhost")
	tests := map[string]struct {
		unix, tls bool
		peer      string // --proxy-protocol
	}{
		"http":               {},
		"https":              {tls: true},
		"unix":               {unix: true},
		"PROXY":              {peer: "127.0.0.1"},
		"PROXY, https":       {peer: "127.0.0.1", tls: true},
		"PROXY, unix":        {peer: "unix", unix: true},
		"PROXY, unix, https": {peer: "unix", unix: true, tls: true},
		"no proxy, https":    {peer: "192.0.2.1", tls: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			opts, network := serveOptions{}, "tcp"
			if test.unix {
				network, opts.listen = "unix", []string{"unix:" + filepath.Join(t.TempDir(), "s")}
			}
			if test.tls {
				opts.tlsCert, opts.tlsKey = cert, key
			}
			if test.peer != "" {
				opts.proxyProtocol = []string{test.peer}
			}
			s, url := startServer(t, opts)
			_, address, _ := strings.Cut(url, ":")
			conn, err := net.Dial(network, strings.TrimPrefix(address, "//"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
			if test.peer != "" && test.peer != "192.0.2.1" {
				_, err = io.WriteString(conn, "PROXY TCP4 192.0.2.1 192.0.2.2 1 81\r\n")
			}
			if test.tls {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			if err == nil {
				_, err = io.WriteString(conn, "POST /?first HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbody")
			}
			if err == nil {
				_, err = conn.Read(make([]byte, 1)) // the guest runs
			}
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := s.http.Shutdown(ctx); err != nil {
				t.Errorf("the guest goes on: %v", err)
			}
		})
	}
}
