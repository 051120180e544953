//go:build linux

package shim

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newGateway(binary string) Gateway {
	sum := sha256.Sum256([]byte(binary))
	return Gateway{Binary: binary, Sum: hex.EncodeToString(sum[:])}
}

func TestGatewayIsInstalledOnce(t *testing.T) {
	g, cache := newGateway("program"), filepath.Join(t.TempDir(), "code")
	file, err := g.install(cache)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(file); string(content) != g.Binary || err != nil {
		t.Errorf("file holds %q, %v", content, err)
	}
	first, err := os.Stat(file)
	if err != nil || first.Mode() != 0o755 {
		t.Errorf("mode is %v, %v", first.Mode(), err)
	}
	if again, err := g.install(cache); again != file || err != nil {
		t.Errorf("second time: %s, %v", again, err)
	}
	if second, err := os.Stat(file); err != nil || !os.SameFile(first, second) {
		t.Errorf("the file was made again, %v", err)
	}
}

func TestGatewayReplacesWhatIsNotIts(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"cut off":     func(file string) error { return os.Truncate(file, 3) },
		"writable":    func(file string) error { return os.Chmod(file, 0o777) },
		"link":        func(file string) error { return os.Rename(file, file+"-") },
		"not started": func(file string) error { return os.Chmod(file, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			g, cache := newGateway("program"), filepath.Join(t.TempDir(), "code")
			file, err := g.install(cache)
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(file); err != nil {
				t.Fatal(err)
			}
			if name == "link" {
				if err := os.Symlink(file+"-", file); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := g.install(cache); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(file); err != nil || !g.is(info) {
				t.Errorf("file is %v, %v", info, err)
			}
		})
	}
}

func TestGatewayRemovesOldVersions(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "code")
	unused, err := newGateway("version 1").install(cache)
	if err != nil {
		t.Fatal(err)
	}
	used, err := newGateway("version 2").install(cache)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * gatewayUnused)
	if err := os.Chtimes(unused, old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := newGateway("version 3").install(cache); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(unused); !os.IsNotExist(err) {
		t.Errorf("a version without use for long is there, %v", err)
	}
	if _, err := os.Stat(used); err != nil {
		t.Error(err)
	}
}

func TestGatewayWithoutAPlace(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "file", "code")
	if err := os.WriteFile(filepath.Dir(cache), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := newGateway("program").path(t.Context(), cache); got != self || err != nil {
		t.Errorf("got %s, %v, want this program", got, err)
	}
}

func TestDamagedGateway(t *testing.T) {
	g, cache := newGateway("program"), filepath.Join(t.TempDir(), "code")
	g.Binary = "Program"
	if file, err := g.install(cache); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %s, %v", file, err)
	}
	if list, _ := os.ReadDir(filepath.Dir(cache)); len(list) != 0 {
		t.Errorf("there is %v", list)
	}
}

func TestGatewayGetsTheLabelOfTheShim(t *testing.T) {
	label := []byte("system_u:object_r:bin_t:s0")
	if err := unix.Setxattr("/proc/self/exe", selinuxLabel, label, 0); err != nil {
		t.Skip("set the label of this program:", err)
	}
	file, err := newGateway("program").install(filepath.Join(t.TempDir(), "code"))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	n, err := unix.Getxattr(file, selinuxLabel, got)
	if err != nil || string(got[:n]) != string(label) {
		t.Errorf("label is %q, %v", got[:max(n, 0)], err)
	}
}
