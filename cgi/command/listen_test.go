package command

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

func TestAddresses(t *testing.T) {
	tests := []struct {
		flag                          []string
		listen, port, container, want string
	}{
		{nil, "", "", "", "[127.0.0.1:3000]"},
		{nil, "", "", "1", "[0.0.0.0:3000]"},
		{nil, "", "8080", "", "[0.0.0.0:8080]"},
		{nil, "127.0.0.1:1,unix:@a", "8080", "1", "[127.0.0.1:1 unix:@a]"},
		{[]string{"[::1]:2", "unix:/run/a", "systemd"}, "127.0.0.1:1", "8080", "1", "[[::1]:2 unix:/run/a systemd]"},
		{nil, "", "80a", "", "[]"},
	}
	for _, test := range tests {
		t.Setenv("WAGI_LISTEN", test.listen)
		t.Setenv("PORT", test.port)
		t.Setenv("WAGI_CONTAINER", test.container)
		opts := listenOptions{listen: test.flag}
		if got, _ := opts.addresses(); fmt.Sprint(got) != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}

// getUnix requests /echo at a Unix socket.
func getUnix(t *testing.T, name string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", name)
	}}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://host/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false) // as if it had been killed
	left.Close()
	abstract := fmt.Sprintf("@wagi-test-%d", os.Getpid())
	s, url := startServer(t, serveOptions{listenOptions: listenOptions{listen: []string{"unix:" + path, "unix:" + abstract}}})
	if url != "unix:"+path {
		t.Errorf("URL %s", url)
	}
	for _, name := range []string{path, abstract} {
		echo := getUnix(t, name)
		for _, want := range []string{"REMOTE_ADDR=127.0.0.1", "SERVER_NAME=host", "SERVER_PORT=80"} {
			if !strings.Contains(echo, want+"\n") {
				t.Errorf("%s: want %s, got\n%s", name, want, echo)
			}
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.drain(0, 20*time.Second, make(chan os.Signal)); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestUnixSocketTakesNothingAway(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "f"), filepath.Join(dir, "s")
	writeFile(t, file, nil)
	startServer(t, serveOptions{listenOptions: listenOptions{listen: []string{"unix:" + socket}}})
	for name, want := range map[string]string{
		file:               "listen on unix:" + file + ": the file is there and is no socket",
		socket:             "listen on unix:" + socket + ": the address is in use",
		dir + "/missing/s": "listen on unix:" + dir + "/missing/s: no such file or directory",
	} {
		listeners, err := places{addresses: []address{{unix: name}}}.open(0)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		closeAll(listeners)
	}
	getUnix(t, socket)
}

// A listener that cannot be opened leaves none of the others open.
func TestListenersOpenAllOrNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := (places{addresses: []address{{unix: path}, {unix: "/missing/s"}}}).open(0); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// What systemd does: the socket is open, and its number and the process's are in the environment.
func TestSystemdSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	modules := filepath.Join(t.TempDir(), "modules.toml")
	writeFile(t, modules, []byte("module = []"))
	cmd := exec.Command("sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec wagi -c "+modules+" -l systemd")
	cmd.ExtraFiles = []*os.File{file}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	url := "http://" + l.Addr().String()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "Ready: serving on "+url+"\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	response, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestProxyProtocol(t *testing.T) {
	v2, err := (&proxyproto.Header{
		Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv6,
		SourceAddr:      &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1},
		DestinationAddr: &net.TCPAddr{IP: net.ParseIP("2001:db8::2"), Port: 443},
	}).Format()
	if err != nil {
		t.Fatal(err)
	}
	const v1 = "PROXY TCP4 192.0.2.1 192.0.2.2 1 81\r\n"
	tests := []struct{ name, peers, header, want string }{
		{"v1", "127.0.0.0/8", v1, "REMOTE_ADDR=192.0.2.1\n"},
		{"v1 port", "127.0.0.0/8", v1, "SERVER_PORT=81\n"},
		{"v2", "127.0.0.1", string(v2), "REMOTE_ADDR=2001:db8::1\n"},
		{"health check of the proxy", "127.0.0.1", "PROXY UNKNOWN\r\n", "REMOTE_ADDR=127.0.0.1\n"},
		{"none", "127.0.0.1", "", ""},
		{"not a proxy", "10.0.0.0/8", "", "REMOTE_ADDR=127.0.0.1\n"},
		{"not believed", "10.0.0.0/8,unix", v1, "HTTP/1.1 400 "},
		{"off", "", v1, "HTTP/1.1 400 "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := serveOptions{}
			if test.peers != "" {
				opts.proxyProtocol = strings.Split(test.peers, ",")
			}
			_, url := startServer(t, opts)
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
			if _, err := io.WriteString(conn, test.header+"GET /echo HTTP/1.0\r\nHost: h\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn) // a connection may be reset that is not served
			if !strings.Contains(string(answer), test.want) || test.want == "" && len(answer) > 0 {
				t.Errorf("want %q, got\n%s", test.want, answer)
			}
		})
	}
}
