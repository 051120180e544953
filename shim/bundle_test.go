//go:build linux

package shim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
)

// newBundle writes a bundle whose rootfs holds files: a name that ends in "*" is executable, one with " -> " is a
// symbolic link.
func newBundle(t *testing.T, spec specs.Spec, files ...string) *bundle {
	t.Helper()
	dir := t.TempDir()
	spec.Root = &specs.Root{Path: "rootfs"}
	config, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.json"), config, 0o600)
	for _, file := range files {
		name, target, link := strings.Cut(file, " -> ")
		name, executable := strings.CutSuffix(name, "*")
		name = filepath.Join(dir, "rootfs", name)
		switch {
		case link:
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
		case executable:
			write(t, name, nil, 0o755)
		default:
			write(t, name, nil, 0o644)
		}
	}
	b, err := openBundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, mode); err != nil {
		t.Fatal(err)
	}
}

func TestClassify(t *testing.T) {
	sandbox := map[string]string{"io.kubernetes.cri.container-type": "sandbox"}
	mounted := t.TempDir()
	write(t, filepath.Join(mounted, "tool"), nil, 0o755)
	write(t, filepath.Join(mounted, "modules.toml"), nil, 0o644)
	dockerInit := []specs.Mount{{Destination: "/sbin/docker-init", Type: "bind", Source: filepath.Join(mounted, "tool")}}
	tests := []struct {
		name        string
		args        string
		annotations map[string]string
		mounts      []specs.Mount
		files       []string
		want        kind
	}{
		{name: "CRI sandbox", args: "/modules.toml", annotations: sandbox, files: []string{"modules.toml"}, want: plain},
		{name: "toml file", args: "/etc/site.toml --flag", want: gateway},
		{name: "wasm file", args: "/app.wasm a b", want: wasiFile},
		{name: "wasm file that serves", args: "--serve /app.wasm", want: gateway},
		{name: "wasm file that serves by annotation", args: "/app.wasm", annotations: map[string]string{serveAnnotation: "true"}, want: gateway},
		{name: "annotation that says no", args: "/app.wasm", annotations: map[string]string{serveAnnotation: "false"}, want: wasiFile},
		{name: "annotation of a plain container", args: "/bin/app", annotations: map[string]string{serveAnnotation: "true"}, want: plain},
		{name: "--serve without a file", args: "--serve", want: plain},
		{name: "wat file", args: "app.wat", want: wasiFile},
		{name: "executable beside modules.toml", args: "/bin/app", files: []string{"bin/app*", "modules.toml"}, want: plain},
		{name: "executable by PATH", args: "app", files: []string{"bin/app*", "modules.toml"}, want: plain},
		{name: "executable relative to cwd", args: "./app", files: []string{"work/app*", "modules.toml"}, want: plain},
		{name: "file without x", args: "/bin/app", files: []string{"bin/app", "modules.toml"}, want: gateway},
		{name: "not in PATH", args: "app", files: []string{"opt/app*", "modules.toml"}, want: gateway},
		{name: "absolute link inside", args: "/bin/sh", files: []string{"bin/busybox*", "bin/sh -> /bin/busybox", "modules.toml"}, want: plain},
		{name: "relative link inside", args: "/bin/sh", files: []string{"usr/bin/sh*", "bin -> usr/bin", "modules.toml"}, want: plain},
		{name: "link to the host", args: "/bin/sh", files: []string{"bin/sh -> /proc/self/exe", "modules.toml"}, want: gateway},
		{name: "link out of the root", args: "/bin/sh", files: []string{"bin/sh -> ../../../../../../../../../../bin/true", "modules.toml"}, want: gateway},
		{name: "modules.toml alone", args: "/", files: []string{"modules.toml"}, want: gateway},
		{name: "modules.toml is a directory", args: "/", files: []string{"modules.toml/x"}, want: plain},
		{name: "modules.toml is a link to the host", args: "/", files: []string{"modules.toml -> /etc/passwd"}, want: plain},
		{name: "flag that ends in .toml", args: "--cache=/c.toml", files: []string{"modules.toml"}, want: gateway},
		{name: "flag that ends in .wasm", args: "--x=/c.wasm", want: plain},
		{name: "neither", args: "/bin/app", want: plain},
		{name: "executable in a volume", args: "/tools/tool", files: []string{"modules.toml"},
			mounts: []specs.Mount{{Destination: "/tools", Type: "bind", Source: mounted}}, want: plain},
		{name: "executable is a mount", args: "/bin/tool -- /x", files: []string{"modules.toml"},
			mounts: []specs.Mount{{Destination: "/bin/tool", Options: []string{"rbind"}, Source: filepath.Join(mounted, "tool")}}, want: plain},
		{name: "docker's init before modules.toml", args: "/sbin/docker-init -- /modules.toml", mounts: dockerInit, want: gateway},
		{name: "docker's init before a flag", args: "/sbin/docker-init -- --grace=1s", files: []string{"modules.toml"}, mounts: dockerInit, want: gateway},
		{name: "docker's init before --serve", args: "/sbin/docker-init -- --serve /app.wasm", mounts: dockerInit, want: gateway},
		{name: "docker's init before a wasm file", args: "/sbin/docker-init -- /app.wasm", mounts: dockerInit, want: wasiFile},
		{name: "docker's init before an executable", args: "/sbin/docker-init -- app", files: []string{"bin/app*", "modules.toml"}, mounts: dockerInit, want: plain},
		{name: "the image's own init", args: "/sbin/tini -- /modules.toml", files: []string{"sbin/tini*", "modules.toml"}, want: plain},
		{name: "modules.toml is a mount", args: "/",
			mounts: []specs.Mount{{Destination: "/modules.toml", Type: "bind", Source: filepath.Join(mounted, "modules.toml")}}, want: gateway},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, specs.Spec{
				Process:     &specs.Process{Args: strings.Fields(tt.args), Env: []string{"PATH=/usr/bin:/bin"}, Cwd: "/work"},
				Annotations: tt.annotations,
				Mounts:      tt.mounts,
			}, tt.files...)
			if got, err := b.classify(t.Context(), nil); got != tt.want || err != nil {
				t.Errorf("classify = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestRewrite(t *testing.T) {
	dockerInit := []specs.Mount{{Destination: "/sbin/docker-init", Type: "bind", Source: "/usr/bin/docker-init"}}
	tests := []struct {
		name   string
		kind   kind
		args   []string
		mounts []specs.Mount
		want   []string
		config string // of the gateway, for what is executed later
	}{
		{"wasm file", wasiFile, []string{"/app.wasm", "--", "x"}, nil, []string{gatewayInRoot, "run", "--dir", "/", "--", "/app.wasm", "--", "x"}, ""},
		{"gateway", gateway, []string{"/site.toml"}, nil, []string{gatewayInRoot, "-c", "/site.toml"}, "/site.toml"},
		{"gateway under docker's init", gateway, []string{"/sbin/docker-init", "--", "/site.toml"}, dockerInit,
			[]string{"/sbin/docker-init", "--", gatewayInRoot, "-c", "/site.toml"}, "/site.toml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, specs.Spec{Process: &specs.Process{Args: tt.args}, Mounts: tt.mounts})
			if err := b.rewrite(tt.kind, "/usr/local/bin/containerd-shim-wagi-v1", ""); err != nil {
				t.Fatal(err)
			}
			again, err := openBundle(b.path)
			if err != nil {
				t.Fatal(err)
			}
			if got := again.spec.Process.Args; !slices.Equal(got, tt.want) {
				t.Errorf("args = %q, want %q", got, tt.want)
			}
			if got := slices.Contains(again.execEnv(), "WAGI_CONFIG="+tt.config); got != (tt.config != "") {
				t.Errorf("environment of an exec = %q, want WAGI_CONFIG %q", again.execEnv(), tt.config)
			}
			entries, err := os.ReadDir(b.path)
			if err != nil || len(entries) != 1 {
				t.Errorf("the bundle holds %v, want config.json alone", entries)
			}
		})
	}
}

func TestRewriteExec(t *testing.T) {
	gatewayMount := []specs.Mount{{Destination: gatewayInDev, Type: "bind", Source: "/shim"}}
	initArgs := []string{"/dev/wagi", "-c", "/etc/site.toml"}
	tests := []struct {
		name   string
		mounts []specs.Mount
		args   []string
		files  []string
		want   []string
	}{
		{"wagi", gatewayMount, []string{"wagi", "routes"}, nil, []string{"/dev/wagi", "routes"}},
		{"wagi by path", gatewayMount, []string{"/usr/bin/wagi", "routes"}, nil, []string{"/dev/wagi", "routes"}},
		{"the image has its own wagi", gatewayMount, []string{"wagi"}, []string{"bin/wagi*"}, []string{"wagi"}},
		{"wasm file", gatewayMount, []string{"/tool.wasm", "-x"}, nil, []string{"/dev/wagi", "run", "--dir", "/", "--", "/tool.wasm", "-x"}},
		{"a shell's line without a shell", gatewayMount, []string{"/bin/sh", "-c", "wagi health --listen=:80"}, nil, []string{"/dev/wagi", "health", "--listen=:80"}},
		{"a shell's line with a shell", gatewayMount, []string{"/bin/sh", "-c", "wagi health"}, []string{"bin/sh*"}, []string{"/bin/sh", "-c", "wagi health"}},
		{"the usual health check", gatewayMount, []string{"/bin/sh", "-c", "wagi health || exit 1"}, nil, []string{"/dev/wagi", "health"}},
		{"a shell's line that needs a shell", gatewayMount, []string{"/bin/sh", "-c", "wagi health || kill 1"}, nil, []string{"/bin/sh", "-c", "wagi health || kill 1"}},
		{"a shell's line for another program", gatewayMount, []string{"/bin/sh", "-c", "ls /"}, nil, []string{"/bin/sh", "-c", "ls /"}},
		{"an empty line", gatewayMount, []string{"/bin/sh", "-c", " "}, nil, []string{"/bin/sh", "-c", " "}},
		{"anything else", gatewayMount, []string{"/bin/sh"}, nil, []string{"/bin/sh"}},
		{"plain container", nil, []string{"wagi"}, nil, []string{"wagi"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, specs.Spec{Process: &specs.Process{Args: initArgs, Env: []string{"WAGI_CONTAINER=1", "SECRET=1"}}, Mounts: tt.mounts}, tt.files...)
			process, err := json.Marshal(map[string]any{"args": tt.args, "env": []string{"PATH=/bin"}, "future": 1})
			if err != nil {
				t.Fatal(err)
			}
			spec := &anypb.Any{Value: process}
			if err := b.rewriteExec(spec); err != nil {
				t.Fatal(err)
			}
			var got struct {
				Args, Env []string
				Future    int
			}
			if err := json.Unmarshal(spec.Value, &got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Args, tt.want) || got.Future != 1 {
				t.Errorf("args = %q, future %d, want %q, 1", got.Args, got.Future, tt.want)
			}
			wantEnv := []string{"PATH=/bin"}
			if !slices.Equal(tt.args, tt.want) {
				wantEnv = []string{"PATH=/bin", "WAGI_CONTAINER=1", "WAGI_CONFIG=/etc/site.toml"}
			}
			if !slices.Equal(got.Env, wantEnv) {
				t.Errorf("env = %q, want %q", got.Env, wantEnv)
			}
		})
	}
}
