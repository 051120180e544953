//go:build linux

package kubernetes

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"containerd-shim-wagi-v1/test/machine"
)

// greeting is what the example wat answers, whose gateway is the first to be ready.
const greeting = "Hello from WebAssembly text!\n"

// importImages gives the node the example images, and that of ordinary containers, under names that need no registry.
func (n *node) importImages(t *testing.T) {
	t.Helper()
	for _, example := range []string{"hello", "upload", "wat"} {
		machine.Run(t, n.ctr("image", "import", machine.Out("images")+"/"+example+".tar"))
		for _, version := range []string{"1", "2"} {
			machine.Run(t, n.ctr("image", "tag", "docker.io/library/"+example+":latest", "registry.example/"+example+":"+version))
		}
	}
	native, bare := n.dir+"/native.tar", n.dir+"/bare.tar"
	writeNative(t, native)
	machine.Run(t, exec.Command(machine.Out("wagi"), "image", "build", "../../images/wat/hello.wat", "-t", "registry.example/bare:1", "-o", bare))
	for _, archive := range []string{native, bare, machine.Out("wagi-installer.tar")} {
		machine.Run(t, n.ctr("image", "import", archive))
	}
}

// writeNative writes the image of ordinary containers, which is also the sandboxes': one program, which pauses.
func writeNative(t *testing.T, path string) {
	t.Helper()
	program, err := os.ReadFile(machine.Out("kubernetes") + "/native")
	if err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "native", Mode: 0o755, Size: int64(len(program))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(program); err != nil {
			return nil, err
		}
		return io.NopCloser(&b), w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, configFile(t, image))
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, name.MustParseReference("registry.example/native:1"), image); err != nil {
		t.Fatal(err)
	}
}

// configFile is the image's configuration, with a platform and the command.
func configFile(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{"/native"}, Cmd: []string{"pause"}}
	return config
}
