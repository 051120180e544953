package cgi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// TestVectors plays each testdata/*.txtar: it sends the request to a gateway with the modules.toml (default: script.wat at /)
// and compares what the script was given, the sections environment, arguments and stdin, or what the client got, the
// section response. A section output is what script.wat prints; output.quoted is the same as a Go string.
func TestVectors(t *testing.T) {
	t.Setenv("WHO", "you")
	for name, v := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, v.config(t))
			response, body := v.exchange(t, server.Listener.Addr().String())
			if want, ok := v["response"]; ok {
				if got := render(response, body); got != want {
					t.Errorf("response:\n%s\nwant:\n%s", got, want)
				}
				return
			}
			if response.StatusCode != http.StatusOK {
				t.Fatalf("status %d", response.StatusCode)
			}
			v.checkEcho(t, server, body)
		})
	}
}

// vector is a file of testdata: its sections by name.
type vector map[string]string

// vectors reads testdata.
func vectors(t testing.TB) map[string]vector {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	vectors := map[string]vector{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{}
		for _, section := range archive.Files {
			v[section.Name] = string(section.Data)
		}
		vectors[strings.TrimSuffix(filepath.Base(file), ".txtar")] = v
	}
	return vectors
}

// config writes modules.toml and the script to a directory and reads them.
func (v vector) config(t *testing.T) Config {
	dir := t.TempDir()
	script, ok := v["script.wat"]
	if quoted, isQuoted := v["output.quoted"]; isQuoted {
		output, err := strconv.Unquote(strings.TrimSpace(quoted))
		if err != nil {
			t.Fatal(err)
		}
		script = printer(output)
	} else if !ok {
		script = printer(v["output"])
	}
	writeFile(t, filepath.Join(dir, "script.wat"), script)
	echo, err := os.ReadFile("testdata/echo.wat")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "echo.wat"), string(echo))
	modules, ok := v["modules.toml"]
	if !ok {
		modules = "[[module]]\nroute = \"/\"\nmodule = \"script.wat\"\n"
	}
	writeFile(t, filepath.Join(dir, "modules.toml"), modules)
	cfg, err := LoadConfig(filepath.Join(dir, "modules.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return *cfg
}

// exchange sends the request as it stands and reads the response.
func (v vector) exchange(t *testing.T, address string) (*http.Response, string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	request := strings.ReplaceAll(v["request"], "\n", "\r\n")
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// checkEcho compares what echo.wat printed with the sections.
func (v vector) checkEcho(t *testing.T, server *httptest.Server, echo string) {
	given, stdin, _ := strings.Cut(echo, "\n\n")
	if index := strings.Index(echo, "\nAUTH_TYPE="); index >= 0 { // an empty argument is no end
		rest, in, _ := strings.Cut(echo[index:], "\n\n")
		given, stdin = echo[:index]+rest, in
	}
	var args, env []string
	for line := range strings.SplitSeq(given, "\n") {
		if arg, ok := strings.CutPrefix(line, "arg="); ok {
			args = append(args, arg)
		} else {
			env = append(env, line)
		}
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	wanted := strings.ReplaceAll(v["environment"], "$PORT", port)
	for _, want := range lines(wanted) {
		name, absent := strings.CutPrefix(want, "!")
		is := func(e string) bool { return e == want }
		if absent {
			is = func(e string) bool { return strings.HasPrefix(e, name+"=") }
		}
		if slices.ContainsFunc(env, is) == absent {
			t.Errorf("environment: want %s, got\n%s", want, strings.Join(env, "\n"))
		}
	}
	if want, ok := v["arguments"]; ok && !slices.Equal(args, lines(want)) {
		t.Errorf("arguments %q, want %q", args, lines(want))
	}
	if want, ok := v["stdin"]; ok && stdin != strings.TrimSuffix(want, "\n") {
		t.Errorf("stdin %q, want %q", stdin, want)
	}
}

func lines(section string) []string {
	if section == "" || section == "\n" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(section, "\n"), "\n")
}

// render writes a response as the vectors do: status, fields in order but for Date and X-Request-Id, an empty line, the body.
func render(response *http.Response, body string) string {
	var b strings.Builder
	fmt.Fprintln(&b, response.StatusCode)
	header := response.Header.Clone()
	header.Del("Date")
	header.Del(requestIDField)
	var head strings.Builder
	if err := header.Write(&head); err != nil {
		panic(err) // a strings.Builder does not fail
	}
	b.WriteString(strings.ReplaceAll(head.String(), "\r\n", "\n"))
	b.WriteString("\n")
	if strings.ContainsAny(body, "\r\x00") || body != "" && !strings.HasSuffix(body, "\n") {
		body = strconv.Quote(body) + "\n"
	}
	b.WriteString(body)
	return b.String()
}

// printer is a module that prints output.
func printer(output string) string {
	return printerOf("_start", output)
}

// printerOf is a module whose function prints output.
func printerOf(function, output string) string {
	var data strings.Builder
	for i := range len(output) {
		fmt.Fprintf(&data, "\\%02x", output[i])
	}
	return fmt.Sprintf(`(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (data (i32.const 16) "%s")
  (func (export "%s")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const %d))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`, data.String(), function, len(output))
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startServer serves cfg until the test ends, when no guest may be left.
func startServer(t testing.TB, cfg Config) *httptest.Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	gateway, err := New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(gateway)
	server.Config.DisableGeneralOptionsHandler = true
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Config.ErrorLog = stdlog.New(failOnPanic{t}, "", 0)
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Config.ConnContext = WithConnection
	server.Start()
	t.Cleanup(func() {
		cancel()
		server.Close()
		if err := gateway.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// failOnPanic is the log of a server whose handlers must not panic.
type failOnPanic struct{ t testing.TB }

func (f failOnPanic) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "panic") {
		f.t.Errorf("%s", p)
	}
	return len(p), nil
}
