package command

import (
	"os"
	"path/filepath"
	"testing"
)

// Files are compared without any events: the zero fileWatch has none.
func TestFileWatchCompares(t *testing.T) {
	dir := t.TempDir()
	file, other, link := filepath.Join(dir, "file"), filepath.Join(dir, "other"), filepath.Join(dir, "link")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(file, []byte("a"), 0o600))
	must(os.WriteFile(other, []byte("a"), 0o600))
	must(os.Symlink(file, link))
	var w fileWatch
	w.watch([]string{file, link, filepath.Join(dir, "later")})
	steps := []struct {
		name string
		step func() error
		want bool
	}{
		{"nothing", func() error { return nil }, false},
		{"longer", func() error { return os.WriteFile(file, []byte("bb"), 0o600) }, true},
		{"another file", func() error { return os.Chmod(other, 0o644) }, false},
		{"link replaced", func() error { must(os.Remove(link)); return os.Symlink(other, link) }, true},
		{"file removed", func() error { return os.Remove(other) }, true},
		{"still removed", func() error { return nil }, false},
		{"file made", func() error { return os.WriteFile(filepath.Join(dir, "later"), nil, 0o600) }, true},
	}
	for _, s := range steps {
		must(s.step())
		if got := w.changed(t.Context()); got != s.want {
			t.Errorf("%s: changed %v, want %v", s.name, got, s.want)
		}
	}
	w.watch([]string{file})
	must(os.WriteFile(file, []byte("ccc"), 0o600))
	w.watch([]string{file, other})
	if !w.changed(t.Context()) {
		t.Error("a change was lost while the files were named anew")
	}
}
