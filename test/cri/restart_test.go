//go:build linux

package cri

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestLoss takes away what a pod hangs on: containerd, and its shim.
func TestLoss(t *testing.T) {
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			n := startNode(t, r)
			for _, handler := range []string{runc, wagi} {
				t.Run(handler, func(t *testing.T) {
					t.Run("containerd", func(t *testing.T) { testRestart(t, host{n, handler}) })
					t.Run("shim", func(t *testing.T) { testLostShim(t, host{n, handler}) })
				})
			}
		})
	}
}

// testRestart: containers go on without containerd, and the next one knows them all.
func testRestart(t *testing.T, h host) {
	dir := machine.Dir(t)
	p := h.pod(t)
	created, running := p.create(t), p.run(t)
	ending := p.run(t, shell("echo ready; until [ -e /volume/end ]; do sleep 0.1; done; exit 9"),
		mounts(&runtimeapi.Mount{HostPath: dir, ContainerPath: "/volume"}))
	running.awaitLog(t, "ready")
	ending.awaitLog(t, "ready")

	h.daemon.Stop(t)
	if err := os.WriteFile(dir+"/end", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	machine.Await(t, func() error { return ending.gone() })
	h.daemon.Restart(t)
	h.ready(t)

	if s := p.status(t).State; s != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("pod is %s", s)
	}
	if s := ending.ended(t); s.ExitCode != 255 || s.Reason != "Unknown" { // containerd asks no shim how
		t.Errorf("ended meanwhile: %v", s)
	}
	if got := running.exec(t, "echo executed"); got != "executed" {
		t.Errorf("got %q", got)
	}
	running.stop(t, 60)
	if s := running.status(t); s.ExitCode != 0 {
		t.Errorf("stopped: %v", s)
	}
	if err := created.start(t); err != nil {
		t.Error(err)
	}
	if got := p.output(t, "echo new"); got != "new" {
		t.Errorf("got %q", got)
	}
}

// testLostShim: a pod ends with its shim. Ours leaves nothing.
func testLostShim(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t)
	c.awaitLog(t, "ready")
	if err := unix.Kill(p.shim(t), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := c.ended(t); s.ExitCode != 255 || s.Reason != "Error" {
		t.Errorf("status %v", s)
	}
	if err := p.remove(); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(h.sockets() + "/*")
	if h.handler == wagi && len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, path := range left { // runc's shim leaves its socket
		os.Remove(path)
	}
	if got := h.pod(t).output(t, "echo new"); got != "new" {
		t.Errorf("got %q", got)
	}
}

// gone fails while the container has processes.
func (c *container) gone() error {
	files, _ := filepath.Glob("/sys/fs/cgroup/*" + c.parent() + "/" + c.id + "/cgroup.procs")
	for _, file := range append(files, "/sys/fs/cgroup"+c.parent()+"/"+c.id+"/cgroup.procs") {
		if pids, _ := os.ReadFile(file); len(pids) > 0 {
			return fmt.Errorf("processes of the container: %q", pids)
		}
	}
	return nil
}

// shim is the process that serves the pod.
func (p *pod) shim(t *testing.T) int {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		command, _ := os.ReadFile(file)
		if bytes.Contains(command, []byte("\x00-id\x00"+p.id+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	t.Fatalf("no shim for %s", p.id)
	return 0
}
