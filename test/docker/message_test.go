//go:build linux

package docker

import (
	"os"
	"strings"
	"testing"
)

// What goes wrong is one sentence where users look: the answer of docker run, or docker logs.
func TestMessages(t *testing.T) {
	options := t.TempDir() + "/runtime.toml"
	if err := os.WriteFile(options, []byte("SystemdCgroups = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, settings{"runtimes": settings{"misspelt": settings{"runtimeType": wagi, "options": settings{"ConfigPath": options}}}})
	e.guests(t)
	e.run(t, "web", "guests")
	want(t, home, "hello\n")
	for _, test := range []struct {
		name  string
		flags []string
		code  int
		err   string
	}{
		{"bad TOML", []string{"--runtime", wagi, "--entrypoint", "/broken.toml"}, 1, "wagi: error: /broken.toml:1:"},
		{"unknown key", []string{"--runtime", wagi, "--entrypoint", "/unknown-key.toml"}, 1, `wagi: error: /unknown-key.toml:3:1: `},
		{"missing module", []string{"--runtime", wagi, "--entrypoint", "/missing-module.toml"}, 1, "wagi: error: /missing-module.toml:1:3: "},
		{"invalid module", []string{"--runtime", wagi, "--entrypoint", "/invalid-module.toml"}, 1, "wagi: error: /invalid-module.toml:1:3: "},
		{"no modules.toml", []string{"--runtime", wagi, "--entrypoint", "/none.toml"}, 1, "wagi: error: "},
		{"port in use", []string{"--runtime", wagi, "--network", "container:web"}, 1, "wagi: error: listen "},
		{"no runtime", nil, 126, `exec: "/modules.toml": permission denied`},
		{"no shim", []string{"--runtime", "io.containerd.absent.v1"}, 125, `binary not installed "containerd-shim-absent-v1"`},
		{"wrong option", []string{"--runtime", "misspelt"}, 125, `runtime.toml:1:1: unknown option "SystemdCgroups"`},
	} {
		r := e.try(append(append([]string{"run", "--rm"}, test.flags...), "guests")...)
		if r.Code != test.code || !strings.Contains(r.Err, test.err) || strings.Count(r.Err, "wagi: error: ") > 1 {
			t.Errorf("%s: exit status %d, want %d\ngot  %swant %s", test.name, r.Code, test.code, r.Err, test.err)
		}
	}
}
