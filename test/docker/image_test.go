//go:build linux

package docker

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// guests loads the image "guests": small WebAssembly text files that each show one thing, configurations that are wrong, and a native
// program for what needs a plain container.
func (e *engine) guests(t *testing.T) {
	t.Helper()
	files, err := files()
	if err != nil {
		t.Fatal(err)
	}
	path := e.dir + "/guests.tar"
	if err := os.WriteFile(path, files, 0o600); err != nil {
		t.Fatal(err)
	}
	e.docker(t, "import", "--change", `ENTRYPOINT ["/modules.toml"]`, path, "guests")
}

// files are the image's, as a tar.
var files = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "guests")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	script := `cp ../testdata/image/*.wat ../testdata/image/*.toml ../testdata/image/*.wasm ../../cgi/testdata/fetch.wat "$0"
cp testdata/image/* "$0"
mkdir "$0/data" "$0/tmp"
CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$0/native" ../testdata/native >&2
tar -c -C "$0" --owner 0 --group 0 --mode a+rX .`
	var stderr strings.Builder
	cmd := exec.Command("bash", "-euc", script, dir)
	cmd.Stderr = &stderr
	tar, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("image of the guests: %w\n%s", err, &stderr)
	}
	return tar, nil
})

// The examples as wagi image build makes them.
func TestLoad(t *testing.T) {
	e := start(t, nil)
	e.load(t, "hello", "env", "upload", "wat")
	if got, want := e.docker(t, "image", "inspect", "--format", "{{json .Config.Entrypoint}} {{json .Config.ExposedPorts}} {{.Os}}", "hello"),
		`["/modules.toml"] {"3000/tcp":{}} linux`; got != want {
		t.Errorf("image: got %s, want %s", got, want)
	}
	e.answerAll(t)
}

// The examples as docker build makes them, by both builders.
func TestBuild(t *testing.T) {
	e := start(t, nil)
	e.golang(t)
	for name := range examples {
		e.build(t, name, "DOCKER_BUILDKIT=1")
	}
	e.answerAll(t)
	e.build(t, "wat", "DOCKER_BUILDKIT=0")
	e.answer(t, "wat")
}

// build builds an example. Compiling Go's library may take longer than machine.Patience: the limit is that of the whole suite.
func (e *engine) build(t *testing.T, name, builder string) {
	t.Helper()
	cmd := e.command("build", "--tag", name, "../../images/"+name)
	cmd.Env = append(cmd.Env, builder)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker build of %s: %v\n%s", name, err, text)
	}
}

// golang makes an image golang:1.26 of this machine's Go and a shell, because no registry is in reach.
func (e *engine) golang(t *testing.T) {
	t.Helper()
	script := `root=$(go env GOROOT)
mkdir -p "$0/bin" "$0/tmp"
cp "$1" "$0/bin/busybox"
ln -s busybox "$0/bin/sh"
tar -c --owner 0 --group 0 -C "$0" bin tmp -C "$root" --transform 's,^\(pkg\|src\|lib\|go.env\|VERSION\),usr/local/go/\1,;s,^bin/go$,usr/local/go/bin/go,' \
	bin/go pkg src lib go.env VERSION |
	docker import --change 'ENV PATH=/usr/local/go/bin:/bin' - golang:1.26`
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script, t.TempDir(), machine.Out("busybox"))
	cmd.Env = e.environment()
	machine.Run(t, cmd)
}

// examples are the images of the repository: a path to ask for and the answer, or a line of it.
var examples = map[string][2]string{
	"env":    {"/any/path?a=1", "PATH_INFO=/any/path\n"},
	"hello":  {"/?name=CGI", "Hello, CGI!\n"},
	"upload": {"/files/", ""},
	"wat":    {"/", "Hello from WebAssembly text!\n"},
}

func (e *engine) answerAll(t *testing.T) {
	t.Helper()
	for name := range examples {
		e.answer(t, name)
	}
}

// answer runs an example and asks it something.
func (e *engine) answer(t *testing.T, name string) {
	t.Helper()
	e.run(t, name, name)
	machine.Await(t, func() error {
		text, err := get(home + examples[name][0])
		if err == nil && !strings.Contains(text, examples[name][1]) {
			err = fmt.Errorf("%s answers %q, want %q", name, text, examples[name][1])
		}
		return err
	})
	e.docker(t, "rm", "--force", name)
}
