//go:build linux

package docker

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A runtime of daemon.json, as the default of all containers: those without WebAssembly are runc's.
func TestNamedRuntime(t *testing.T) {
	options, root := t.TempDir()+"/runtime.toml", t.TempDir()
	if err := os.WriteFile(options, []byte(fmt.Sprintf("Root = %q\n", root)), 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, settings{
		"runtimes":        settings{"wagi": settings{"runtimeType": wagi, "options": settings{"ConfigPath": options}}},
		"default-runtime": "wagi",
	})
	e.guests(t)
	if text := e.docker(t, "info", "--format", "{{json .Runtimes}} {{.DefaultRuntime}}"); !strings.Contains(text, `"wagi":`) || !strings.HasSuffix(text, " wagi") {
		t.Errorf("docker info: %s", text)
	}
	e.docker(t, "run", "--detach", "--name", "default", "--publish", "127.0.0.1:8080:3000", "guests")
	want(t, home, "hello\n")
	if got := e.inspect(t, "default", "{{.HostConfig.Runtime}}"); got != "wagi" {
		t.Errorf("runtime %s", got)
	}
	if _, err := os.Stat(root + "/moby/" + e.inspect(t, "default", "{{.Id}}")); err != nil {
		t.Errorf("runc's state is not in the Root of the options: %v", err)
	}
	if got, want := e.docker(t, "run", "--rm", "--runtime", "wagi", "--entrypoint", "/native", "guests", "exit", "0", "bye"), "out: bye"; got != want {
		t.Errorf("a native program: got %q, want %q", got, want)
	}
	e.docker(t, "run", "--rm", "--runtime", "runc", "--entrypoint", "/native", "guests", "exit", "0")
}
