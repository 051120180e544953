//go:build linux

package test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// image is the name of the test image: the native program and the files of testdata/image, among them the default command
// /modules.toml.
const image = "test.invalid/test:latest"

// archive is the test image as an OCI archive. It is made here, and not by wagi image build, because it holds what that refuses.
var archive = sync.OnceValues(func() ([]byte, error) {
	files, err := files()
	if err != nil {
		return nil, err
	}
	return layout(files)
})

// pull imports the test image.
func (d *daemon) pull(t *testing.T) {
	t.Helper()
	text, err := archive()
	if err != nil {
		t.Fatal(err)
	}
	path := d.dir + "/image.tar"
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	d.ctr(t, "image", "import", path)
}

// files is the image's files as a tar.
var files = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "native")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/native", "./testdata/native")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build ./testdata/native: %v\n%s", err, text)
	}
	paths, err := filepath.Glob("testdata/image/*")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"data/", "etc/", "tmp/"} {
		w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755})
	}
	add(w, "etc/passwd", []byte("root:x:0:0::/:\nguest:x:1000:1000::/:\n"), 0o644)
	for _, path := range append(paths, dir+"/native") {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		add(w, filepath.Base(path), text, 0o755)
	}
	err = w.Close()
	return b.Bytes(), err
})

// layout is an OCI image layout in a tar: the index, the manifest, the configuration and the one layer.
func layout(layer []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	blob := func(mediaType string, text []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(text))
		add(w, "blobs/sha256/"+sum, text, 0o644)
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(text)}
	}
	content := blob("application/vnd.oci.image.layer.v1.tar", layer)
	config, err1 := json.Marshal(map[string]any{
		"os": "linux", "architecture": runtime.GOARCH,
		"config": map[string]any{"Cmd": []string{"/modules.toml"}, "WorkingDir": "/"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{content["digest"]}},
	})
	manifest, err2 := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": blob("application/vnd.oci.image.config.v1+json", config), "layers": []any{content},
	})
	top := blob("application/vnd.oci.image.manifest.v1+json", manifest)
	top["annotations"] = map[string]string{"io.containerd.image.name": image}
	index, err3 := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{top}})
	add(w, "index.json", index, 0o644)
	add(w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	err := errors.Join(err1, err2, err3, w.Close())
	return b.Bytes(), err
}

// add writes a file. An error stays in w until Close returns it.
func add(w *tar.Writer, name string, text []byte, mode int64) {
	w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(text))})
	w.Write(text)
}
