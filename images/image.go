// Package images builds OCI images from plain files, without a container
// engine: one index for linux/amd64 and linux/arm64, or the platforms that are
// named, whose layers are the same because WebAssembly runs on all, but for one
// with native code.
//
// What is built depends on the content and names of the files alone: equal
// input gives equal bytes and digests, on every machine. The image's name is
// no part of it.
package images

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Config says what an image holds and how it is run.
type Config struct {
	// Files is where the paths of Layers are found. [os.Root.FS] is one that
	// no symbolic link leads out of.
	Files fs.FS
	// Layers lists the paths in each layer, the lowest layer first. What
	// changes most belongs into the last, so that the others are transferred
	// only once. A directory comes with everything below it; one whose path
	// ends in "/" may be absent and is then empty in the image. Empty layers
	// are left out.
	Layers [][]string
	// Native is a layer, the last one, that only the image for one architecture has. Default: none.
	Native *Native
	// Run is the execution part of the image's configuration: entrypoint,
	// working directory, ports, labels.
	Run v1.Config
	// Platforms are those of the image. Default: linux/amd64 and linux/arm64.
	Platforms []v1.Platform
	// Created is the time of the image and of every file in it, in whole
	// seconds. Default: 1970-01-01 00:00:00 UTC.
	Created time.Time
}

// Native is a layer with code for one architecture.
type Native struct {
	Architecture string // as GOARCH has it
	Files        fs.FS  // where the paths are found
	Paths        []string
}

// Build returns the index of the image. The compressed layers are files in the
// directory scratch; the caller removes it when done with the index.
//
// Nothing outside of cfg.Files is read: a path with "..", an absolute path and
// a symbolic link that leads out are errors, as are devices, sockets and pipes.
func Build(ctx context.Context, scratch string, cfg Config) (v1.ImageIndex, error) {
	if cfg.Created.IsZero() {
		cfg.Created = time.Unix(0, 0)
	}
	cfg.Created = cfg.Created.UTC().Truncate(time.Second)
	if len(cfg.Platforms) == 0 {
		cfg.Platforms = []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	}

	var layers []mutate.Addendum
	for i, paths := range cfg.Layers {
		if len(paths) == 0 {
			continue
		}
		layer, err := addLayer(ctx, filepath.Join(scratch, fmt.Sprintf("layer-%d.tar.gz", i)), cfg, cfg.Files, paths)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	var native []mutate.Addendum
	if cfg.Native != nil {
		layer, err := addLayer(ctx, filepath.Join(scratch, "layer-native.tar.gz"), cfg, cfg.Native.Files, cfg.Native.Paths)
		if err != nil {
			return nil, err
		}
		native = append(native, layer)
	}

	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range cfg.Platforms {
		own := layers
		if cfg.Native != nil && cfg.Native.Architecture == platform.Architecture {
			own = slices.Concat(layers, native)
		}
		image, err := buildImage(platform, cfg, own)
		if err != nil {
			return nil, fmt.Errorf("build image for %s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        imageOnly{image},
			Descriptor: v1.Descriptor{Platform: &platform},
		})
	}
	return index, nil
}

func addLayer(ctx context.Context, file string, cfg Config, files fs.FS, paths []string) (mutate.Addendum, error) {
	layer, err := buildLayer(ctx, file, files, paths, cfg.Created)
	return mutate.Addendum{Layer: layer, History: v1.History{
		Created:   v1.Time{Time: cfg.Created},
		CreatedBy: "add " + strings.Join(paths, " "),
	}}, err
}

func buildImage(platform v1.Platform, cfg Config, layers []mutate.Addendum) (v1.Image, error) {
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Created:      v1.Time{Time: cfg.Created},
		Config:       cfg.Run,
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, layers...)
}

// imageOnly is an image whose descriptor has no artifactType: the library would
// copy the media type of the configuration there, as if it were an artifact.
type imageOnly struct{ v1.Image }

// ArtifactType is empty.
func (imageOnly) ArtifactType() (string, error) { return "", nil }
