//go:build linux

package docker

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

// security are the flags of a container that may do nothing.
var security = []string{"--read-only", "--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}

func TestSecurity(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	e.load(t, "upload")
	e.run(t, "web", "upload", append(security, "--tmpfs", "/data:uid=1000")...)
	want(t, home+"/files/", "")
	expect := map[string]string{"Uid": "1000", "Gid": "1000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
	if got := e.status(t, "web"); fmt.Sprint(got) != fmt.Sprint(expect) {
		t.Errorf("the gateway's rights: got %v, want %v", got, expect)
	}
	body := strings.Repeat("chunked ", 100_000)
	if text, err := send("PUT", home+"/files/large", io.MultiReader(strings.NewReader(body))); err != nil || text != "stored 800000 bytes\n" {
		t.Errorf("a large body of unknown length: %q, %v", text, err)
	}
	want(t, home+"/files/large", body)
	if text := e.docker(t, "exec", "web", "wagi", "health"); text != "ready: yes" {
		t.Errorf("wagi health: %s", text)
	}
	e.docker(t, "stop", "web")
	if got := e.inspect(t, "web", "{{.State.ExitCode}}"); got != "0" {
		t.Errorf("exit status after stop: got %s, want 0", got)
	}
	e.docker(t, "rm", "web")

	e.run(t, "web", "guests", "--security-opt", "seccomp=unconfined", "--privileged")
	want(t, home, "hello\n")
	if got := e.status(t, "web")["Seccomp"]; got != "0" {
		t.Errorf("without seccomp: %s", got)
	}
	e.docker(t, "rm", "--force", "web")

	profile := e.dir + "/profile.json"
	write(t, profile, settings{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []settings{{"names": []string{"listen"}, "action": "SCMP_ACT_ERRNO"}}})
	r := e.try("run", "--rm", "--runtime", wagi, "--security-opt", "seccomp="+profile, "guests")
	if r.Code != 1 || !strings.Contains(r.Err, "listen") || !strings.Contains(r.Err, "operation not permitted") {
		t.Errorf("a profile without listen: exit status %d\n%s", r.Code, r.Err)
	}
}

// status are the rights of a container's first process; of the four ids the effective one.
func (e *engine) status(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.pid(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	rights := map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch key := strings.TrimSuffix(f[0], ":"); key {
		case "Uid", "Gid":
			rights[key] = f[2]
		case "CapEff", "CapBnd", "NoNewPrivs", "Seccomp":
			rights[key] = f[1]
		}
	}
	return rights
}

func TestAppArmor(t *testing.T) {
	if enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); strings.TrimSpace(string(enabled)) != "Y" {
		t.Skip("this kernel has no AppArmor")
	}
	e := start(t, nil)
	e.guests(t)
	e.run(t, "web", "guests")
	want(t, home, "hello\n")
	if profile, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", e.pid(t, "web"))); strings.TrimSpace(string(profile)) != "docker-default (enforce)" {
		t.Errorf("profile %q, %v", profile, err)
	}
}

// With userns-remap the container's root is an ordinary user on the host.
func TestUserNamespace(t *testing.T) {
	require(t)
	bind(t, "/etc/subuid", "nobody:200000:65536\n")
	bind(t, "/etc/subgid", "nobody:200000:65536\n")
	e := start(t, settings{"userns-remap": "nobody:nogroup"})
	e.guests(t)
	e.load(t, "upload")
	e.run(t, "web", "guests")
	want(t, home, "hello\n")
	if got := e.status(t, "web")["Uid"]; got != "200000" {
		t.Errorf("the gateway's user on the host is %s, want 200000", got)
	}
	if text := e.docker(t, "exec", "web", "wagi", "health"); text != "ready: yes" {
		t.Errorf("wagi health: %s", text)
	}
	e.drain(t)
	e.docker(t, "rm", "web")
	e.run(t, "web", "upload", "--volume", "files:/data", "--read-only")
	machine.Await(t, func() error {
		_, err := send("PUT", home+"/files/a", strings.NewReader("text"))
		return err
	})
	want(t, home+"/files/a", "text")
}

// bind puts a file over another until the end of the test.
func bind(t *testing.T, path, content string) {
	t.Helper()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
}
