//go:build linux

package machine

import (
	"os"
	"strings"
	"testing"
)

// ReadmeBlock is a block of code in README: the lines that follow the one with the last mark. Each mark is looked for after the one
// before it.
func ReadmeBlock(t testing.TB, marks ...string) string {
	t.Helper()
	text, err := os.ReadFile(Out("../README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rest := string(text)
	for _, mark := range append(marks, "\n") {
		var found bool
		if _, rest, found = strings.Cut(rest, mark); !found {
			t.Fatalf("README.md has no block %q", marks)
		}
	}
	block, _, closed := strings.Cut(rest, "```")
	if !closed {
		t.Fatalf("the block %q of README.md has no end", marks)
	}
	return block
}

// SessionScript makes a shell's script of a session, in which "$ " begins a command that goes on to the end of its here-document. It
// shows each command before it runs it, so that it prints the session.
func SessionScript(session string) string {
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
