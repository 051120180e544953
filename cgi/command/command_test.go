package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wagi": Main})
}

// TestStories plays testdata/*.txt. A story has one server at a time: start, get, hup, await and stop are about it.
func TestStories(t *testing.T) {
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Values[processKey{}] = &process{}
			env.Setenv("GOCACHE", strings.TrimSpace(string(cache))) // for stories with a Go guest
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":   start,
			"get":     get,
			"stop":    stop,
			"appears": appears,
			"hup":     hup,
			"await":   await,
			"status":  status,
			"wrong":   statusOf("2"),
			"fails":   statusOf("1"),
		},
	})
}

// process is the server of a story.
type process struct {
	cmd    *exec.Cmd
	stderr output
	read   int // bytes of stderr that await has seen
}

// output is what a running process has printed.
type output struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

type processKey struct{}

func running(ts *testscript.TestScript) *process {
	return ts.Value(processKey{}).(*process)
}

// start ARG... starts wagi on a free port of the loopback interface, waits until it is ready, and sets $URL and $ADDRESS.
func start(ts *testscript.TestScript, _ bool, args []string) {
	path, err := exec.LookPath("wagi")
	ts.Check(err)
	p := running(ts)
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir = ts.Getenv("WORK")
	p.cmd.Env = append(os.Environ(), "WAGI_LISTEN="+ts.Getenv("WAGI_LISTEN"), "WAGI_CONTAINER="+ts.Getenv("WAGI_CONTAINER"),
		"WAGI_LOG_DIR="+ts.Getenv("WAGI_LOG_DIR"),
		"WAGI_TEST_NAME="+ts.Getenv("WAGI_TEST_NAME"), "STORY="+ts.Getenv("STORY"))
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	ts.Defer(func() { _ = p.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = p.cmd.Wait()
		ts.Fatalf("not ready: %v\n%s", err, &p.stderr)
	}
	_, url, _ := strings.Cut(strings.TrimSpace(line), "serving on ")
	ts.Setenv("URL", url)
	ts.Setenv("ADDRESS", strings.TrimPrefix(url, "http://"))
	awaitReady(url)
	fmt.Fprint(ts.Stdout(), line)
}

// awaitReady waits until a gateway that tells on /readyz has compiled its modules.
func awaitReady(url string) {
	client := http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		response, err := client.Get(url + "/readyz")
		if err != nil {
			return
		}
		response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable {
			return
		}
	}
}

// get TARGET prints status and body of the answer.
func get(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: 20 * time.Second}
	response, err := client.Get(ts.Getenv("URL") + args[0])
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	client.CloseIdleConnections()
	fmt.Fprintf(ts.Stdout(), "%d\n%s", response.StatusCode, body)
}

// stop ends the server by SIGTERM. It prints the exit status and, as standard error, the server's.
func stop(ts *testscript.TestScript, _ bool, _ []string) {
	p := running(ts)
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	err := p.cmd.Wait()
	if p.cmd.ProcessState == nil {
		ts.Check(err)
	}
	fmt.Fprintf(ts.Stdout(), "exit status %d\n", p.cmd.ProcessState.ExitCode())
	fmt.Fprint(ts.Stderr(), p.stderr.String())
}

// appears FILE REGEXP waits until the file is there and has a matching line.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	line := regexp.MustCompile("(?m)" + args[1])
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && line.Match(text) {
			return
		}
	}
	ts.Fatalf("no line %q in %s", args[1], args[0])
}

// hup sends the server SIGHUP.
func hup(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(running(ts).cmd.Process.Signal(syscall.SIGHUP))
}

// await REGEXP waits until the server prints a matching line on standard error, after those that were awaited before.
func await(ts *testscript.TestScript, _ bool, args []string) {
	p := running(ts)
	line := regexp.MustCompile("(?m)^.*" + args[0] + ".*\n")
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if found := line.FindStringIndex(p.stderr.String()[p.read:]); found != nil {
			p.read += found[1]
			return
		}
	}
	ts.Fatalf("no line %q in\n%s", args[0], p.stderr.String()[p.read:])
}

// status N ARG... runs wagi, which must exit with status N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	got := 0
	if err := ts.Exec("wagi", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit status %d, want %s", got, want)
	}
}

// statusOf is status with the first argument given.
func statusOf(n string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		status(ts, neg, append([]string{n}, args...))
	}
}
