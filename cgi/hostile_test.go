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
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/guest"
)

// hostile is a guest of testdata/hostile. What comes of it stands in the file:
// "want: STATUS REASON", where a reason with the status 200 means that the response breaks off; "client:" says what its client
// does.
type hostile struct {
	name    string
	timeout time.Duration
	stalled bool   // its client announces a body that it never sends
	query   string // of the request
	status  int
	reason  string // of the failure, in the log; empty: none
}

const (
	hostileTimeout = 500 * time.Millisecond
	otherTimeout   = 30 * time.Second // of guests that something else must stop
	hostileOutput  = 1 << 20
	attackers      = 64
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
		for _, match := range directive.FindAllStringSubmatch(string(text), -1) {
			switch value := match[2]; match[1] {
			case "client":
				g.stalled = value == "stalls"
				if value == "60001 arguments" {
					g.query = strings.Repeat("&", 60000)
				}
			case "want":
				value, g.reason, _ = strings.Cut(value, " ")
				g.status, err = strconv.Atoi(value)
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		if g.timeout = otherTimeout; g.reason == errTimeout.reason {
			g.timeout = hostileTimeout
		}
	}
	return guests
}

var directive = regexp.MustCompile(`(?m)^;; (client|want): (.*)$`)

// startHostile serves each hostile guest under its name, and behave.wat at /quick and, as another module, at /busy. All guests share
// the directory volume below dir, in which symlinks lead to the directory outside beside it.
func startHostile(t testing.TB, guests []hostile) (server *httptest.Server, dir string) {
	dir = t.TempDir()
	outside := filepath.Join(dir, "outside")
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
	cfg := Config{LogDir: filepath.Join(dir, "log"), TempDir: dir, Modules: []Module{
		{Route: "/quick", Module: "testdata/behave.wat"},
		{Route: "/busy", Module: "testdata/behave.wat", Limits: Limits{Memory: 1 << 20}},
	}}
	for _, g := range guests {
		cfg.Modules = append(cfg.Modules, Module{
			Route:   "/" + g.name,
			Module:  "testdata/hostile/" + g.name + ".wat",
			Volumes: []guest.Volume{{Guest: "/data", Host: volume}},
			Limits:  Limits{Timeout: g.timeout, Memory: 32 << 20, MaxOutput: hostileOutput},
		})
	}
	return startServer(t, cfg), dir
}

// attack sends one request to the guest. It says how the response looks to the client. One that is broken off before its head
// is out has the status 0.
func (g hostile) attack(ctx context.Context, client *http.Client, url string) (status int, brokenOff bool, err error) {
	body, length := io.Reader(http.NoBody), int64(0)
	if g.stalled {
		reader, writer := io.Pipe()
		defer writer.Close()
		body, length = reader, 10
	}
	response, err := sendBy(ctx, client, url+"/"+g.name+"?"+g.query, body, length)
	switch {
	case errors.Is(err, io.EOF):
		return 0, true, nil
	case err != nil:
		return 0, false, fmt.Errorf("%s: %w", g.name, errors.Unwrap(err)) // without the URL
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return response.StatusCode, true, nil
	}
	return response.StatusCode, false, err
}

// Each hostile guest alone: the right status, the reason in the log, in time.
func TestHostileGuests(t *testing.T) {
	logged := captureLog(t)
	guests := hostiles(t)
	server, dir := startHostile(t, guests)
	for _, g := range guests {
		t.Run(g.name, func(t *testing.T) {
			logged.Reset()
			begun := time.Now()
			got, brokenOff, err := g.attack(deadline(t), http.DefaultClient, server.URL)
			took := time.Since(begun)
			if err != nil || got != g.status || brokenOff != (g.status == http.StatusOK && g.reason != "") {
				t.Errorf("status %d, broken off: %v, %v; want status %d", got, brokenOff, err, g.status)
			}
			if took > g.timeout+10*time.Second { // of which most is for a machine that does much else
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
	checkOutside(t, dir)
}

// checkOutside looks for what guests have done outside of their volume.
func checkOutside(t *testing.T, dir string) {
	t.Helper()
	outside := filepath.Join(dir, "outside")
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("outside of the volume: %v, %v", left, err)
	}
	file := filepath.Join(outside, "secret")
	secret, err := os.ReadFile(file)
	if err != nil || string(secret) != "secret" {
		t.Errorf("outside of the volume: %q, %v", secret, err)
	}
	if info, err := os.Stat(file); err != nil || info.ModTime().Year() == 1970 {
		t.Errorf("outside of the volume: %v, %v", info, err)
	}
}

// Short lines cost the log more than the guest: they count for more.
func TestHostileStderr(t *testing.T) {
	logged := captureLog(t)
	file := stderrFile(t.TempDir(), "/")
	s := newStderr(func() *log.Entry { return log.L }, file)
	lines := []byte(strings.Repeat("a\n", 4096))
	for range 1024 {
		if n, err := s.Write(lines); n != len(lines) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	s.close()
	text := logged.String()
	if n := strings.Count(text, "\n"); n < 1000 || n > maxStderr/stderrLineCost+1 || strings.Count(text, "the rest is dropped") != 1 {
		t.Errorf("%d entries, the last %.200s", n, text[max(0, len(text)-200):])
	}
	if info, err := os.Stat(file); err != nil || info.Size() > maxStderr {
		t.Errorf("kept %v, %v", info, err)
	}
}

// Hostile guests of all kinds at once: a quick route goes on, and what they took returns.
func TestHostileNeighbours(t *testing.T) {
	log.L.Logger.SetOutput(io.Discard)
	t.Cleanup(func() { log.L.Logger.SetOutput(os.Stderr) })
	guests := hostiles(t)
	server, dir := startHostile(t, guests)
	idle := probe(t, server.URL, 200*time.Millisecond)
	attacked(t, guests, server.URL, func() {})
	before := settle(t, usage{})
	var busy time.Duration
	attacked(t, guests, server.URL, func() { busy = probe(t, server.URL, 5*time.Second) })
	after := settle(t, before)
	t.Logf("p99 of a quick route: %v idle, %v under attack, %.1f×; used %+v before, %+v after",
		idle, busy, float64(busy)/float64(idle), before, after)
	if busy > 15*time.Second { // the ratio depends on the machine: BenchmarkHostile gives it
		t.Errorf("p99 of a quick route is %v", busy)
	}
	if grown := after.memory - before.memory; grown > 256<<20 {
		t.Errorf("memory has grown by %d MiB", grown>>20)
	}
	checkOutside(t, dir)
}

// BenchmarkHostile gives the ratio of a quick route's p99 among hostile guests, of all kinds and of each kind, to the idle
// one. What clients that ask at once again cost by themselves is seen where they ask a harmless one (busy).
func BenchmarkHostile(b *testing.B) {
	log.L.Logger.SetOutput(io.Discard)
	b.Cleanup(func() { log.L.Logger.SetOutput(os.Stderr) })
	percent := debug.SetGCPercent(400) // as wagi has
	b.Cleanup(func() { debug.SetGCPercent(percent) })
	guests := hostiles(b)
	server, _ := startHostile(b, guests)
	run := func(name string, guests ...hostile) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				idle := probe(b, server.URL, time.Second)
				var busy time.Duration
				attacked(b, guests, server.URL, func() { busy = probe(b, server.URL, 3*time.Second) })
				b.ReportMetric(float64(idle)/1e6, "idle-p99-ms")
				b.ReportMetric(float64(busy)/1e6, "p99-ms")
				b.ReportMetric(float64(busy)/float64(idle), "p99-ratio")
			}
		})
	}
	run("busy", hostile{name: "busy"})
	run("all", guests...)
	for _, g := range guests {
		run(g.name, g)
	}
}

// attacked runs during while so many clients as attackers send requests to hostile guests, each of them to all at least once.
func attacked(t testing.TB, guests []hostile, url string, during func()) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: attackers}}
	defer client.CloseIdleConnections()
	var (
		wait sync.WaitGroup
		over atomic.Bool
		next atomic.Int64
	)
	ctx := deadline(t)
	for range attackers {
		wait.Go(func() {
			for i := next.Add(1); i <= int64(len(guests)) || !over.Load(); i = next.Add(1) {
				if _, _, err := guests[i%int64(len(guests))].attack(ctx, client, url); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer wait.Wait()
	defer over.Store(true)
	during()
}

// probe sends requests to the quick route, one after the other, and gives the 99th percentile of their durations.
func probe(t testing.TB, url string, d time.Duration) time.Duration {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ctx := deadline(t)
	var took []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); {
		begun := time.Now()
		response, err := sendBy(ctx, client, url+"/quick", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || string(body) != "hello\n" {
			t.Fatalf("quick route: status %d, %q, %v", response.StatusCode, body, err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// usage is what the process uses. Where there is no /proc only goroutines are known. The race detector's memory is not counted:
// then there is none.
type usage struct {
	goroutines, files int
	memory            int64 // bytes
}

// settle waits until no more is used than before, and gives up after a while. With nothing before, it waits until there is no change.
func settle(t *testing.T, before usage) (now usage) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		last := now
		now = used()
		switch {
		case before == usage{} && now.goroutines == last.goroutines && now.files == last.files,
			now.goroutines <= before.goroutines && now.files <= before.files:
			return now
		case time.Now().After(end):
			t.Errorf("used %+v before, %+v now", before, now)
			return now
		}
	}
}

func used() usage {
	debug.FreeOSMemory()
	u := usage{goroutines: runtime.NumGoroutine()}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.files = len(files)
	}
	if !raceDetector() {
		u.memory = resident()
	}
	return u
}

// resident is how much memory the process has, in bytes.
func resident() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	_, _ = fmt.Sscan(string(statm), &size, &resident) // two numbers, by proc(5)
	return resident * int64(os.Getpagesize())
}

// raceDetector says whether the test was built with -race.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
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
