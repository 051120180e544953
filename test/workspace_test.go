//go:build linux

package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

// A workspace is a folder and a namespace in which containers run, and by which all traces of them are known.
type workspace struct {
	dir string // short, because paths of sockets are limited to 107 bytes
	ns  string // namespace of containerd, and the parent of the containers' cgroups
}

// newWorkspace makes one for the duration of the test.
func newWorkspace(t *testing.T) workspace {
	t.Helper()
	dir := machine.Dir(t)
	w := workspace{dir, filepath.Base(dir)}
	t.Cleanup(func() { w.remove(t) })
	if err := os.Mkdir(w.temp(), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w workspace) temp() string { return w.dir + "/tmp" }

// code is where the node keeps compiled code.
func (w workspace) code() string { return w.dir + "/code" }

// remove deletes what containerd and runc keep for a namespace even when it is empty. Processes are left
// only by a test that has failed.
func (w workspace) remove(t *testing.T) {
	for _, pid := range w.processes() {
		unix.Kill(pid, unix.SIGKILL)
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + w.ns)
	for _, path := range append(groups, "/sys/fs/cgroup/"+w.ns, "/run/containerd/runc/"+w.ns) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// clean fails while any trace of a container is left.
func (w workspace) clean() error {
	if left := w.left(); len(left) > 0 {
		return fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	return nil
}

// left lists all traces of containers on this machine.
func (w workspace) left() []string {
	var left []string
	for _, pattern := range []string{
		w.dir + "/state/io.containerd.runtime.v2.task/*/*",
		w.dir + "/root/io.containerd.runtime.v2.task/*/*",
		w.dir + "/s/*",
		w.temp() + "/*",
		"/run/containerd/runc/" + w.ns + "/*",
		"/sys/fs/cgroup/" + w.ns + "/*/cgroup.procs",
		"/sys/fs/cgroup/*/" + w.ns + "/*/cgroup.procs",
	} {
		paths, _ := filepath.Glob(pattern)
		left = append(left, paths...)
	}
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, w.dir+"/") {
			left = append(left, "mount "+line)
		}
	}
	for _, pid := range w.processes() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		left = append(left, fmt.Sprintf("process %d %q", pid, command))
	}
	return left
}

// processes are those of the containers and their shims.
func (w workspace) processes() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		command, _ := os.ReadFile(dir + "/cmdline")
		groups, _ := os.ReadFile(dir + "/cgroup")
		if bytes.Contains(command, []byte("\x00-namespace\x00"+w.ns+"\x00")) || bytes.Contains(groups, []byte("/"+w.ns+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}
