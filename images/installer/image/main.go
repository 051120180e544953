// Command image writes the installer's image as an archive: for each platform, a folder of executables that become the
// root of the image.
//
//	image wagi-installer:1.0 installer.tar linux/amd64=out/dist/amd64 linux/arm64=out/dist/arm64
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"containerd-shim-wagi-v1/images"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: image NAME FILE OS/ARCHITECTURE=FOLDER...")
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatal("image: ", err)
	}
}

func write(image, file string, platforms []string) error {
	name, err := images.ParseName(image)
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arg := range platforms {
		text, dir, _ := strings.Cut(arg, "=")
		platform, err := v1.ParsePlatform(text)
		if err != nil {
			return err
		}
		image, err := build(platform, dir)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	scratch, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var archive bytes.Buffer
	if err := images.Write(context.Background(), &archive, scratch, index, name); err != nil {
		return err
	}
	return os.WriteFile(file, archive.Bytes(), 0o644)
}

func build(platform *v1.Platform, dir string) (v1.Image, error) {
	content, err := pack(dir)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Config:       v1.Config{Entrypoint: []string{"/installer"}},
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

// pack makes a tar archive of the files in dir, all executable and of root.
func pack(dir string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s: no files", dir)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Base(file), Size: int64(len(content)), Mode: 0o755}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
