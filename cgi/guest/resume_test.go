package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whatever guests leave behind and however they end, each begins with the state of the resume point to the last byte:
// memory, its size, globals, stack and descriptors.
func TestResume(t *testing.T) {
	for name, noReuse := range map[string]bool{"recycled": false, "fresh": true} {
		t.Run(name, func(t *testing.T) {
			m := compileFile(t, "testdata/resume.wasm", Config{Resume: true, NoReuse: noReuse, CPU: 20 * time.Millisecond, Memory: 16 * pageSize})
			want := resumed(t, m, "plain", nil)
			if pages, frames := binary.LittleEndian.Uint32(want[8:]), binary.LittleEndian.Uint64(want[12:]); pages != 3 || frames != 20<<32|20 {
				t.Fatalf("%d pages, depth and frames %x", pages, frames)
			}
			endings := map[string]string{
				"plain": "", "exit": "status 3", "trap": "unreachable", "spin": "", "read": "", "overflow": "",
			}
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range 100 {
						for ending, reason := range endings { // in random order
							if ending == "overflow" && rand.IntN(100) > 0 { // takes long
								continue
							}
							if got := resumed(t, m, ending, &reason); !bytes.Equal(got, want) {
								t.Errorf("%s: got % x, want % x", ending, got, want)
							}
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// resumed runs a guest of testdata/resume.wat and returns what it tells of its state. A guest that does not end is
// stopped, by its client or its limit.
func resumed(t *testing.T, m *Module, ending string, reason *string) []byte {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stdin, stdinWriter := io.Pipe()
	context.AfterFunc(ctx, func() { stdinWriter.CloseWithError(io.ErrUnexpectedEOF) })
	if ending == "read" || ending == "spin" && rand.IntN(50) > 0 {
		time.AfterFunc(time.Millisecond, cancel)
	}
	var out bytes.Buffer
	err := m.Run(ctx, &Call{Args: []string{ending}, Stdin: stdin, Stdout: &out})
	if errors.Is(err, context.Canceled) && out.Len() == 0 {
		return resumed(t, m, "plain", nil) // it was stopped before it could tell
	}
	if reason != nil && *reason != "" && (err == nil || !strings.Contains(err.Error(), *reason)) {
		t.Errorf("%s: %v", ending, err)
	}
	got := out.Bytes()
	if !strings.HasPrefix(string(got[min(len(got), 24):]), ending[:4]) {
		t.Errorf("%s: got %q", ending, got)
	}
	return got[:min(len(got), 24)-4]
}

// An instance is given up when its stack has become long, and others take its place.
func TestResumeRenew(t *testing.T) {
	m := compileFile(t, "testdata/resume.wasm", Config{Resume: true})
	want := resumed(t, m, "plain", nil)
	for n := range renewResumed + 100 {
		if got := resumed(t, m, "plain", nil); !bytes.Equal(got, want) {
			t.Fatalf("request %d: got % x, want % x", n, got, want)
		}
	}
	i := m.resumption.idle.take(&m.resumption.idle.shards[0])
	if i == nil || i.runs >= renewResumed {
		t.Errorf("got %+v, want a younger instance", i)
	}
	i.close()
}

// Guests that wait do not keep others from running: as many as there are get an instance, and most are closed in the end.
func TestResumeMany(t *testing.T) {
	m := compileFile(t, "testdata/resume.wasm", Config{Resume: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdin, stdinWriter := io.Pipe()
	context.AfterFunc(ctx, func() { stdinWriter.Close() })
	var begun, ended sync.WaitGroup
	for range 100 {
		begun.Add(1)
		ended.Go(func() {
			out := writerFunc(func(b []byte) (int, error) { begun.Done(); return len(b), nil })
			if err := m.Run(ctx, &Call{Args: []string{"read"}, Stdin: stdin, Stdout: out}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	cancel()
	ended.Wait()
	idle := m.resumption.idle
	for range 3 {
		idle.trim()
	}
	for n := range idle.shards {
		if got := idle.shards[n].len(); got > 1 {
			t.Errorf("%d instances are left in a shard", got)
		}
	}
	resumed(t, m, "plain", nil)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A guest that waits for an instance is stopped with its context.
func TestResumeWaitEnds(t *testing.T) {
	m := compileFile(t, "testdata/resume.wasm", Config{Resume: true})
	r := m.resumption
	r.cancel() // no more instances
	r.starters.Wait()
	for i := r.idle.take(&r.idle.shards[0]); i != nil; i = r.idle.take(&r.idle.shards[0]) {
		i.close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := m.Run(ctx, &Call{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if len(r.waiting) != 0 || r.waiters.Load() != 0 {
		t.Errorf("%d wait", len(r.waiting))
	}
}

// What differs from the first start is found out, and no guest sees it.
func TestResumeDiverged(t *testing.T) {
	m := compileFile(t, "testdata/resume.wasm", Config{Resume: true})
	r := m.resumption
	r.cancel()
	r.starters.Wait()
	r.transcript.answers[0].written[0].bytes[0]++
	if _, err := r.repeat(t.Context()); err != errDiverged {
		t.Errorf("another answer: got %v", err)
	}
	r.transcript.answers[0].written[0].bytes[0]--
	if i, err := r.repeat(t.Context()); err != nil {
		t.Error(err)
	} else {
		i.close()
	}
	for name, answers := range map[string][]answer{"one answer more": append(r.transcript.answers, answer{}), "no answer": nil} {
		r.transcript.answers = answers
		if _, err := r.repeat(t.Context()); err != errDiverged {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A module that calls wagi.resume without the configuration goes on.
func TestResumeOff(t *testing.T) {
	m := compileFile(t, "testdata/resume.wasm", Config{})
	one, other := resumed(t, m, "plain", nil), resumed(t, m, "plain", nil)
	if bytes.Equal(one, other) {
		t.Error("two guests have the same random bytes")
	}
}

func TestResumeRequest(t *testing.T) {
	m := compileFile(t, "testdata/request.wasm", Config{Resume: true})
	tests := []struct {
		name      string
		env, args []string
		want      string
	}{
		{"plain", []string{"A=b", "C="}, []string{"/path", "", "d e"}, "A=b\nC=\n\n/path\n\nd e\n"},
		{"empty", nil, nil, "\n"},
		{"line ends", []string{"A=b\nHTTP_X=y\n\nz", "B=\r\v\f\x1c\u0085\u2028ü\t"}, []string{"c\nd"},
			"A=b\uFFFDHTTP_X=y\uFFFD\uFFFDz\nB=\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDü\t\n\nc\uFFFDd\n"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		if err := m.Run(t.Context(), &Call{Args: test.args, Env: NewEnvironment(test.env...), Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != test.want+test.want {
			t.Errorf("%s: got %q, want %q twice", test.name, got, test.want)
		}
	}
}

// A Go program: what it opened is open, what it did is done once, its clock goes on, and its secrets are its own.
func TestResumeProgram(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/lines", "first\nsecond\n")
	var stderr bytes.Buffer
	m := compileProgram(t, "resume", Config{
		Resume: true, Volumes: []Volume{{Guest: "/data", Host: dir}},
		StartArgs: []string{"start"}, StartEnv: []string{"CONFIGURED=yes"}, StartStderr: &stderr,
	})
	if got, want := stderr.String(), "starting with [start] yes\n"; got != want {
		t.Errorf("standard error: got %q, want %q", got, want)
	}
	seen := map[string]bool{}
	for n := range 20 {
		var out bytes.Buffer
		call := &Call{Args: []string{"/go", "x"}, Env: NewEnvironment(fmt.Sprint("N=", n)), Stdin: strings.NewReader("body"), Stdout: &out}
		if err := m.Run(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		text, random, _ := strings.Cut(out.String(), "random ")
		if want := fmt.Sprintf("variables \"N=%d\" arguments \"/go\\nx\\n\"\n\"first\\n\" \"second\\n\" \"body\"\n", n); text != want {
			t.Errorf("got %s, want %s", text, want)
		}
		if seen[random] {
			t.Error("the same random text twice")
		}
		seen[random] = true
	}
	m.resumption.starters.Wait()
	if got, want := read(t, dir+"/starts"), "started\n"+strings.Repeat("request\n", 20); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, test := range []struct {
		change func() error
		want   string
	}{
		{func() error { return os.Remove(dir + "/lines") }, ""},
		{func() error { return exec.Command("mkfifo", dir+"/lines").Run() }, "it is a pipe or a socket now"},
		{func() error { return errors.Join(os.Remove(dir+"/lines"), os.Mkdir(dir+"/lines", 0o700)) }, "it is a directory now"},
		{func() error { return os.Rename(dir, dir+".away") }, "its volume is missing"},
	} {
		if err := test.change(); err != nil {
			t.Fatal(err)
		}
		err := m.Run(t.Context(), &Call{})
		if err == nil || !strings.Contains(err.Error(), "open at the resume point, cannot be opened again: "+test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestResumeErrors(t *testing.T) {
	const head = `(module
		(import "wagi" "resume" (func $resume))
		(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
		(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
		(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
		(memory 1024) (table 1 funcref) `
	tests := []struct {
		name, text string
		config     Config
		want       string
	}{
		{"returns", `(func (export "_start")))`, Config{}, "ended before its resume point: it must call wagi.resume or open /dev/wagi/request"},
		{"exits", `(func (export "_start") (call $proc_exit (i32.const 0))))`, Config{}, "ended before its resume point"},
		{"fails", `(func (export "_start") (call $proc_exit (i32.const 3))))`, Config{}, "did not come to its resume point: guest exited with status 3"},
		{"traps", `(func (export "_start") unreachable))`, Config{}, "did not come to its resume point: guest trapped: unreachable"},
		{"prints", `(func (export "_start") (i32.store (i32.const 4) (i32.const 1))
			(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (call $resume)))`, Config{},
			"prints to its standard output before its resume point"},
		{"reads too much", `(func (export "_start") (loop $again
			(drop (call $random_get (i32.const 0) (i32.const 8388608))) (br $again))))`, Config{}, "reads more than 64 MiB before its resume point"},
		{"inside of a try block", `(tag $e) (func (export "_start") (block $h (try_table (catch $e $h) (call $resume)))))`, Config{},
			"is inside of a try block at its resume point"},
		{"cannot be put back", `(func (export "_start") (table.set (i32.const 0) (ref.null func)) (call $resume)))`, Config{},
			"cannot be put back to its resume point: function 4 uses table.set"},
		{"start function", `(func $start) (start $start) (func (export "_start") (call $resume)))`, Config{},
			"cannot be put back to its resume point: has a start function"},
		{"no entrypoint", `)`, Config{}, `entrypoint "_start" is not an exported function`},
		{"volume", `(func (export "_start") (call $resume)))`, Config{Volumes: []Volume{{Guest: "/dev/wagi/", Host: "."}}},
			"the volume /dev/wagi/ is in the place of the gateway's directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.config.Resume = true
			_, err := compileText(t, head+test.text, test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
	if _, err := compileText(t, `(module (import "wagi" "resume" (func (param i32))))`, Config{}); err == nil {
		t.Error("wagi.resume with a parameter is accepted")
	}
}

// A cache that cannot be written to does not matter.
func TestResumeCache(t *testing.T) {
	dir := t.TempDir()
	m := compileFile(t, "testdata/resume.wasm", Config{Resume: true, CompileCache: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := m.compileText(t.Context(), runnerText("another")); err != nil {
		t.Error(err)
	}
}

// A start ends with its context.
func TestResumeStartEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := Compile(ctx, assemble(t, `(module (func (export "_start") (loop $spin (br $spin))))`), Config{Resume: true})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A function other than the entrypoint starts at the beginning, and initializers come before the resume point.
func TestResumeOther(t *testing.T) {
	m, err := compileText(t, `(module
		(import "wagi" "resume" (func $resume))
		(memory 1)
		(global $state (mut i32) (i32.const 0))
		(func (export "_initialize") (global.set $state (i32.const 1)) (i32.store (i32.const 0) (i32.const 1)))
		(func (export "_start")
			(if (i32.ne (global.get $state) (i32.const 1)) (then unreachable))
			(global.set $state (i32.const 2))
			(i32.store (i32.const 8) (i32.const 2))
			(call $resume)
			(if (i32.ne (global.get $state) (i32.const 2)) (then unreachable))
			(if (i32.ne (i32.load (i32.const 8)) (i32.const 2)) (then unreachable))
			(global.set $state (i32.const 3))
			(i32.store (i32.const 8) (i32.const 3)))
		(func (export "other")
			(if (i32.ne (global.get $state) (i32.const 1)) (then unreachable))
			(if (i32.load (i32.const 8)) (then unreachable))
			(call $resume)
			(i32.store (i32.const 8) (i32.const 4))
			(global.set $state (i32.const 4))))`, Config{Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for _, entrypoint := range []string{"", "other"} {
			if err := m.Run(t.Context(), &Call{Entrypoint: entrypoint}); err != nil {
				t.Errorf("%s: %v", entrypoint, err)
			}
		}
	}
}
