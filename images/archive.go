package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Write writes the image to w as a tar archive: an OCI image layout, for
// containerd and registry tools, and at the same time a Docker archive, for
// engines without containerd's image store. Those know no index and get its
// first image. The archive is assembled in the directory scratch.
func Write(ctx context.Context, w io.Writer, scratch string, index v1.ImageIndex, name Name) error {
	dir, err := os.MkdirTemp(scratch, "layout-")
	if err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write image layout: %w", err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          name.String(),
		"org.opencontainers.image.ref.name": name.Tag,
	})); err != nil {
		return fmt.Errorf("write image layout: %w", err)
	}
	manifest, err := dockerManifest(index, name)
	if err != nil {
		return fmt.Errorf("write manifest.json: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o644); err != nil {
		return err
	}
	return writeTar(ctx, w, os.DirFS(dir), []string{"."}, time.Unix(0, 0))
}

// dockerManifest describes the first image of the index as a Docker archive
// does, which names blobs by path.
func dockerManifest(index v1.ImageIndex, name Name) ([]byte, error) {
	im, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	image, err := index.Image(im.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	m, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	d := tarball.Descriptor{Config: blobPath(m.Config.Digest), RepoTags: []string{name.String()}}
	for _, layer := range m.Layers {
		d.Layers = append(d.Layers, blobPath(layer.Digest))
	}
	return json.Marshal(tarball.Manifest{d})
}

func blobPath(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }
