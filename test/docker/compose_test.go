//go:build linux

package docker

import (
	"strings"
	"testing"
)

// docker compose: a file with runtime, health, secrets, configs, networks and a native neighbour that waits for the gateway.
func TestCompose(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	compose := func(args ...string) string {
		return e.docker(t, append([]string{"compose", "--file", "testdata/compose.yaml", "--ansi", "never"}, args...)...)
	}
	compose("up", "--detach", "--wait", "web")
	want(t, home+"/secret", "of compose\n")
	want(t, home+"/other", "hello\n")
	if text, err := get(home + "/env"); err != nil || !strings.Contains(text, "GREETING=from compose") {
		t.Errorf("environment: %v\n%s", err, text)
	}
	compose("up", "neighbour")
	if text := e.logs("site-neighbour-1"); text != "hello\n" {
		t.Errorf("the neighbour got %q", text)
	}
	if text := compose("exec", "-T", "web", "wagi", "routes"); !strings.Contains(text, "/secret") {
		t.Errorf("wagi routes:\n%s", text)
	}
	compose("up", "--detach", "--wait", "--scale", "worker=3", "worker")
	if n := strings.Count(compose("ps", "--format", "{{.Service}}"), "worker"); n != 3 {
		t.Errorf("%d workers, want 3", n)
	}
	compose("down", "--volumes")
}
