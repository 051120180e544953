//go:build linux

package cri

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	pauseImage = "test.invalid/pause:latest"
	plainImage = "test.invalid/busybox:latest"
	wagiImage  = "test.invalid/env:latest"
)

// load imports the images: of pods, of plain containers, of WAGI containers.
func (n *node) load(t *testing.T) {
	t.Helper()
	archive, err := plainImages()
	if err != nil {
		t.Fatal(err)
	}
	path := n.dir + "/images.tar"
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, n.buildWAGI(t)} {
		machine.Run(t, exec.Command(machine.Out(n.name)+"/ctr", "-a", n.socket(), "-n", "k8s.io", "image", "import", path))
	}
	for _, image := range []string{pauseImage, plainImage, wagiImage} {
		machine.Await(t, func() error { // CRI learns of them by events
			r, err := n.images.ImageStatus(context.Background(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: image}})
			if err == nil && r.Image == nil {
				err = fmt.Errorf("no image %s", image)
			}
			return err
		})
	}
}

// buildWAGI builds the WAGI image, whose one program answers with its environment, and returns the archive's path.
func (n *node) buildWAGI(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile("../testdata/image/env.wat")
	if err != nil {
		t.Fatal(err)
	}
	const modules = "[[module]]\nroute = \"/...\"\nmodule = \"env.wat\"\nenvironment = { GREETING = \"from modules.toml\" }\n"
	dir := machine.Dir(t)
	for path, text := range map[string][]byte{"env.wat": program, "modules.toml": []byte(modules)} {
		if err := os.WriteFile(dir+"/"+path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive := n.dir + "/env.tar"
	machine.Run(t, exec.Command(machine.Out("wagi"), "image", "build", dir, "-t", wagiImage, "-o", archive))
	return archive
}

// plainImages is an archive of the pause image, which has the test program of the other suites, and of busybox with its commands and that program.
var plainImages = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "native")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/native", "../testdata/native")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if r := machine.Try(build); r.Code != 0 {
		return nil, r.Error()
	}
	pause, err := newImage(v1.Config{Entrypoint: []string{"/native", "pause"}}, func(w *tar.Writer) error {
		return addProgram(w, "native", dir+"/native")
	})
	if err != nil {
		return nil, err
	}
	plain, err := newImage(v1.Config{Cmd: []string{"sh"}, WorkingDir: "/work", Env: []string{"PATH=/bin", "FROM=image"}}, func(w *tar.Writer) error {
		return errors.Join(addProgram(w, "bin/native", dir+"/native"), addBusybox(w))
	})
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	err = tarball.MultiRefWrite(map[name.Reference]v1.Image{
		name.MustParseReference(pauseImage): pause,
		name.MustParseReference(plainImage): plain,
	}, &archive)
	return archive.Bytes(), err
})

// newImage makes an image of one layer.
func newImage(config v1.Config, fill func(*tar.Writer) error) (v1.Image, error) {
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := fill(w); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		return nil, err
	}
	if image, err = mutate.Config(image, config); err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

// addBusybox adds busybox, a link for each of its commands, two users and the folders of a small system.
func addBusybox(w *tar.Writer) error {
	if err := addProgram(w, "bin/busybox", machine.Out("busybox")); err != nil {
		return err
	}
	list := machine.Try(exec.Command(machine.Out("busybox"), "--list"))
	for _, command := range strings.Fields(list.Out) {
		if command != "busybox" {
			w.WriteHeader(&tar.Header{Name: "bin/" + command, Typeflag: tar.TypeSymlink, Linkname: "busybox"})
		}
	}
	for dir, mode := range map[string]int64{"etc/": 0o755, "root/": 0o700, "work/": 0o755, "tmp/": 0o1777} {
		w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: mode})
	}
	for path, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nguest:x:1000:1000::/:/bin/sh\n",
		"etc/group":  "root:x:0:\nguest:x:1000:\nfriends:x:2000:guest\n",
	} {
		w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text))})
		w.Write([]byte(text)) // an error stays in w until Close returns it
	}
	return list.Error()
}

func addProgram(w *tar.Writer, name, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))})
	_, err = w.Write(text)
	return err
}
