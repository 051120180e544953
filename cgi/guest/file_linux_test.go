package guest

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A fifo in a volume does not block a guest where its context cannot reach it.
func TestFifo(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	runStory(t, Config{Volumes: []Volume{{Guest: "/data", Host: dir}}}, "fifo")
}
