//go:build linux

package cri

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var registryCases = []validation{
	{"image/pull", testPull},
	{"image/pull-unknown", testPullUnknown},
	{"image/file-system", testImageFileSystem},
}

// pull makes a node pull an image of its own, busybox with a label, from a registry that lasts as long as the test.
func (h host) pull(t *testing.T, repository string) (image *runtimeapi.ImageSpec, ref string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/" + repository + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	from := name.MustParseReference(plainImage).(name.Tag)
	content, err := tarball.ImageFromPath(h.dir+"/images.tar", &from)
	if err != nil {
		t.Fatal(err)
	}
	config, err := content.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.Config.Labels = map[string]string{"of": repository}
	if content, err = mutate.Config(content, config.Config); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, content); err != nil {
		t.Fatal(err)
	}
	image = &runtimeapi.ImageSpec{Image: tag.Name(), RuntimeHandler: h.handler}
	r, err := h.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	return image, r.ImageRef
}

func testPull(t *testing.T, h host) {
	image, ref := h.pull(t, "test/"+h.handler)
	status := func() *runtimeapi.Image {
		r, err := h.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: image})
		if err != nil {
			t.Fatal(err)
		}
		return r.Image
	}
	if s := status(); s == nil || s.Id != ref || s.Size == 0 || !slices.Contains(s.RepoTags, image.Image) || len(s.RepoDigests) == 0 {
		t.Errorf("status %v", s)
	}
	listed := func(i *runtimeapi.Image) bool { return i.Id == ref }
	if r, err := h.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{}); err != nil || !slices.ContainsFunc(r.Images, listed) {
		t.Errorf("list %v, %v", r, err)
	}
	if got := h.pod(t).output(t, "echo $FROM", func(c *runtimeapi.ContainerConfig) { c.Image = image }); got != "image" {
		t.Errorf("got %q", got)
	}
	for range 2 {
		if _, err := h.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: image}); err != nil {
			t.Fatal(err)
		}
	}
	if s := status(); s != nil {
		t.Errorf("status of a removed image: %v", s)
	}
}

func testPullUnknown(t *testing.T, h host) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	image := &runtimeapi.ImageSpec{Image: strings.TrimPrefix(server.URL, "http://") + "/no/such:image", RuntimeHandler: h.handler}
	if r, err := h.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: image}); err == nil {
		t.Errorf("got %v", r)
	}
	if c, err := h.pod(t).tryCreate(t, func(c *runtimeapi.ContainerConfig) { c.Image = image }); err == nil {
		t.Errorf("it has made container %s", c.id)
	}
}

func testImageFileSystem(t *testing.T, h host) {
	machine.Await(t, func() error { // the figures are collected now and then
		r, err := h.images.ImageFsInfo(t.Context(), &runtimeapi.ImageFsInfoRequest{})
		if err != nil {
			return err
		}
		if len(r.ImageFilesystems) != 1 || r.ImageFilesystems[0].UsedBytes.GetValue() < 1000000 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
}
