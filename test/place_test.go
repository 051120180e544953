//go:build linux

package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Containers share a file of the node that holds the gateway. Where there can be none, each has the gateway in its memory.
func TestPlaceOfTheGateway(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(dir string) error
		program string // what the container's process executes
		warning string
	}{
		"shared": {nil, "/dev/wagi", ""},
		"not writable": {func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
			"/memfd:wagi (deleted)", "not a directory"},
		"noexec": {func(dir string) error {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			return unix.Mount("noexec", dir, "tmpfs", unix.MS_NOEXEC, "")
		}, "/memfd:wagi (deleted)", "is mounted noexec"},
	} {
		t.Run(name, func(t *testing.T) {
			r := releases()[0]
			require(t, r)
			d := start(t, r)
			d.pull(t)
			if c.spoil != nil {
				dir := filepath.Join(filepath.Dir(d.code()), "wagi-gateway")
				if err := c.spoil(dir); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = unix.Unmount(dir, 0) }) // where it is no mount, that fails
			}
			pid := d.serveAll(t, "web")
			if program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || program != c.program {
				t.Errorf("the container executes %s, %v; want %s", program, err, c.program)
			}
			if text := d.ctr(t, "task", "exec", "--exec-id", "e", "web", "wagi", "routes"); !strings.Contains(text, "/") {
				t.Errorf("wagi routes: %s", text)
			}
			log, err := os.ReadFile(d.dir + "/log")
			if err != nil || bytes.Contains(log, []byte("cannot share the gateway")) != (c.warning != "") || !bytes.Contains(log, []byte(c.warning)) {
				t.Errorf("log of the node: %v\n%s", err, log)
			}
		})
	}
}
