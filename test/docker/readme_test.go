//go:build linux

package docker

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// TestReadme types the session of README's Docker section into a shell.
func TestReadme(t *testing.T) {
	e := start(t, nil)
	session := machine.ReadmeBlock(t, "\n## Docker\n", "```console")
	dir := t.TempDir()
	if err := os.Symlink(machine.Out(""), dir+"/out"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", machine.SessionScript(session))
	cmd.Dir, cmd.Env = dir, e.environment()
	if got, want := mask(machine.Run(t, cmd)), mask(session); got != want {
		t.Errorf("got\n%s\nREADME.md says\n%s", got, want)
	}
}

var container = regexp.MustCompile(`[0-9a-f]{64}`)

// mask blanks the ids of containers.
func mask(text string) string { return container.ReplaceAllString(text, "...") }
