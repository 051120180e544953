package cgi

import (
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// testRegistry is a registry on this machine.
type testRegistry struct {
	t        *testing.T
	host     string
	manifest atomic.Int64 // requests for manifests
	blobs    atomic.Int64 // requests for blobs
	status   atomic.Int64 // that it answers instead; 0: none
	user     string       // who may use it; empty: everybody
}

func startRegistry(t *testing.T) *testRegistry {
	r := &testRegistry{t: t}
	handler := registry.New(registry.Logger(stdlog.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if user, _, _ := request.BasicAuth(); user != r.user {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if status := r.status.Load(); status != 0 {
			w.WriteHeader(int(status))
			return
		}
		switch {
		case request.Method != http.MethodGet:
		case strings.Contains(request.URL.Path, "/manifests/"):
			r.manifest.Add(1)
		case strings.Contains(request.URL.Path, "/blobs/"):
			r.blobs.Add(1)
		}
		handler.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // no one's credentials
	return r
}

// push pushes an image of these layers and returns its digest.
func (r *testRegistry) push(image string, layers ...v1.Layer) string {
	r.t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		r.t.Fatal(err)
	}
	ref, err := name.ParseReference(r.host + "/" + image)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		r.t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		r.t.Fatal(err)
	}
	return digest.String()
}

func moduleLayer(text string) v1.Layer {
	return static.NewLayer([]byte(text), moduleTypes[0])
}

func TestPull(t *testing.T) {
	r := startRegistry(t)
	config := static.NewLayer([]byte("no module"), types.OCILayer)
	r.push("team/wat:v1", config, moduleLayer("(module)"), moduleLayer("second"))
	r.push("binary:latest", static.NewLayer([]byte("\x00asm\x01\x00\x00\x00"), "application/wasm"))
	digest := r.push("fixed:v1", moduleLayer("(module)"))
	for _, reference := range []string{
		"oci:" + r.host + "/team/wat:v1",
		"oci://" + r.host + "/team/wat:v1",
		"OCI://" + r.host + "/binary",
		"oci://" + r.host + "/fixed@" + digest,
		"oci://" + r.host + "/fixed:v1@" + digest,
	} {
		cfg := Config{ModuleCache: filepath.Join(t.TempDir(), "a", "b")}
		for range 2 {
			module, err := cfg.readModule(t.Context(), reference)
			if string(module) != "\x00asm\x01\x00\x00\x00" || err != nil {
				t.Errorf("%s: %q, %v", reference, module, err)
			}
		}
	}
	if n := r.blobs.Load(); n != 5 {
		t.Errorf("%d blobs fetched, want each once: 5", n)
	}
	if n := r.manifest.Load(); n != 3*2+2 {
		t.Errorf("%d manifests fetched, want tags each time and digests once: 8", n)
	}
}

func TestPullErrors(t *testing.T) {
	r := startRegistry(t)
	r.push("plain:v1", static.NewLayer([]byte("x"), types.OCILayer))
	r.push("text:v1", moduleLayer("(module (fnuc))"))
	missing := "sha256:" + strings.Repeat("0", 64)
	tests := []struct{ image, want string }{
		{"none:v1", `answers 404: "Unknown name"`},
		{"plain:v2", `answers 404: "Unknown manifest"`},
		{"plain@" + missing, `answers 404: "Unknown manifest"`},
		{"plain:v1", `the image has no layer of the type application/vnd.wasm.content.layer.v1+wasm or application/wasm`},
		{"text:v1", `text:v1:1:10: unexpected fnuc`},
		{"Plain:v1", `want oci:NAME:TAG or oci://HOST/NAME:TAG`},
		{"plain@sha256:0", `want oci:NAME:TAG or oci://HOST/NAME:TAG`},
	}
	for _, test := range tests {
		cfg := Config{ModuleCache: t.TempDir()}
		_, err := cfg.readModule(t.Context(), "oci://"+r.host+"/"+test.image)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %s", test.image, err, test.want)
		}
	}
}

// A tag is looked up each time; what it was before is good while the registry is down, but not when it says no.
func TestPullFromCache(t *testing.T) {
	r := startRegistry(t)
	r.push("m:v1", moduleLayer("(module)"))
	cfg := Config{ModuleCache: t.TempDir()}
	reference := "oci://" + r.host + "/m:v1"
	pull := func(want int) {
		t.Helper()
		module, err := cfg.readModule(t.Context(), reference)
		if len(module) != want || (err != nil) != (want == 0) {
			t.Errorf("module of %d bytes, %v, want %d", len(module), err, want)
		}
	}
	pull(8)
	r.push("m:v1", moduleLayer("(module (memory 1))"))
	pull(13)
	r.status.Store(http.StatusNotFound)
	pull(0)
	r.status.Store(http.StatusBadGateway)
	pull(13)
	damageFiles(t, filepath.Join(cfg.ModuleCache, "sha256"))
	pull(0)
	r.status.Store(0)
	pull(13)
	r.host = "127.0.0.1:1" // nobody is there
	reference = "oci://" + r.host + "/m:v1"
	pull(0)
}

func damageFiles(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		writeFile(t, filepath.Join(dir, file.Name()), "damaged")
	}
}

// A registry that cannot be reached at all is down too.
func TestPullWhileRegistryIsGone(t *testing.T) {
	cfg := Config{ModuleCache: t.TempDir()}
	ref, err := name.ParseReference("127.0.0.1:1/m:v1")
	if err != nil {
		t.Fatal(err)
	}
	cache := moduleCache{cfg.ModuleCache}
	digest, _, err := v1.SHA256(strings.NewReader("(module)"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{cache.keep(digest, []byte("(module)")), cache.setDigest(ref, digest)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if module, err := cfg.readModule(t.Context(), "oci:127.0.0.1:1/m:v1"); len(module) != 8 || err != nil {
		t.Errorf("%q, %v", module, err)
	}
}

func TestPullWithCredentials(t *testing.T) {
	r := startRegistry(t)
	r.push("m:v1", moduleLayer("(module)"))
	r.user = "me"
	cfg := Config{}
	_, err := cfg.readModule(t.Context(), "oci://"+r.host+"/m:v1")
	if err == nil || !strings.Contains(err.Error(), "answers 401: Unauthorized") {
		t.Errorf("error %v", err)
	}
	writeFile(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), `{"auths": {"`+r.host+`": {"username": "me", "password": "p"}}}`)
	if _, err := cfg.readModule(t.Context(), "oci://"+r.host+"/m:v1"); err != nil {
		t.Error(err)
	}
}

func TestPlainHTTPIsForThisMachine(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	for host, want := range map[string]bool{"127.0.0.1": true, "localhost": true, "10.1.2.3": false, "registry.local": false, "0.0.0.0": false} {
		request := httptest.NewRequest(http.MethodGet, "http://"+host+":"+port, nil)
		response, err := secureTransport{http.DefaultTransport}.RoundTrip(request)
		if (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
		if err == nil {
			response.Body.Close()
		}
	}
}
