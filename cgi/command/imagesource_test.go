package command

import (
	"archive/tar"
	"io"
	stdlog "log"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// push pushes an artifact whose layers are modules of these titles, and returns its reference.
func push(t *testing.T, titles ...string) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(stdlog.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // no one's credentials
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.wasm.config.v0+json")
	for i, title := range titles {
		kind := []types.MediaType{"application/wasm", "application/vnd.wasm.content.layer.v1+wasm"}[i%2]
		layer := mutate.Addendum{Layer: static.NewLayer([]byte("(module) ;; "+title), kind)}
		if title != "" {
			layer.Annotations = map[string]string{"org.opencontainers.image.title": title}
		}
		var err error
		if image, err = mutate.Append(image, layer); err != nil {
			t.Fatal(err)
		}
	}
	reference := strings.TrimPrefix(server.URL, "http://") + "/team/hello:v1"
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return "oci://" + reference
}

func TestImageOfArtifact(t *testing.T) {
	tests := []struct {
		name       string
		titles     []string
		flags      string
		entrypoint []string
		files      []string
	}{
		{"one module", []string{"hello.wasm"}, "", []string{"/hello.wasm"}, []string{"hello.wasm"}},
		{"that serves", []string{"hello.wasm"}, "--serve", []string{"--serve", "/hello.wasm"}, []string{"hello.wasm"}},
		{"without a title", []string{""}, "", []string{"/module.wasm"}, []string{"module.wasm"}},
		{"with another title", []string{"hello:v1"}, "", []string{"/hello:v1.wasm"}, []string{"hello:v1.wasm"}},
		{"several", []string{"b.wat", "sub/a.wasm"}, "", []string{"/b.wat"}, []string{"b.wat", "sub", "sub/a.wasm"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "image.tar")
			out, err := wagi("image build " + push(t, test.titles...) + " -o " + file + " " + test.flags)
			if err != nil || !strings.Contains(out, "docker.io/library/hello:latest") {
				t.Fatalf("%s%v", out, err)
			}
			image, err := tarball.ImageFromPath(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.ConfigFile()
			if err != nil || !slices.Equal(config.Config.Entrypoint, test.entrypoint) {
				t.Errorf("%v, entrypoint %q, want %q", err, config.Config.Entrypoint, test.entrypoint)
			}
			if got := filesOf(t, image); !slices.Equal(got, test.files) {
				t.Errorf("files %q, want %q", got, test.files)
			}
		})
	}
}

func filesOf(t *testing.T, image v1.Image) (files []string) {
	t.Helper()
	contents := mutate.Extract(image)
	defer contents.Close()
	for r := tar.NewReader(contents); ; {
		entry, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, entry.Name)
	}
}

// No title leads out of the directory in which the image is put together.
func TestImageOfBadArtifact(t *testing.T) {
	for title, want := range map[string]string{
		"../hello.wasm": `title "../hello.wasm" is no path of a file in an image`,
		"/hello.wasm":   `title "/hello.wasm" is no path of a file in an image`,
		".":             `title "." is no path of a file in an image`,
	} {
		out, err := wagi("image build " + push(t, title) + " -o " + filepath.Join(t.TempDir(), "image.tar"))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %s%v, want %s", title, out, err, want)
		}
	}
	out, err := wagi("image build " + push(t, "a.wasm", "./a.wasm") + " -o " + filepath.Join(t.TempDir(), "image.tar"))
	if want := `two of its layers have the title "a.wasm"`; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%s%v, want %s", out, err, want)
	}
}
