//go:build linux

package shim

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSeparate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "web.log")
	stdout, stderr, err := separate("file://"+path, "file://"+path)
	if err != nil {
		t.Fatal(err)
	}
	one, err := os.Stat(stdout)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Stat(stderr)
	if err != nil {
		t.Fatal(err)
	}
	if stdout == stderr || !os.SameFile(one, other) {
		t.Errorf("separate = %q, %q, want two names of one file", stdout, stderr)
	}
	for _, streams := range [][2]string{{"/run/fifo-1", "/run/fifo-2"}, {"", ""}, {"binary:///bin/logger?id=x", "binary:///bin/logger?id=x"}} {
		stdout, stderr, err := separate(streams[0], streams[1])
		if stdout != streams[0] || stderr != streams[1] || err != nil {
			t.Errorf("separate(%q) = %q, %q, %v", streams, stdout, stderr, err)
		}
	}
	if _, _, err := separate("file://"+path, ""); err == nil {
		t.Error("a file for standard output alone makes the task service panic and is accepted")
	}
}
