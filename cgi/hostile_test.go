package cgi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/guest"
)

// hostile is a guest of testdata/hostile. What comes of it stands in the file:
// "want: STATUS REASON", where a reason with the status 200 means that the response breaks off. One that another limit than the
// timeout must stop has "timeout: DURATION".
type hostile struct {
	name    string
	timeout time.Duration
	stalled bool // the client announces a body that it never sends
	status  int
	reason  string // of the failure, in the log; empty: none
}

const (
	hostileTimeout = 500 * time.Millisecond
	hostileOutput  = 1 << 20
)

func hostiles(t testing.TB) []hostile {
	files, err := filepath.Glob("testdata/hostile/*.wat")
	if err != nil || len(files) == 0 {
		t.Fatalf("no hostile guests: %v", err)
	}
	guests := make([]hostile, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		g := &guests[i]
		g.name = strings.TrimSuffix(filepath.Base(file), ".wat")
		g.timeout = hostileTimeout
		for _, match := range directive.FindAllStringSubmatch(string(text), -1) {
			switch value := match[2]; match[1] {
			case "body":
				g.stalled = true
			case "timeout":
				g.timeout, err = time.ParseDuration(value)
			case "want":
				value, g.reason, _ = strings.Cut(value, " ")
				g.status, err = strconv.Atoi(value)
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	return guests
}

var directive = regexp.MustCompile(`(?m)^;; (body|timeout|want): (.*)$`)

// startHostile serves each hostile guest under its name, and behave.wat at /quick. All guests share a volume, in which
// symlinks lead out to the directory outside.
func startHostile(t testing.TB, guests []hostile) (server *httptest.Server, outside string) {
	dir := t.TempDir()
	outside = filepath.Join(dir, "outside")
	volume := filepath.Join(dir, "volume")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(volume, "sub"), 0o700),
		os.Mkdir(outside, 0o700),
		os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(volume, "inside"), nil, 0o600),
		os.Symlink("../outside", filepath.Join(volume, "out")),
		os.Symlink("../outside/secret", filepath.Join(volume, "secret")),
		os.Symlink("..", filepath.Join(volume, "up")),
		os.Symlink("/etc", filepath.Join(volume, "absolute")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{LogDir: filepath.Join(dir, "log"), TempDir: dir, Modules: []Module{{Route: "/quick", Module: "testdata/behave.wat"}}}
	for _, g := range guests {
		cfg.Modules = append(cfg.Modules, Module{
			Route:   "/" + g.name,
			Module:  "testdata/hostile/" + g.name + ".wat",
			Volumes: []guest.Volume{{Guest: "/data", Host: volume}},
			Limits:  Limits{Timeout: g.timeout, Memory: 32 << 20, MaxOutput: hostileOutput},
		})
	}
	return startServer(t, cfg), outside
}

// attack sends one request, with tens of thousands of arguments, to the guest. The error says what differs from what the file wants.
func (g hostile) attack(ctx context.Context, client *http.Client, url string) error {
	body, length := io.Reader(http.NoBody), int64(0)
	if g.stalled {
		reader, writer := io.Pipe()
		defer writer.Close()
		body, length = reader, 10
	}
	response, err := sendBy(ctx, client, url+"/"+g.name+"?"+strings.Repeat("&", 60000), body, length)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	switch brokenOff := g.status == http.StatusOK && g.reason != ""; {
	case response.StatusCode != g.status:
		return fmt.Errorf("status %d, want %d", response.StatusCode, g.status)
	case brokenOff && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the response ends with %v, want %v", err, io.ErrUnexpectedEOF)
	case !brokenOff && err != nil:
		return err
	}
	return nil
}

// Each hostile guest alone: the right status, the reason in the log, in time.
func TestHostileGuests(t *testing.T) {
	logged := captureLog(t)
	guests := hostiles(t)
	server, outside := startHostile(t, guests)
	for _, g := range guests {
		t.Run(g.name, func(t *testing.T) {
			logged.Reset()
			begun := time.Now()
			if err := g.attack(deadline(t), http.DefaultClient, server.URL); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took > g.timeout+2*time.Second {
				t.Errorf("ended after %v", took)
			}
			if text := logged.String(); g.reason != "" && !strings.Contains(text, g.reason) {
				t.Errorf("the log lacks %q:\n%.2000s", g.reason, text)
			}
			if got := status(t, server.URL+"/quick"); got != http.StatusOK {
				t.Errorf("afterwards: status %d", got)
			}
		})
	}
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 1 {
		t.Errorf("outside of the volume: %v, %v", left, err)
	}
	if secret, err := os.ReadFile(filepath.Join(outside, "secret")); err != nil || string(secret) != "secret" {
		t.Errorf("outside of the volume: %q, %v", secret, err)
	}
}

// logBuffer is a log in memory that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	log bytes.Buffer // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *logBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log.Reset()
}

// captureLog keeps the log until the test ends.
func captureLog(t testing.TB) *logBuffer {
	logged := &logBuffer{}
	log.L.Logger.SetOutput(logged)
	t.Cleanup(func() { log.L.Logger.SetOutput(os.Stderr) })
	return logged
}
