//go:build linux

// Package test runs the built commands end to end: real daemons, each in a root, state and socket of its own, real runc, real
// requests. It needs root and the commands in out/; what it cannot run it skips, or fails with E2E=1.
package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
		{"containerd-1.6", "1.6.", out("containerd-1.6"), 2},
		{"containerd-1.7", "1.7.", out("containerd-1.7"), 2},
		{"containerd-2.4", "2.4.", out("containerd-2.4"), 3},
	}
}

// out is the path of what make built, given from out/.
func out(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "out", name))
	if err != nil {
		panic(err)
	}
	return path
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
			skip(t, "%v", err)
		}
	}
	text, err := exec.Command(r.bin+"/containerd", "--version").Output()
	if err != nil {
		skip(t, "%s/containerd: %v", r.bin, err)
	}
	if f := strings.Fields(string(text)); len(f) < 3 || !strings.HasPrefix(strings.TrimPrefix(f[2], "v"), r.version) {
		skip(t, "%s/containerd is not %s but %s", r.bin, r.version, text)
	}
}

// requireShim skips the test when this machine cannot run our shim.
func requireShim(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "not root")
	}
	if _, err := os.Stat(out("containerd-shim-wagi-v1")); err != nil {
		skip(t, "%v", err)
	}
	if _, err := exec.LookPath("runc"); err != nil {
		skip(t, "%v", err)
	}
}

// skip says why a test cannot run here; where all must run (E2E=1), that is a failure.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// A daemon is a private containerd.
type daemon struct {
	workspace
	release
	path    string // its PATH
	process *exec.Cmd
}

// start runs a containerd until the end of the test, which fails if any trace of a container is left then.
func start(t *testing.T, r release) *daemon {
	t.Helper()
	d := &daemon{
		workspace: newWorkspace(t),
		release:   r,
		path:      strings.Join([]string{r.bin, out(""), os.Getenv("PATH"), "/usr/sbin"}, ":"),
	}
	if err := os.WriteFile(d.dir+"/config.toml", []byte(d.configuration()), 0o600); err != nil {
		t.Fatal(err)
	}
	d.up(t)
	return d
}

func (d *daemon) configuration() string {
	text := fmt.Sprintf(`version = %d
root = "%s/root"
state = "%[2]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "%[3]s"
`, d.config, d.dir, d.socket())
	if d.config == 3 {
		text += fmt.Sprintf("[plugins.'io.containerd.shim.v1.manager']\nsocket_dir = %q\n", d.dir+"/s")
	}
	return text
}

func (d *daemon) socket() string { return d.dir + "/c" }

// up starts the process and waits until it listens.
func (d *daemon) up(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(d.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(d.bin+"/containerd", "--config", d.dir+"/config.toml")
	cmd.Env = append(os.Environ(), "PATH="+d.path, "TMPDIR="+d.temp())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if d.process == nil {
		t.Cleanup(func() { d.close(t) })
	}
	d.process = cmd
	await(t, func() error {
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
	if err := d.process.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := d.process.Wait(); err != nil {
		t.Error(err)
	}
}

// close removes the containers that the test left, which must remove all of their traces, and ends the process.
func (d *daemon) close(t *testing.T) {
	for _, id := range strings.Fields(d.try("container", "ls", "-q").out) {
		if err := d.remove(id); err != nil {
			t.Errorf("remove %s: %v", id, err)
		}
	}
	if err := within(patience, d.clean); err != nil {
		t.Error(err)
	}
	d.down(t)
	if t.Failed() {
		log, _ := os.ReadFile(d.dir + "/log")
		t.Logf("log of %s:\n%s", d.name, log)
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

// A result is what a command left.
type result struct {
	out, err string
	code     int // exit status
}

// try runs ctr and returns whatever comes of it.
func (d *daemon) try(args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := d.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return result{stdout.String(), stderr.String() + err.Error(), -1}
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (r result) error() error {
	if r.code != 0 {
		return errors.New(r.err)
	}
	return nil
}

// ctr runs ctr, which must succeed, and returns what it prints.
func (d *daemon) ctr(t *testing.T, args ...string) string {
	t.Helper()
	r := d.try(args...)
	if r.code != 0 {
		t.Fatalf("ctr %q: exit status %d\n%s%s", args, r.code, r.out, r.err)
	}
	return r.out
}

func (d *daemon) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.bin+"/ctr", args...)
	cmd.Env = append(os.Environ(), "CONTAINERD_ADDRESS="+d.socket(), "CONTAINERD_NAMESPACE="+d.ns)
	return cmd
}

// remove ends and deletes a container, whatever its state.
func (d *daemon) remove(id string) error {
	d.try("task", "delete", "--force", id)
	return d.try("container", "delete", id).error()
}
