//go:build linux

package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// Each file of testdata is a node: its files before, and after install or the error of it. A second install changes
// nothing, and uninstall leads back.
func TestNodes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no nodes", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			n, before, after := newNode(t, archive)
			want, fails := strings.CutPrefix(strings.TrimSpace(string(archive.Comment)), "error: ")
			err = n.install(t.Context())
			if fails {
				if err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("error %v, want %s", err, want)
				}
				expect(t, n, "refused", before)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			after[shimPath], after[filepath.Dir(shimPath)+"/wagi"] = "shim", "shim"
			expect(t, n, "install", after)
			if err := n.install(t.Context()); err != nil {
				t.Error(err)
			}
			expect(t, n, "install again", after)
			if err := n.uninstall(t.Context()); err != nil {
				t.Error(err)
			}
			expect(t, n, "uninstall", before)
		})
	}
}

// newNode makes the node's root directory, and says which files are to be there before and after.
func newNode(t *testing.T, archive *txtar.Archive) (n *node, before, after map[string]string) {
	t.Helper()
	n = &node{root: t.TempDir(), shim: filepath.Join(t.TempDir(), "shim"), handler: "wagi"}
	write(t, n.shim, "shim")
	before, after = map[string]string{}, map[string]string{}
	for _, f := range archive.Files {
		if name, ok := strings.CutPrefix(f.Name, "before"); ok {
			before[name] = string(f.Data)
			write(t, n.path(name), string(f.Data))
		} else if name, ok := strings.CutPrefix(f.Name, "after"); ok {
			after[name] = string(f.Data)
		} else {
			t.Fatalf("file %s is neither before nor after", f.Name)
		}
	}
	return n, before, after
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := put(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// expect compares the node's files, but for the copies of those that were changed, with the ones that are wanted.
func expect(t *testing.T, n *node, when string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".before-wagi") {
			return err
		}
		content, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, n.root)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("files after %s:\n%q\nwant\n%q", when, got, want)
	}
}

// The copy of a file is what it was before the first change, whatever comes later.
func TestBackup(t *testing.T) {
	const file = "/etc/containerd/config.toml"
	n := &node{root: t.TempDir(), shim: filepath.Join(t.TempDir(), "shim"), handler: "wagi"}
	write(t, n.shim, "shim")
	write(t, n.path(file), "version = 2\n# first\n")
	for _, change := range []func() error{
		func() error { return n.install(t.Context()) },
		func() error { return n.uninstall(t.Context()) },
		func() error { return os.WriteFile(n.path(file), []byte("version = 2\n# second\n"), 0o644) },
		func() error { return n.install(t.Context()) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := n.readText(file + ".before-wagi"); err != nil || got != "version = 2\n# first\n" {
		t.Errorf("copy %q, %v", got, err)
	}
}

// Without systemd the change stands, and the error says what is left to do.
func TestNoSystemd(t *testing.T) {
	n := &node{root: t.TempDir(), shim: filepath.Join(t.TempDir(), "shim"), handler: "wagi", restart: true}
	write(t, n.shim, "shim")
	err := n.install(t.Context())
	if err == nil || !strings.Contains(err.Error(), "restart containerd") {
		t.Errorf("error %v", err)
	}
	if text, err := n.readText("/etc/containerd/config.toml"); err != nil || !strings.Contains(text, shimPath) {
		t.Errorf("configuration %q, %v", text, err)
	}
	if again := n.install(t.Context()); again == nil || again.Error() != err.Error() {
		t.Errorf("error the second time %v, want the same", again)
	}
}
