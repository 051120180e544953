//go:build linux

package docker

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// TestReadme types the session of README's Docker section into a shell.
func TestReadme(t *testing.T) {
	e := start(t, nil)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Docker\n")
	_, block, begins := strings.Cut(section, "```console\n")
	block, _, ends := strings.Cut(block, "```\n")
	if !found || !begins || !ends {
		t.Fatal("README.md has no session with Docker")
	}
	dir := t.TempDir()
	if err := os.Symlink(machine.Out(""), dir+"/out"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script(block))
	cmd.Dir, cmd.Env = dir, e.environment()
	if got, want := mask(machine.Run(t, cmd)), mask(block); got != want {
		t.Errorf("got\n%s\nREADME.md says\n%s", got, want)
	}
}

// script makes a shell's script of a session: it prints each command before it runs it.
func script(session string) string {
	var b strings.Builder
	document := false // in a here-document, to END
	command := ""
	for line := range strings.Lines(session) {
		text, begins := strings.CutPrefix(line, "$ ")
		if !begins && !document {
			continue // what a command prints
		}
		command += text
		if begins {
			document = strings.Contains(line, "<<'END'")
		} else {
			document = line != "END\n"
		}
		if !document {
			b.WriteString("cat <<'SHOWN'\n$ " + command + "SHOWN\n" + command)
			command = ""
		}
	}
	return b.String()
}

var container = regexp.MustCompile(`[0-9a-f]{64}`)

// mask blanks the ids of containers.
func mask(text string) string { return container.ReplaceAllString(text, "...") }
