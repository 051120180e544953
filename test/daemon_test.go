//go:build linux

// Package test runs the built commands end to end: real daemons, each in a root, state and socket of its own, real runc, real
// requests. It needs root and the commands in out/; what it cannot run it skips, or fails with E2E=1.
package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

const (
	wagi = "io.containerd.wagi.v1"
	runc = "io.containerd.runc.v2"
)

// A release is one containerd under test.
type release struct {
	name    string // of the subtest
	version string // what its version starts with
	bin     string // folder of containerd, ctr and runc's own shim
	config  int    // version of its configuration
}

func releases() []release {
	return []release{
		{"containerd-1.6", "1.6.", machine.Out("containerd-1.6"), 2},
		{"containerd-1.7", "1.7.", machine.Out("containerd-1.7"), 2},
		{"containerd-2.4", "2.4.", machine.Out("containerd-2.4"), 3},
	}
}

// each runs a test once for each release, with a containerd of its own that holds the test image.
func each(t *testing.T, test func(*testing.T, *daemon)) {
	for _, r := range releases() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			require(t, r)
			d := start(t, r)
			d.pull(t)
			test(t, d)
		})
	}
}

// require skips the test when this machine cannot run the release.
func require(t *testing.T, r release) {
	requireShim(t)
	for _, name := range []string{"ctr", "containerd-shim-runc-v2"} {
		if _, err := os.Stat(r.bin + "/" + name); err != nil {
			machine.Skip(t, "%v", err)
		}
	}
	text, err := exec.Command(r.bin+"/containerd", "--version").Output()
	if err != nil {
		machine.Skip(t, "%s/containerd: %v", r.bin, err)
	}
	if f := strings.Fields(string(text)); len(f) < 3 || !strings.HasPrefix(strings.TrimPrefix(f[2], "v"), r.version) {
		machine.Skip(t, "%s/containerd is not %s but %s", r.bin, r.version, text)
	}
}

// requireShim skips the test when this machine cannot run our shim.
func requireShim(t *testing.T) {
	if os.Geteuid() != 0 {
		machine.Skip(t, "not root")
	}
	if _, err := os.Stat(machine.Out("containerd-shim-wagi-v1")); err != nil {
		machine.Skip(t, "%v", err)
	}
	if _, err := exec.LookPath("runc"); err != nil {
		machine.Skip(t, "%v", err)
	}
}

// A daemon is a private containerd.
type daemon struct {
	workspace
	release
	path    string // its PATH
	process *machine.Daemon
}

// start runs a containerd until the end of the test, which fails if any trace of a container is left then.
func start(t *testing.T, r release) *daemon {
	t.Helper()
	d := &daemon{
		workspace: newWorkspace(t),
		release:   r,
		path:      strings.Join([]string{r.bin, machine.Out(""), os.Getenv("PATH"), "/usr/sbin"}, ":"),
	}
	config := machine.Containerd(d.config, d.dir, "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime")
	if err := os.WriteFile(d.dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(d.bin+"/containerd", "--config", d.dir+"/config.toml")
	cmd.Env = d.env()
	d.process = machine.Start(t, d.dir+"/log", cmd)
	t.Cleanup(func() { d.close(t) })
	d.awaitSocket(t)
	return d
}

func (d *daemon) socket() string { return d.dir + "/c" }

func (d *daemon) env() []string {
	return append(os.Environ(), "PATH="+d.path, "TMPDIR="+d.temp(), "WAGI_CODE_CACHE="+d.code())
}

func (d *daemon) awaitSocket(t *testing.T) {
	t.Helper()
	machine.Await(t, func() error {
		c, err := net.Dial("unix", d.socket())
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// down ends the process and leaves the containers running.
func (d *daemon) down(t *testing.T) {
	t.Helper()
	d.process.Stop(t)
}

// up starts the process again.
func (d *daemon) up(t *testing.T) {
	t.Helper()
	d.process.Env = d.env()
	d.process.Restart(t)
	d.awaitSocket(t)
}

// close removes the containers that the test left, which must remove all of their traces.
func (d *daemon) close(t *testing.T) {
	for _, id := range strings.Fields(d.try("container", "ls", "-q").Out) {
		if err := d.remove(id); err != nil {
			t.Errorf("remove %s: %v", id, err)
		}
	}
	if err := machine.Within(machine.Patience, d.clean); err != nil {
		t.Error(err)
	}
}

// shim is the process that serves a container.
func (d *daemon) shim(t *testing.T, id string) int {
	t.Helper()
	for _, pid := range d.processes() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(command, []byte("\x00-id\x00"+id+"\x00")) {
			return pid
		}
	}
	t.Fatalf("no shim for %s", id)
	return 0
}

// shimSocket is where the shim of a container, or of a group of them, listens.
func (d *daemon) shimSocket(id string) string {
	dir := "/run/containerd/s"
	if d.config == 3 {
		dir = d.dir + "/s"
	}
	return fmt.Sprintf("%s/%x", dir, sha256.Sum256([]byte(filepath.Join(d.socket(), d.ns, id))))
}

// try runs ctr and returns whatever comes of it.
func (d *daemon) try(args ...string) machine.Result {
	return machine.Try(d.command(context.Background(), args...))
}

// ctr runs ctr, which must succeed, and returns what it prints.
func (d *daemon) ctr(t *testing.T, args ...string) string {
	t.Helper()
	return machine.Run(t, d.command(context.Background(), args...))
}

func (d *daemon) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.bin+"/ctr", args...)
	cmd.Env = append(os.Environ(), "CONTAINERD_ADDRESS="+d.socket(), "CONTAINERD_NAMESPACE="+d.ns)
	return cmd
}

// remove ends and deletes a container, whatever its state.
func (d *daemon) remove(id string) error {
	d.try("task", "delete", "--force", id)
	return d.try("container", "delete", id).Error()
}
