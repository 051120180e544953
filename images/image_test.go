package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var program = fstest.MapFS{
	"modules.toml":     {Data: []byte("[[module]]\n"), Mode: 0o600},
	"bin/hello.wasm":   {Data: []byte("\x00asm\x01\x00\x00\x00"), Mode: 0o755, ModTime: time.Now()},
	"data/b/note.txt":  {Data: []byte("note"), Mode: 0o666},
	"data/a.txt":       {Data: bytes.Repeat([]byte("a"), 100_000)},
	"data/link":        {Data: []byte("b/note.txt"), Mode: fs.ModeSymlink | 0o777},
	"secret/unrelated": {Data: []byte("not in the image")},
}

var programConfig = Config{
	Files:  program,
	Layers: [][]string{{"data/", "empty/dir/"}, nil, {"bin/hello.wasm"}, {"modules.toml"}},
	Run:    v1.Config{Entrypoint: []string{"/modules.toml"}, WorkingDir: "/"},
}

func build(t *testing.T, cfg Config) v1.ImageIndex {
	t.Helper()
	index, err := Build(t.Context(), t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func archive(t *testing.T, index v1.ImageIndex, image string) []byte {
	t.Helper()
	named, err := ParseName(image)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(t.Context(), &b, t.TempDir(), index, named); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// platformImages returns the images of the index by platform.
func platformImages(t *testing.T, index v1.ImageIndex) map[string]v1.Image {
	t.Helper()
	im, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	images := make(map[string]v1.Image)
	for _, desc := range im.Manifests {
		image, err := index.Image(desc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		images[desc.Platform.String()] = image
	}
	return images
}

// listTar lists the entries of a tar archive as "mode owner time name content".
func listTar(t *testing.T, r io.Reader) []string {
	t.Helper()
	var list []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, tr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%v %d:%d %d %s%s %d", h.FileInfo().Mode(), h.Uid, h.Gid, h.ModTime.Unix(), h.Name, h.Linkname, n))
	}
}

func TestBuildLayers(t *testing.T) {
	want := [][]string{{
		"drwxr-xr-x 0:0 0 data/ 0",
		"-rw-r--r-- 0:0 0 data/a.txt 100000",
		"drwxr-xr-x 0:0 0 data/b/ 0",
		"-rw-r--r-- 0:0 0 data/b/note.txt 4",
		"Lrwxrwxrwx 0:0 0 data/linkb/note.txt 0",
		"drwxr-xr-x 0:0 0 empty/ 0",
		"drwxr-xr-x 0:0 0 empty/dir/ 0",
	}, {
		"drwxr-xr-x 0:0 0 bin/ 0",
		"-rw-r--r-- 0:0 0 bin/hello.wasm 8",
	}, {
		"-rw-r--r-- 0:0 0 modules.toml 11",
	}}
	images := platformImages(t, build(t, programConfig))
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		layers, err := images[platform].Layers()
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for _, layer := range layers {
			r, err := layer.Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, listTar(t, r))
			r.Close()
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: got layers\n%q, want\n%q", platform, got, want)
		}
		config, err := images[platform].ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("got platform %s, want %s", got, platform)
		}
		if got := config.Config.Entrypoint; !slices.Equal(got, []string{"/modules.toml"}) {
			t.Errorf("%s: got entrypoint %q", platform, got)
		}
	}
}

func TestPlatforms(t *testing.T) {
	cfg := programConfig
	cfg.Platforms = []v1.Platform{{OS: "wasi", Architecture: "wasm"}}
	images := platformImages(t, build(t, cfg))
	if len(images) != 1 || images["wasi/wasm"] == nil {
		t.Fatalf("got %v", images)
	}
	config, err := images["wasi/wasm"].ConfigFile()
	if err != nil || config.OS != "wasi" || config.Architecture != "wasm" {
		t.Errorf("%v, platform %s/%s", err, config.OS, config.Architecture)
	}
}

// The archive depends on nothing but names and content: not on modes, times,
// the order of creation or the folder.
func TestReproducible(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		names := []string{"data/1", "data/2", "data/3", "modules.toml"}
		if i == 1 {
			slices.Reverse(names)
		}
		for _, name := range names {
			file := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(file), 0o700|fs.FileMode(i)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(name), 0o600|fs.FileMode(i)<<6); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, time.Time{}, time.Unix(int64(i)*1e6, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var archives [][]byte
	for _, dir := range dirs {
		index := build(t, Config{Files: os.DirFS(dir), Layers: [][]string{{"data"}, {"modules.toml"}}})
		archives = append(archives, archive(t, index, "hello"))
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("equal input gave different archives")
	}
}

func TestCreated(t *testing.T) {
	cfg := programConfig
	cfg.Created = time.Unix(1_700_000_000, 999)
	image := platformImages(t, build(t, cfg))["linux/amd64"]
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Created.Format(time.RFC3339Nano); got != "2023-11-14T22:13:20Z" {
		t.Errorf("got created %s", got)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, want := listTar(t, r), []string{"-rw-r--r-- 0:0 1700000000 modules.toml 11"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Code for one architecture is in its image alone, as the last layer.
func TestBuildNative(t *testing.T) {
	cfg := programConfig
	cfg.Native = &Native{Architecture: "arm64", Files: fstest.MapFS{"code/entry": {Data: []byte("native")}}, Paths: []string{"code"}}
	for platform, image := range platformImages(t, build(t, cfg)) {
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		want := 3
		if platform == "linux/arm64" {
			want = 4
		}
		if len(layers) != want {
			t.Fatalf("%s: got %d layers, want %d", platform, len(layers), want)
		}
		content, err := layers[want-1].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(text, []byte("code/entry")); got != (want == 4) {
			t.Errorf("%s: the last layer has the code: %v", platform, got)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(outside, []byte("secret"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	must(os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	must(os.Symlink(outside, filepath.Join(dir, "escape")))
	must(os.Symlink(outside, filepath.Join(dir, "data", "escape")))
	must(os.Symlink(filepath.Dir(outside), filepath.Join(dir, "escapedir")))
	root, err := os.OpenRoot(dir)
	must(err)
	defer root.Close()

	tests := []struct{ name, path, want string }{
		{"missing", "absent.wasm", "no such file"},
		{"parent", "../outside", "invalid argument"},
		{"parent inside", "data/../file", "invalid argument"},
		{"absolute", outside, "invalid argument"},
		{"link", "escape", "path escapes"},
		{"link in directory", "data", "path escapes"},
		{"link as parent", "escapedir/outside", "path escapes"},
		{"link as directory", "escapedir/", "path escapes"},
		{"file as directory", "file/", "add file/: not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Build(t.Context(), t.TempDir(), Config{Files: root.FS(), Layers: [][]string{{tt.path}}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestBuildRefusesSpecialFiles(t *testing.T) {
	for _, mode := range []fs.FileMode{fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice} {
		files := fstest.MapFS{"data/special": {Mode: mode}}
		_, err := Build(t.Context(), t.TempDir(), Config{Files: files, Layers: [][]string{{"data/"}}})
		want := "add data/: data/special is neither a file, a directory nor a symbolic link"
		if err == nil || err.Error() != want {
			t.Errorf("%v: got error %v, want %s", mode, err, want)
		}
	}
}

// A registry takes the index and gives it back.
func TestRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref, err := name.ParseReference(server.Listener.Addr().String() + "/test/hello:v1")
	if err != nil {
		t.Fatal(err)
	}
	index := build(t, programConfig)
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(pulled); err != nil {
		t.Error(err)
	}
	got, err := pulled.Digest()
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("pulled %s, pushed %s", got, want)
	}
}

// The archive is an OCI layout and a Docker archive.
func TestWrite(t *testing.T) {
	index := build(t, programConfig)
	dir := t.TempDir()
	if err := os.CopyFS(dir, untar(t, archive(t, index, "hello"))); err != nil {
		t.Fatal(err)
	}
	t.Run("OCI layout", func(t *testing.T) {
		stored, err := layout.ImageIndexFromPath(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(stored); err != nil {
			t.Error(err)
		}
		im, err := stored.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if len(im.Manifests) != 1 || im.Manifests[0].Digest != digest {
			t.Fatalf("got %v, want the one index %s", im.Manifests, digest)
		}
		want := map[string]string{
			"io.containerd.image.name":          "docker.io/library/hello:latest",
			"org.opencontainers.image.ref.name": "latest",
		}
		if got := im.Manifests[0].Annotations; !maps.Equal(got, want) {
			t.Errorf("got annotations %v, want %v", got, want)
		}
	})
	t.Run("Docker archive", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var manifest tarball.Manifest
		if err := json.Unmarshal(b, &manifest); err != nil {
			t.Fatal(err)
		}
		if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{"docker.io/library/hello:latest"}) {
			t.Fatalf("got %s", b)
		}
		layers := manifest[0].Layers
		if len(layers) != 3 {
			t.Errorf("got %d layers, want 3", len(layers))
		}
		for _, file := range append(layers, manifest[0].Config) {
			if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(file))); err != nil {
				t.Error(err)
			}
		}
	})
}

func untar(t *testing.T, archive []byte) fs.FS {
	t.Helper()
	files := make(fstest.MapFS)
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = &fstest.MapFile{Data: b}
	}
}

func TestParseName(t *testing.T) {
	tests := []struct{ name, want, err string }{
		{name: "hello", want: "docker.io/library/hello:latest"},
		{name: "hello:v1", want: "docker.io/library/hello:v1"},
		{name: "team/hello", want: "docker.io/team/hello:latest"},
		{name: "registry.example:5000/team/hello:v1", want: "registry.example:5000/team/hello:v1"},
		{name: "", err: `image name "": want [REGISTRY/]NAME[:TAG] in lower case`},
		{name: "Hello", err: `image name "Hello": want [REGISTRY/]NAME[:TAG] in lower case`},
		{name: "hello:", err: `image name "hello:": want [REGISTRY/]NAME[:TAG] in lower case`},
		{name: "../hello", err: `image name "../hello": want [REGISTRY/]NAME[:TAG] in lower case`},
		{name: "team//hello", err: `image name "team//hello": want [REGISTRY/]NAME[:TAG] in lower case`},
		{name: "-hello", err: `image name "-hello": want [REGISTRY/]NAME[:TAG] in lower case`},
		{name: "docker.io/hello", want: "docker.io/library/hello:latest"},
		{
			name: "hello@sha256:" + strings.Repeat("0", 64),
			err:  `image name "hello@sha256:` + strings.Repeat("0", 64) + `" must not have a digest`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseName(tt.name)
			switch {
			case tt.err != "" && (err == nil || err.Error() != tt.err):
				t.Errorf("got error %v, want %s", err, tt.err)
			case tt.err == "" && err != nil:
				t.Error(err)
			case tt.err == "" && got.String() != tt.want:
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
