//go:build linux

package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/atomicfile"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
)

// A bundle is the directory in which containerd hands over a container (OCI runtime specification, "Bundle").
type bundle struct {
	path   string
	config []byte     // config.json as it was read
	spec   specs.Spec // the part of config that our runtime-spec knows
}

func openBundle(dir string) (*bundle, error) {
	b := &bundle{path: dir}
	var err error
	if b.config, err = os.ReadFile(b.configFile()); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b.config, &b.spec); err != nil {
		return nil, fmt.Errorf("%s: %w", b.configFile(), err)
	}
	return b, nil
}

func (b *bundle) configFile() string {
	return filepath.Join(b.path, "config.json")
}

// classify decides what the container runs. Only where the command does not tell is the rootfs, given as mounts or
// by the spec, looked into: an executable of the rootfs is a plain container's command, else /modules.toml counts.
func (b *bundle) classify(ctx context.Context, mounts []*types.Mount) (k kind, err error) {
	if k, known := classifyCommand(&b.spec); known {
		return k, nil
	}
	_, command := splitInit(&b.spec)
	look := func(root string) error {
		files := fileSystem{root, b.spec.Mounts}
		if !files.hasExecutable(command[0], b.spec.Process) && files.has(modulesFile) {
			k = gateway
		}
		return nil
	}
	if len(mounts) > 0 {
		return k, mount.WithReadonlyTempMount(ctx, mount.FromProto(mounts), look)
	}
	return k, look(b.rootfs())
}

func (b *bundle) rootfs() string {
	if b.spec.Root == nil {
		return filepath.Join(b.path, "rootfs")
	}
	if filepath.IsAbs(b.spec.Root.Path) {
		return b.spec.Root.Path
	}
	return filepath.Join(b.path, b.spec.Root.Path)
}

// rewrite makes program, the gateway, the container's process. compiler is the socket where it asks for compiled code; empty: there is none.
func (b *bundle) rewrite(k kind, program, compiler string) error {
	config, err := rewriteSpec(b.config, &b.spec, k, program, compiler)
	if err != nil {
		return err
	}
	file, err := atomicfile.New(b.configFile(), 0o600)
	if err != nil {
		return err
	}
	defer file.Cancel()
	if _, err := file.Write(config); err != nil {
		return fmt.Errorf("write %s: %w", b.configFile(), err)
	}
	return file.Close()
}

// rewriteExec makes "wagi ..." (any path of that name that the container lacks) and WebAssembly files run by the
// gateway binary that is mounted in the container. So does a line for a shell that the container lacks: a health
// check of "docker run --health-cmd" always is one. The gateway's configuration is passed on as WAGI_CONFIG.
func (b *bundle) rewriteExec(spec *anypb.Any) error {
	gatewayPath := mountedGateway(&b.spec)
	if gatewayPath == "" {
		return nil
	}
	var process specs.Process
	if err := json.Unmarshal(spec.GetValue(), &process); err != nil {
		return fmt.Errorf("decode process: %w", err)
	}
	if len(process.Args) == 0 {
		return nil
	}
	files := fileSystem{b.rootfs(), b.spec.Mounts}
	command := process.Args
	if words := shellWords(command); len(words) > 0 && !files.hasExecutable(command[0], &process) {
		command = words
	}
	var args []string
	switch {
	case isWasm(command[0]):
		args = wasiArgs(gatewayPath, command)
	case path.Base(command[0]) == "wagi" && !files.hasExecutable(command[0], &process):
		args = append([]string{gatewayPath}, command[1:]...)
	default:
		return nil
	}
	value, err := rewriteProcess(spec.GetValue(), args, b.execEnv())
	spec.Value = value
	return err
}

// execEnv is what the gateway's subcommands learn about the gateway that the container runs.
func (b *bundle) execEnv() []string {
	env := slices.DeleteFunc(slices.Clone(b.spec.Process.Env), func(kv string) bool {
		return !strings.HasPrefix(kv, "WAGI_")
	})
	if _, args := splitInit(&b.spec); len(args) > 2 && (args[1] == "-c" || args[1] == "--serve") {
		env = append(env, "WAGI_CONFIG="+args[2])
	}
	return env
}

// fileSystem is what a container's process will find: its rootfs and, over it, the bind mounts of its spec.
type fileSystem struct {
	root   string
	mounts []specs.Mount
}

// hasExecutable tells whether name is an executable file as the process's execvp would find it.
func (f fileSystem) hasExecutable(name string, process *specs.Process) bool {
	if strings.Contains(name, "/") {
		return f.isExecutable(inDir(process.Cwd, name))
	}
	for _, kv := range process.Env {
		if dirs, ok := strings.CutPrefix(kv, "PATH="); ok {
			return slices.ContainsFunc(filepath.SplitList(dirs), func(dir string) bool {
				return f.isExecutable(inDir(dir, name))
			})
		}
	}
	return false
}

func inDir(dir, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join("/", dir, name)
}

func (f fileSystem) isExecutable(name string) bool {
	info, err := f.stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (f fileSystem) has(name string) bool {
	info, err := f.stat(name)
	return err == nil && info.Mode().IsRegular()
}

// stat resolves symbolic links as the container will, inside its root: an image's links are often absolute, which
// os.Root refuses, and must never lead this root process onto the host.
func (f fileSystem) stat(name string) (os.FileInfo, error) {
	for _, m := range slices.Backward(f.mounts) {
		rest, below := strings.CutPrefix(name, path.Clean(m.Destination)+"/")
		switch {
		case !isBind(m):
		case name == path.Clean(m.Destination):
			return os.Stat(m.Source)
		case below:
			return statIn(m.Source, rest)
		}
	}
	return statIn(f.root, name)
}

func isBind(m specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

func statIn(root, name string) (os.FileInfo, error) {
	file, err := pathrs.OpenInRoot(root, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Stat()
}
