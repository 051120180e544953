package cgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/log"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	resolveTimeout = 30 * time.Second
	fetchTimeout   = 10 * time.Minute
)

// moduleTypes are the layers that are modules: the first of them in an image is the module.
var moduleTypes = []types.MediaType{"application/vnd.wasm.content.layer.v1+wasm", "application/wasm"}

// parseImage reads a module reference oci:NAME:TAG or oci://HOST/NAME:TAG.
func parseImage(reference string) (name.Reference, error) {
	_, image, _ := strings.Cut(reference, ":")
	ref, err := name.ParseReference(strings.TrimPrefix(image, "//"))
	if err != nil {
		return nil, fmt.Errorf("module %q: want oci:NAME:TAG or oci://HOST/NAME:TAG", reference)
	}
	return ref, nil
}

// pull reads the module that a reference means, from the cache or from a registry.
func (c *Config) pull(ctx context.Context, reference string) ([]byte, error) {
	ref, err := parseImage(reference)
	if err != nil {
		return nil, err
	}
	p := &puller{ref: ref, cache: moduleCache{c.ModuleCache}}
	module, err := p.pull(ctx)
	if err != nil {
		return nil, fmt.Errorf("module %q: %w", reference, err)
	}
	return assemble(reference, module)
}

// TitledModule is a layer of an artifact.
type TitledModule struct {
	Title string // the annotation org.opencontainers.image.title; may be empty
	Code  []byte // as it is in the registry, binary or text
}

// PullModules reads all modules of the artifact in a registry that a reference oci:NAME:TAG means, in the order of its layers.
func PullModules(ctx context.Context, reference string) ([]TitledModule, error) {
	ref, err := parseImage(reference)
	if err != nil {
		return nil, err
	}
	p := &puller{ref: ref}
	layers, err := p.layers(ctx)
	if err != nil {
		return nil, fmt.Errorf("module %q: %w", reference, p.explain(err))
	}
	modules := make([]TitledModule, len(layers))
	for i, layer := range layers {
		code, err := p.fetch(ctx, layer.Digest)
		if err != nil {
			return nil, fmt.Errorf("module %q: %w", reference, err)
		}
		modules[i] = TitledModule{layer.Annotations["org.opencontainers.image.title"], code}
	}
	return modules, nil
}

// puller pulls a module from a registry.
type puller struct {
	ref   name.Reference
	cache moduleCache
}

func (p *puller) pull(ctx context.Context) ([]byte, error) {
	digest, err := p.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if module := p.cache.module(digest); module != nil {
		return module, nil
	}
	module, err := p.fetch(ctx, digest)
	if err != nil {
		return nil, err
	}
	if err := p.cache.keep(digest, module); err != nil {
		log.G(ctx).WithError(err).Warn("module is not kept in the cache")
	}
	return module, nil
}

// resolve gives the digest of the module. A tag is looked up each time; while the registry is down, what it was stays good.
func (p *puller) resolve(ctx context.Context) (v1.Hash, error) {
	known, ok := p.cache.digest(p.ref)
	if _, fixed := p.ref.(name.Digest); fixed && ok {
		return known, nil
	}
	digest, err := p.lookUp(ctx)
	if err != nil && ok && isDown(err) {
		log.G(ctx).WithError(p.explain(err)).WithField("image", p.ref.Name()).Warn("registry is down: the module is the one it gave before")
		return known, nil
	}
	if err != nil {
		return v1.Hash{}, p.explain(err)
	}
	if digest != known {
		if err := p.cache.setDigest(p.ref, digest); err != nil {
			log.G(ctx).WithError(err).Warn("digest of a module is not kept in the cache")
		}
	}
	return digest, nil
}

// lookUp asks the registry for the digest of the module.
func (p *puller) lookUp(ctx context.Context) (v1.Hash, error) {
	layers, err := p.layers(ctx)
	if err != nil {
		return v1.Hash{}, err
	}
	return layers[0].Digest, nil
}

// layers are those that are modules: at least one.
func (p *puller) layers(ctx context.Context) ([]v1.Descriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	image, err := remote.Image(p.ref, p.options(ctx)...)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	modules := slices.DeleteFunc(manifest.Layers, func(layer v1.Descriptor) bool { return !slices.Contains(moduleTypes, layer.MediaType) })
	if len(modules) > 0 {
		return modules, nil
	}
	return nil, fmt.Errorf("the image has no layer of the type %s or %s", moduleTypes[0], moduleTypes[1])
}

func (p *puller) fetch(ctx context.Context, digest v1.Hash) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	layer, err := remote.Layer(p.ref.Context().Digest(digest.String()), p.options(ctx)...)
	if err != nil {
		return nil, p.explain(err)
	}
	blob, err := layer.Compressed() // as it is in the registry
	if err != nil {
		return nil, p.explain(err)
	}
	defer blob.Close()
	module, err := io.ReadAll(io.LimitReader(blob, maxModule+1)) // verifies the digest
	switch {
	case err != nil:
		return nil, p.explain(err)
	case len(module) > maxModule:
		return nil, errors.New("longer than 1 GiB")
	}
	return module, nil
}

func (p *puller) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(secureTransport{remote.DefaultTransport}),
		remote.WithUserAgent("wagi"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
}

// isDown says whether a registry failed to answer, rather than answered that it has no such image for us.
func isDown(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests
	}
	var network *url.Error
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

// explain makes a sentence of a registry's error.
func (p *puller) explain(err error) error {
	registry := p.ref.Context().RegistryStr()
	var answer *transport.Error
	var network *url.Error
	switch {
	case errors.As(err, &answer) && len(answer.Errors) > 0:
		return fmt.Errorf("registry %s answers %d: %.100q", registry, answer.StatusCode, answer.Errors[0].Message)
	case errors.As(err, &answer):
		return fmt.Errorf("registry %s answers %d: %s", registry, answer.StatusCode, http.StatusText(answer.StatusCode))
	case errors.As(err, &network):
		return fmt.Errorf("registry %s: %w", registry, network.Err)
	}
	return err
}

// secureTransport refuses plain HTTP but to this machine. go-containerregistry would speak it to private addresses too.
type secureTransport struct{ http.RoundTripper }

func (t secureTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if host := r.URL.Hostname(); r.URL.Scheme != "https" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, errors.New("plain HTTP is for registries on this machine only")
	}
	return t.RoundTripper.RoundTrip(r)
}
