//go:build linux

package docker

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// limit is what a file of the container's cgroup says: of the controller's hierarchy, or of the unified one.
func (e *engine) limit(t *testing.T, name, controller, v1, v2 string) string {
	t.Helper()
	group := e.cgroup() + "/" + e.inspect(t, name, "{{.Id}}") + "/"
	text, err := os.ReadFile("/sys/fs/cgroup/" + controller + "/" + group + v1)
	if err != nil {
		text, err = os.ReadFile("/sys/fs/cgroup/" + group + v2)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// The limits of the container are those of the gateway and of all its guests.
func TestLimits(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	e.run(t, "web", "guests", "--memory", "128m", "--memory-swap", "128m", "--cpus", "0.5", "--pids-limit", "32")
	want(t, home, "hello\n")
	if got := e.limit(t, "web", "pids", "pids.max", "pids.max"); got != "32" {
		t.Errorf("pids.max is %s", got)
	}
	var requests sync.WaitGroup
	for range 50 {
		requests.Go(func() {
			if text, err := get(home); err != nil || text != "hello\n" {
				t.Errorf("with few processes: %q, %v", text, err)
			}
		})
	}
	requests.Wait()

	if _, err := get(home + "/spin"); err == nil || !strings.HasSuffix(err.Error(), ": 504 Gateway Timeout") {
		t.Errorf("spin: %v, want 504", err)
	}
	throttled := 0
	for line := range strings.Lines(e.limit(t, "web", "cpu", "cpu.stat", "cpu.stat")) {
		if n, found := strings.CutPrefix(strings.TrimSpace(line), "nr_throttled "); found {
			throttled, _ = strconv.Atoi(n)
		}
	}
	if throttled == 0 {
		t.Error("a guest that computes was not throttled to half a processor")
	}

	if text, err := get(home + "/hog"); err == nil {
		t.Errorf("a guest got more memory than the container has: %q", text)
	}
	e.until(t, "web", "{{.State.Status}} {{.State.OOMKilled}} {{.State.ExitCode}}", "exited true 137")
}
