package command

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFirstWritable(t *testing.T) {
	dir := t.TempDir()
	missing, file := filepath.Join(dir, "missing"), filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstWritable([]string{missing, file, "/proc", dir}); got != dir {
		t.Errorf("got %s, want %s", got, dir)
	}
	if got := firstWritable([]string{missing, file}); got != missing {
		t.Errorf("got %s, want %s", got, missing)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}
