//go:build linux

package test

import (
	"net"
	"os"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// Bad input ends in one sentence that names the fault, in the error of ctr run or on the container's standard error, in an
// exit status, and in nothing that stays.
func TestBadInput(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		busy, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer busy.Close()
		write := func(name, text string) string {
			path := d.dir + "/" + name
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		for _, test := range []struct {
			name  string
			flags []string
			args  []string
			code  int
			want  string
		}{
			{"no modules.toml", nil, []string{"/nothing.toml"}, 1, "/nothing.toml"},
			{"broken modules.toml", nil, []string{"/broken.toml"}, 1, "/broken.toml:1:"},
			{"unknown key", nil, []string{"/unknown-key.toml"}, 1, "/unknown-key.toml:3:1: "},
			{"no module", nil, []string{"/missing-module.toml"}, 1, "/nothing.wasm"},
			{"invalid module", nil, []string{"/invalid-module.toml"}, 1, "/invalid.wasm"},
			{"no command module", nil, []string{"/nothing.wasm"}, 1, "/nothing.wasm"},
			{"invalid command module", nil, []string{"/invalid.wasm"}, 1, "/invalid.wasm"},
			{"port in use", []string{"--net-host"}, []string{"/modules.toml", "--listen", busy.Addr().String()}, 1, "in use"},
			{"unknown flag", nil, []string{"/modules.toml", "--nonsense"}, 2, "--nonsense"},
			{"bad value of a flag", nil, []string{"/modules.toml", "--listen", "nowhere"}, 2, "nowhere"},
			{"no file of options", []string{"--runtime-config-path", "/nothing.conf"}, nil, 1, "/nothing.conf"},
			{"unknown option", []string{"--runtime-config-path", write("unknown.conf", "Sandwich = true")}, nil, 1, "Sandwich"},
			{"option of the wrong type", []string{"--runtime-config-path", write("type.conf", "SystemdCgroup = 7")}, nil, 1, "SystemdCgroup"},
			{"no OCI runtime by that name", []string{"--runtime-config-path", write("binary.conf", `BinaryName = "nobody"`)}, nil, 1, "nobody"},
		} {
			r := d.try(container(wagi, "bad", append(test.flags, foreground...), test.args...)...)
			check(t, test.name, r, test.code, test.want)
			machine.Await(t, d.clean)
			d.remove("bad") // which a failed ctr run leaves
		}
		rootless := []string{"run", "--rm", "--runtime", wagi, "--rootfs", d.dir + "/nothing", "bad", "/modules.toml"}
		check(t, "no rootfs", d.try(rootless...), 1, d.dir+"/nothing")
		d.remove("bad")
		empty := []string{"run", "--rm", "--runtime", wagi, "--rootfs", t.TempDir(), "bad", "/nothing"}
		check(t, "no program", d.try(empty...), 1, "/nothing")
	})
}

// What keeps a gateway from starting is one sentence in the container's log, and a hint where the remedy is known: that is all
// of the log, and the exit status is 1.
func TestMessages(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		busy, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer busy.Close()
		address := busy.Addr().String()
		for id, test := range map[string]struct {
			args []string
			want string
		}{
			"bad-config": {[]string{"/unknown-key.toml"}, `/unknown-key.toml:3:1: unknown key "modul"; did you mean "module"?`},
			"no-module":  {[]string{"/missing-module.toml"}, `/missing-module.toml:1:3: route "/": open /nothing.wasm: no such file or directory`},
			"trap":       {[]string{"/trap.toml", "--listen", "127.0.0.1:0"}, `/trap.toml:1:3: route "/": _routes: guest trapped: unreachable`},
			"port": {[]string{"/modules.toml", "--listen", address}, "listen on " + address + ": the address is in use" +
				"\nwagi: hint: another process serves there; choose another address with --listen ADDRESS"},
		} {
			log := d.dir + "/" + id + ".log"
			d.ctr(t, container(wagi, id, []string{"--detach", "--net-host", "--log-uri", "file://" + log}, test.args...)...)
			d.state(t, id, "STOPPED")
			if r := d.try("task", "delete", id); !strings.Contains(r.Err, "non-zero exit code 1\"") { // a warning of ctr's
				t.Errorf("%s: exit status 1 is not in %q", id, r.Err)
			}
			if text, err := os.ReadFile(log); string(text) != "wagi: error: "+test.want+"\n" {
				t.Errorf("%s: %v, log:\n%swant: %s", id, err, text, test.want)
			}
		}
	})
}

func TestNoRunc(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.down(t)
		whole := d.path
		d.path = d.dir + "/bin"
		if err := os.Mkdir(d.path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(machine.Out("containerd-shim-wagi-v1"), d.path+"/containerd-shim-wagi-v1"); err != nil {
			t.Fatal(err)
		}
		d.up(t)
		check(t, "no runc", d.try(container(wagi, "bad", foreground)...), 1, `"runc" not found`)
		machine.Await(t, d.clean)
		d.down(t)
		d.path = whole
		d.up(t)
	})
}

// check fails the test unless the command ended with the status and at most two lines, the fault and a hint, besides
// what ctr itself logs.
func check(t *testing.T, name string, r machine.Result, code int, want string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(r.Err) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "")
	if r.Code != code || !strings.Contains(text, want) || len(lines) > 2 {
		t.Errorf("%s: got exit status %d and\n%swant %d and one sentence with %q", name, r.Code, text, code, want)
	}
}
