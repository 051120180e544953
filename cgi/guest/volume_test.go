package guest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

func TestFiles(t *testing.T) {
	for _, story := range []string{"files", "raw-files", "unstable"} {
		t.Run(story, func(t *testing.T) {
			runStory(t, Config{Volumes: []Volume{{Guest: "/data", Host: t.TempDir()}}}, story, "/data")
		})
	}
}

func TestFilesAtRoot(t *testing.T) {
	runStory(t, Config{Volumes: []Volume{{Guest: "/", Host: t.TempDir()}}}, "files", "/")
}

// A hostile guest does not get out of its volume, whatever links lie in it.
func TestVolumeConfines(t *testing.T) {
	parent := t.TempDir()
	volume := filepath.Join(parent, "volume")
	writeFiles(t, parent, "secret", "outside/file", "volume/inside/file")
	for name, target := range map[string]string{
		"relative":      "..",
		"absolute":      parent,
		"inside/up":     "../..",
		"chain":         "inside/up",
		"by-absolute":   volume + "/..",
		"outside/link":  "../secret",
		"inside/volume": "../../volume/..",
	} {
		dir := volume
		if strings.HasPrefix(name, "outside") {
			dir = parent
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"dangling", "dangling-absolute"} {
		target := "../created"
		if name == "dangling-absolute" {
			target = filepath.Join(parent, "created")
		}
		if err := os.Symlink(target, filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, parent)
	runStory(t, Config{Volumes: []Volume{{Guest: "/data", Host: volume}}}, "escape",
		"relative", "absolute", "inside/up", "chain", "by-absolute", "inside/volume", "dangling", "dangling-absolute")
	if after := snapshot(t, parent); after != before {
		t.Errorf("outside of the volume before:\n%s\nafter:\n%s", before, after)
	}
}

// Guests that work together, one changing what the other is just looking up, do not get out either.
func TestVolumeConfinesRaces(t *testing.T) {
	parent := t.TempDir()
	volume := filepath.Join(parent, "volume")
	writeFiles(t, parent, "secret", "outside/file", "volume/place/secret")
	if err := os.WriteFile(filepath.Join(volume, "place", "secret"), []byte("inside"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(volume, "up")); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, parent)
	t.Run("", func(t *testing.T) {
		for _, story := range []string{"swap", "peek", "peek"} {
			t.Run(story, func(t *testing.T) {
				t.Parallel()
				runStory(t, Config{Volumes: []Volume{{Guest: "/data", Host: volume}}}, story)
			})
		}
	})
	if after := snapshot(t, parent); after != before {
		t.Errorf("outside of the volume before:\n%s\nafter:\n%s", before, after)
	}
}

// A read-only volume can be read, and every other call says EROFS.
func TestReadOnlyVolume(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, "f", "d/f")
	before := snapshot(t, filepath.Join(dir, "d")) + snapshot(t, dir)
	runStory(t, Config{Volumes: []Volume{{Guest: "/data", Host: dir, ReadOnly: true}}}, "read-only")
	if after := snapshot(t, filepath.Join(dir, "d")) + snapshot(t, dir); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestSeveralVolumes(t *testing.T) {
	parent := t.TempDir()
	for i, name := range []string{"zero", "one"} {
		writeFiles(t, parent, name+"/name")
		if err := os.WriteFile(filepath.Join(parent, name, "name"), []byte{byte('0' + i)}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runStory(t, Config{Volumes: []Volume{
		{Guest: "/zero", Host: filepath.Join(parent, "zero")},
		{Guest: "/data/one", Host: filepath.Join(parent, "one")},
	}}, "volumes", "/zero", "/data/one")
}

// A missing directory is left out and logged once, and is there as soon as it exists.
func TestMissingVolume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	var logged bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&logged)
	ctx := log.WithLogger(t.Context(), logrus.NewEntry(logger))
	m := compileProgram(t, "story", Config{Volumes: []Volume{{Guest: "/data", Host: dir}}})
	call := &Call{Args: []string{"story", "files", "/data"}}
	for range 2 {
		if err := m.Run(ctx, call); err == nil {
			t.Fatal("the guest found a volume")
		}
	}
	if got := logged.String(); strings.Count(got, "volume left out") != 1 || !strings.Contains(got, "volume=/data") {
		t.Errorf("got log %q", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(ctx, call); err != nil {
		t.Error(err)
	}
}

// writeFiles makes files that contain "content" and the directories that they need.
func writeFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot describes all below a directory but the content of a subdirectory "volume".
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "volume" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := []byte(nil)
		if d.Type().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		_, err = b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + " " + string(content) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
