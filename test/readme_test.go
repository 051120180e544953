//go:build linux

package test

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

// A step is a command of README's session and what it prints there.
type step struct {
	command, output string
}

// readSession reads the first console block of README: "$ " begins a command, which goes on to the end of its here-document.
func readSession(t *testing.T) []step {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```console\n")
	block, _, closed := strings.Cut(block, "```\n")
	if !found || !closed {
		t.Fatal("README.md has no console block")
	}
	var steps []step
	document := false
	for line := range strings.Lines(block) {
		command, begins := strings.CutPrefix(line, "$ ")
		switch {
		case begins:
			steps = append(steps, step{command: command})
			document = strings.Contains(line, "<<'END'")
		case document:
			steps[len(steps)-1].command += line
			document = line != "END\n"
		default:
			steps[len(steps)-1].output += line
		}
	}
	return steps
}

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
	const separator = "-- end of step --\n"
	var script, want strings.Builder
	for _, s := range readSession(t) {
		script.WriteString(s.command + "echo '" + strings.TrimSpace(separator) + "'\n")
		want.WriteString(s.output + separator)
	}
	shell := exec.Command("bash", "-eu", "-c", script.String())
	shell.Dir = t.TempDir()
	shell.Env = append(os.Environ(), "PATH="+bin+":"+d.path, "CONTAINERD_ADDRESS="+d.socket(), "CONTAINERD_NAMESPACE="+d.ns, "GOFLAGS=-buildvcs=false")
	text, err := shell.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	if got, want := mask(string(text)), mask(want.String()); got != want {
		t.Errorf("got\n%s\nREADME.md says\n%s", got, want)
	}
}

var varying = regexp.MustCompile(`sha256:[0-9a-f]{64}|\(\d+ bytes\)`)

// mask blanks what depends on the version of Go that built the guest.
func mask(text string) string {
	return varying.ReplaceAllString(text, "...")
}
