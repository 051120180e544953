//go:build linux

package docker

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"containerd-shim-wagi-v1/test/machine"
)

// A container's life: logs, exec, top, stats, inspect, events, stop.
func TestLife(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	since := strconv.FormatInt(time.Now().Unix(), 10)
	e.run(t, "web", "guests")
	want(t, home, "hello\n")

	if got, want := e.inspect(t, "web", "{{.State.Status}} {{.HostConfig.Runtime}} {{.Path}} {{json .NetworkSettings.Ports}}"),
		`running io.containerd.wagi.v1 /modules.toml {"3000/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}`; got != want {
		t.Errorf("inspect: got %s, want %s", got, want)
	}
	if text := e.docker(t, "top", "web", "-o", "pid,args"); !strings.Contains(text, fmt.Sprintf("%d ", e.pid(t, "web"))) || !strings.Contains(text, "/dev/wagi -c /modules.toml") {
		t.Errorf("top lacks the gateway:\n%s", text)
	}
	e.stats(t, "web")
	for _, test := range []struct{ command, want string }{
		{"wagi routes", "/slow   /slow.wat   _start      /modules.toml:5:3"},
		{"wagi status", "3000"},
		{"wagi health", "ready: yes\n"},
		{"wagi call /", "hello"},
		{"/command.wat a", "/command.wat\x00a\x00"},
		{"/native exit 0 bye", "out: bye"},
	} {
		r := e.try(append([]string{"exec", "web"}, strings.Fields(test.command)...)...)
		if !strings.Contains(r.Out, test.want) {
			t.Errorf("exec %s: got %q, %q, want %q", test.command, r.Out, r.Err, test.want)
		}
	}
	if text := e.docker(t, "exec", "--user", "1000:1000", "--workdir", "/tmp", "--env", "A=b", "web", "/native", "report"); !strings.Contains(text, "Uid:\t1000") || !strings.Contains(text, "cwd /tmp\n") || !strings.Contains(text, "env A=b\n") {
		t.Errorf("exec as another user:\n%s", text)
	}
	e.drain(t)
	if diff := e.docker(t, "diff", "web"); diff != "" {
		t.Errorf("the container changed its image:\n%s", diff)
	}
	e.docker(t, "rm", "web")

	events := e.docker(t, "events", "--since", since, "--until", strconv.FormatInt(time.Now().Unix()+1, 10), "--filter", "container=web", "--format", "{{.Action}}")
	for _, want := range []string{"create", "start", "exec_create: wagi routes", "exec_start: wagi routes", "exec_die", "kill", "stop", "die", "destroy"} {
		if !strings.Contains("\n"+events+"\n", "\n"+want+"\n") {
			t.Errorf("events lack %s:\n%s", want, events)
		}
	}
}

// stats are those of the cgroup that the gateway is in.
func (e *engine) stats(t *testing.T, name string) {
	t.Helper()
	var stats struct{ CPUPerc, MemUsage, NetIO, PIDs string }
	text := e.docker(t, "stats", "--no-stream", "--format", "{{json .}}", name)
	if err := json.Unmarshal([]byte(text), &stats); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(stats.CPUPerc, "%") || strings.HasPrefix(stats.MemUsage, "0B") || strings.HasPrefix(stats.NetIO, "0B") || stats.PIDs == "0" {
		t.Errorf("stats: %s", text)
	}
}

// drain stops the container while a request is under way: it gets its answer.
func (e *engine) drain(t *testing.T) {
	t.Helper()
	answer := make(chan string, 1)
	go func() {
		text, err := get(home + "/slow")
		answer <- fmt.Sprint(text, err)
	}()
	e.says(t, "web", "started")
	e.docker(t, "stop", "web")
	if got, want := <-answer, "slow\n<nil>"; got != want {
		t.Errorf("the request under way: got %q, want %q", got, want)
	}
	if got := e.inspect(t, "web", "{{.State.ExitCode}}"); got != "0" {
		t.Errorf("exit status after stop: got %s, want 0", got)
	}
}

// says waits until a container has logged a text.
func (e *engine) says(t *testing.T, name, text string) {
	t.Helper()
	machine.Await(t, func() error {
		if log := e.logs(name); !strings.Contains(log, text) {
			return fmt.Errorf("the log of %s lacks %q:\n%s", name, text, log)
		}
		return nil
	})
}

// A WebAssembly file as a command, with the container's streams and exit status.
func TestCommand(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	run := []string{"run", "--rm", "--runtime", wagi, "--entrypoint", "/command.wat"}
	for name, flags := range map[string][]string{"plain": nil, "init": {"--init"}, "read-only": {"--read-only", "--user", "1000:1000"}} {
		r := e.try(append(append(run, flags...), "guests", "a", "b")...)
		if r.Code != 3 || r.Out != "/command.wat\x00a\x00b\x00" {
			t.Errorf("%s: exit status %d, %q, %q", name, r.Code, r.Out, r.Err)
		}
	}
}

func TestSignals(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	e.run(t, "web", "guests")
	want(t, home, "hello\n")
	e.docker(t, "pause", "web")
	if got := e.inspect(t, "web", "{{.State.Status}}"); got != "paused" {
		t.Errorf("after pause: %s", got)
	}
	e.docker(t, "unpause", "web")
	want(t, home, "hello\n")
	e.docker(t, "kill", "--signal", "HUP", "web")
	e.says(t, "web", "configuration")
	want(t, home, "hello\n")
	e.docker(t, "restart", "web")
	want(t, home, "hello\n")
	e.docker(t, "kill", "web")
	e.until(t, "web", "{{.State.Status}} {{.State.ExitCode}}", "exited 137")
	e.docker(t, "start", "web")
	want(t, home, "hello\n")
	e.docker(t, "update", "--memory", "512m", "--memory-swap", "512m", "web")
	if got, want := e.limit(t, "web", "memory", "memory.limit_in_bytes", "memory.max"), "536870912"; got != want {
		t.Errorf("memory after update: got %s, want %s", got, want)
	}
}

// docker run --init puts an init of its own before the container's command.
func TestInit(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	e.run(t, "web", "guests", "--init")
	want(t, home, "hello\n")
	if text := e.docker(t, "top", "web", "-o", "pid,args"); !strings.Contains(text, "/sbin/docker-init -- /dev/wagi -c /modules.toml") {
		t.Errorf("the init is not the first process:\n%s", text)
	}
	if text := e.docker(t, "exec", "web", "wagi", "routes"); !strings.Contains(text, "/slow") {
		t.Errorf("wagi routes:\n%s", text)
	}
	e.drain(t)
	if got, want := e.docker(t, "run", "--rm", "--init", "--runtime", wagi, "--entrypoint", "/native", "guests", "exit", "0", "bye"), "out: bye"; got != want {
		t.Errorf("a native program under init: got %q, want %q", got, want)
	}
}

// A program of the image is the same under our shim as under runc's own.
func TestPlain(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	for name, flags := range map[string][]string{
		"default":    nil,
		"flags":      {"--read-only", "--env", "A=b c", "--workdir", "/tmp", "--memory", "64m", "--cap-add", "NET_ADMIN", "--volume", "/etc:/data:ro", "--ulimit", "nofile=100", "--tmpfs", "/scratch"},
		"user":       {"--user", "1000:1000", "--group-add", "7", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"},
		"init":       {"--init"},
		"privileged": {"--privileged"},
		"unconfined": {"--security-opt", "seccomp=unconfined"},
		"host":       {"--network", "host", "--pid", "host", "--ipc", "host"},
	} {
		report := func(runtime string) string {
			command := append([]string{"run", "--rm", "--hostname", "report", "--runtime", runtime, "--entrypoint", "/native"}, flags...)
			return e.settled(e.docker(t, append(command, "guests", "report", "x")...))
		}
		if got, want := report(wagi), report("runc"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

// settled is a report less the lines that differ from one container to the next: process ids of the host, cgroups, and files of the engine.
func (e *engine) settled(report string) string {
	var lines strings.Builder
	for line := range strings.Lines(report) {
		if !strings.HasPrefix(line, "pid ") && !strings.Contains(line, "/"+e.cgroup()) && !strings.Contains(line, e.dir) {
			lines.WriteString(line)
		}
	}
	return lines.String()
}
