//go:build linux

package docker

import (
	"os"
	"strings"
	"testing"
)

// HEALTHCHECK in each of its forms; the image has no shell.
func TestHealth(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	often := []string{"--health-interval", "500ms", "--health-start-interval", "500ms", "--health-timeout", "20s", "--health-retries", "2"}
	for name, check := range map[string]string{"exec": `["wagi","health"]`, "path": `["/dev/wagi","health"]`, "shell": "wagi health || exit 1", "other-port": "wagi health --listen 127.0.0.1:4000"} {
		context := t.TempDir()
		if err := os.WriteFile(context+"/Dockerfile", []byte("FROM guests\nHEALTHCHECK CMD "+check+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		e.docker(t, "build", "--quiet", "--tag", name, context)
		e.docker(t, append(append([]string{"run", "--detach", "--name", name, "--runtime", wagi}, often...), name)...)
	}
	e.docker(t, append(append([]string{"run", "--detach", "--name", "flag", "--runtime", wagi, "--health-cmd", "wagi health"}, often...), "guests")...)
	for _, name := range []string{"exec", "path", "shell", "flag"} {
		e.until(t, name, "{{.State.Health.Status}}", "healthy")
		e.until(t, name, "{{(index .State.Health.Log 0).Output}}", "ready: yes")
	}
	e.until(t, "other-port", "{{.State.Health.Status}}", "unhealthy")
	if got, want := e.inspect(t, "other-port", "{{(index .State.Health.Log 0).Output}}"), "wagi: error: no gateway on 127.0.0.1:4000: "; !strings.HasPrefix(got, want) {
		t.Errorf("the log of the checks: got %q, want %q", got, want)
	}
}
