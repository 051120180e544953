//go:build linux

package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

const wagi = "io.containerd.wagi.v1"

// settings are those of daemon.json.
type settings map[string]any

// An engine is a private dockerd, with the containerd that it starts.
type engine struct {
	dir    string
	daemon *machine.Daemon
}

// start runs an engine until the end of the test, which fails if any trace of a container is left then.
func start(t *testing.T, own settings) *engine {
	t.Helper()
	require(t)
	e := &engine{dir: machine.Dir(t)}
	config := settings{
		"data-root":     e.dir + "/data",
		"exec-root":     e.dir + "/run",
		"pidfile":       e.dir + "/pid",
		"hosts":         []string{e.host()},
		"cgroup-parent": "/" + e.cgroup(),
	}
	maps.Copy(config, own)
	write(t, e.dir+"/daemon.json", config)
	write(t, e.dir+"/client/config.json", settings{"cliPluginsExtraDirs": []string{machine.Out("docker/cli-plugins")}})
	if err := os.Chmod(e.dir, 0o711); err != nil { // for containers whose root is another user
		t.Fatal(err)
	}
	t.Cleanup(func() { e.remains(t) })
	cmd := exec.Command(machine.Out("docker/dockerd"), "--config-file", e.dir+"/daemon.json")
	cmd.Env = e.environment()
	e.daemon = machine.Start(t, e.dir+"/log", cmd)
	t.Cleanup(func() { e.close(t) })
	e.ready(t)
	return e
}

// require skips the test when this machine cannot run the engine.
func require(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		machine.Skip(t, "not root")
	}
	for _, name := range []string{"docker/dockerd", "containerd-shim-wagi-v1", "images", "busybox"} {
		if _, err := os.Stat(machine.Out(name)); err != nil {
			machine.Skip(t, "%v", err)
		}
	}
	for _, name := range []string{"runc", "iptables"} {
		if _, err := exec.LookPath(name); err != nil {
			machine.Skip(t, "%v", err)
		}
	}
}

func write(t *testing.T, path string, object settings) {
	t.Helper()
	text, err := json.Marshal(object)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (e *engine) host() string { return "unix://" + e.dir + "/s" }

func (e *engine) cgroup() string { return filepath.Base(e.dir) }

// environment is what a user of the engine has set.
func (e *engine) environment() []string {
	path := strings.Join([]string{machine.Out("docker"), machine.Out(""), os.Getenv("PATH"), "/usr/sbin"}, ":")
	return append(os.Environ(), "PATH="+path, "DOCKER_HOST="+e.host(), "DOCKER_CONFIG="+e.dir+"/client")
}

// ready waits until the engine answers.
func (e *engine) ready(t *testing.T) {
	t.Helper()
	machine.Await(t, func() error { return e.try("version").Error() })
}

// restart ends the process, as systemctl restart docker does, and starts it again.
func (e *engine) restart(t *testing.T) {
	t.Helper()
	e.daemon.Stop(t)
	e.daemon.Restart(t)
	e.ready(t)
}

// close removes the containers and networks that the test left, which must remove all of their traces.
func (e *engine) close(t *testing.T) {
	if ids := strings.Fields(e.try("ps", "--all", "--quiet").Out); len(ids) > 0 {
		if err := e.try(append([]string{"rm", "--force", "--volumes"}, ids...)...).Error(); err != nil {
			t.Error(err)
		}
	}
	if err := e.try("network", "prune", "--force").Error(); err != nil {
		t.Error(err)
	}
	if err := machine.Within(machine.Patience, e.clean); err != nil {
		t.Error(err)
	}
}

// clean fails while any trace of a container is left.
func (e *engine) clean() error {
	var left []string
	for _, pattern := range []string{e.dir + "/run/containerd/daemon/io.containerd.runtime.v2.task/*/*", e.dir + "/data/containers/*"} {
		paths, _ := filepath.Glob(pattern)
		left = append(left, paths...)
	}
	for _, path := range e.groups() {
		if len(filepath.Base(path)) == 64 { // a container's id
			left = append(left, path)
		}
	}
	for _, path := range e.mounts() {
		if strings.HasSuffix(path, "/merged") {
			left = append(left, path)
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if command, _ := os.ReadFile(path); bytes.Contains(command, []byte("containerd-shim-")) {
			left = append(left, fmt.Sprintf("process %q", command))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	return nil
}

// groups are the folders of the containers' and builds' cgroups, parents first.
func (e *engine) groups() []string {
	var groups []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		tops, _ := filepath.Glob(pattern + e.cgroup())
		for _, top := range tops {
			filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					groups = append(groups, path)
				}
				return nil // it may go while it is read
			})
		}
	}
	return groups
}

// mounts are the mount points below the engine's folder, as they were mounted.
func (e *engine) mounts() []string {
	var paths []string
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if path := strings.Fields(line)[4]; strings.HasPrefix(path, e.dir+"/") {
			paths = append(paths, path)
		}
	}
	return paths
}

// remains removes what an engine leaves behind of itself: the parents of all cgroups, its hold on the host's network and, if it was
// killed, the mount of its folder.
func (e *engine) remains(t *testing.T) {
	for _, path := range slices.Backward(e.mounts()) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	}
	for _, path := range slices.Backward(e.groups()) {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// command is a command of the docker client.
func (e *engine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(machine.Out("docker/docker"), args...)
	cmd.Env = e.environment()
	return cmd
}

// try runs docker and returns whatever comes of it.
func (e *engine) try(args ...string) machine.Result { return machine.Try(e.command(args...)) }

// docker runs docker, which must succeed, and returns what it prints, less the last newline.
func (e *engine) docker(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSuffix(machine.Run(t, e.command(args...)), "\n")
}

// load loads example images as wagi image build made them.
func (e *engine) load(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		e.docker(t, "load", "--quiet", "--input", machine.Out("images/"+name+".tar"))
	}
}

// run starts a container in the background. Its port 3000 is published as 8080.
func (e *engine) run(t *testing.T, name, image string, flags ...string) {
	t.Helper()
	command := []string{"run", "--detach", "--name", name, "--runtime", wagi, "--publish", "127.0.0.1:8080:3000"}
	e.docker(t, slices.Concat(command, flags, []string{image})...)
}

// inspect is a fact about a container, chosen by a template.
func (e *engine) inspect(t *testing.T, name, format string) string {
	t.Helper()
	return e.docker(t, "inspect", "--format", format, name)
}

// until waits for a fact about a container.
func (e *engine) until(t *testing.T, name, format, want string) {
	t.Helper()
	machine.Await(t, func() error {
		r := e.try("inspect", "--format", format, name)
		if got := strings.TrimSpace(r.Out); r.Code != 0 || got != want {
			return fmt.Errorf("%s of %s: got %q, want %q\n%s", format, name, got, want, r.Err)
		}
		return nil
	})
}

// logs are both streams of a container.
func (e *engine) logs(name string) string {
	r := e.try("logs", name)
	return r.Out + r.Err
}

// pid is the first process of a container.
func (e *engine) pid(t *testing.T, name string) int {
	t.Helper()
	pid, err := strconv.Atoi(e.inspect(t, name, "{{.State.Pid}}"))
	if err != nil || pid == 0 {
		t.Fatalf("%s has no process: %v\n%s", name, err, e.logs(name))
	}
	return pid
}
