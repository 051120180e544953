//go:build linux

package docker

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRestartPolicies(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	e.docker(t, "run", "--detach", "--name", "broken", "--runtime", wagi, "--restart", "on-failure:2", "--entrypoint", "/missing-module.toml", "guests")
	e.until(t, "broken", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "exited 1 2")
	if n := strings.Count(e.logs("broken"), "wagi: error: "); n != 3 {
		t.Errorf("a container that was started three times gave %d reasons:\n%s", n, e.logs("broken"))
	}

	e.run(t, "web", "guests", "--restart", "unless-stopped")
	want(t, home, "hello\n")
	pid := e.pid(t, "web")
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e.until(t, "web", fmt.Sprintf("{{.State.Running}} {{.RestartCount}} {{eq .State.Pid %d}}", pid), "true 1 false")
	want(t, home, "hello\n")
	e.restart(t)
	want(t, home, "hello\n")
	e.docker(t, "stop", "web")
	e.restart(t)
	if got := e.inspect(t, "web", "{{.State.Status}}"); got != "exited" {
		t.Errorf("a stopped container is %s after a restart of the engine", got)
	}
}

// The gateway serves while the engine and its containerd are restarted, and is a container like any other after that.
func TestLiveRestore(t *testing.T) {
	e := start(t, settings{"live-restore": true})
	e.guests(t)
	e.run(t, "web", "guests", "--restart", "always")
	want(t, home, "hello\n")
	pid := e.pid(t, "web")
	address := "http://" + e.inspect(t, "web", "{{.NetworkSettings.IPAddress}}") + ":3000"
	for _, end := range []func(){
		func() { e.daemon.Stop(t) },
		func() { e.daemon.Process.Kill(); <-e.daemon.Ended() },
	} {
		want(t, address, "hello\n")
		end()
		want(t, address, "hello\n")
		e.daemon.Restart(t)
		e.ready(t)
		want(t, address, "hello\n")
		want(t, home, "hello\n")
		if got := e.pid(t, "web"); got != pid {
			t.Errorf("the gateway was process %d and is %d", pid, got)
		}
	}
	if text := e.docker(t, "exec", "web", "wagi", "health"); text != "ready: yes" {
		t.Errorf("wagi health: %s", text)
	}
	if text, err := get(home + "/slow"); err != nil || text != "slow\n" {
		t.Errorf("slow: %q, %v", text, err)
	}
	e.says(t, "web", "started")
	e.drain(t)
}
