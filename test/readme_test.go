//go:build linux

package test

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

// TestReadme types README's session into a shell, in a network of its own because the session takes port 3000.
func TestReadme(t *testing.T) {
	r := releases()[0]
	require(t, r)
	runtime.LockOSThread() // never undone: the thread, which is in another network, ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		machine.Skip(t, "network namespace: %v", err)
	}
	if text, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		machine.Skip(t, "ip: %v: %s", err, text)
	}
	d := start(t, r)
	bin := t.TempDir()
	if err := os.Symlink(machine.Out("containerd-shim-wagi-v1"), bin+"/wagi"); err != nil {
		t.Fatal(err)
	}
	session := machine.ReadmeBlock(t, "```console")
	shell := exec.Command("bash", "-eu", "-c", machine.SessionScript(session))
	shell.Dir = t.TempDir()
	shell.Env = append(os.Environ(), "PATH="+bin+":"+d.path, "CONTAINERD_ADDRESS="+d.socket(), "CONTAINERD_NAMESPACE="+d.ns, "GOFLAGS=-buildvcs=false")
	text, err := shell.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	if got, want := mask(string(text)), mask(session); got != want {
		t.Errorf("got\n%s\nREADME.md says\n%s", got, want)
	}
}

var varying = regexp.MustCompile(`sha256:[0-9a-f]{64}|\(\d+ bytes\)`)

// mask blanks what depends on the version of Go that built the guest.
func mask(text string) string {
	return varying.ReplaceAllString(text, "...")
}
