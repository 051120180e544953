//go:build linux

package kubernetes

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// The installer makes nodes that know nothing of the runtime ones that run it, leaves alone what is so already, and takes all away
// again, but not from under pods that need it. Where no systemd runs it says when containerd must be restarted.
func testInstaller(t *testing.T, nodes []*node) {
	i := installer{&space{cluster: nodes[0].cluster, name: "wagi-system"}, nodes}
	t.Cleanup(func() { i.run(t, "delete", "-k", "testdata/installer/install", "--ignore-not-found", "--timeout=1m") })
	i.run(t, "apply", "-k", "testdata/installer/install")
	i.done(t, "install", "installed /opt/wagi/bin/containerd-shim-wagi-v1\n", "changed /opt/containerd.toml\n", restart, ": label wagi is true\n")
	for _, n := range nodes {
		n.restartContainerd(t)
	}
	t.Run("used", func(t *testing.T) {
		for _, n := range nodes {
			s := n.space(t, "installed")
			s.apply(t, simple("web", "runtimeClassName: wagi"))
			s.ready(t, "web")
			want(t, s.url(t, "web", 3000), greeting)
			if shim := s.shim(t, "web"); !strings.HasSuffix(shim, "/wagi/bin/containerd-shim-wagi-v1") {
				t.Errorf("the shim is %s", shim)
			}
		}
		i.again(t)
		i.refuse(t)
	})
	i.done(t, "uninstall", "changed /opt/containerd.toml\n", restart, "removed /opt/wagi/bin/containerd-shim-wagi-v1\n")
	for _, n := range nodes {
		i.gone(t, n)
	}
}

// restart is what the installer says of a containerd that it has given another configuration.
const restart = "containerd must be restarted\n"

// An installer is the DaemonSet, in its namespace.
type installer struct {
	*space
	nodes []*node
}

// done waits until the command has ended well on every node, and said so.
func (i installer) done(t *testing.T, command string, parts ...string) {
	t.Helper()
	i.wait(t, "rollout", "status", "daemonset/wagi-installer")
	for _, n := range i.nodes {
		contains(t, i.log(t, n, command), parts...)
	}
}

func (i installer) log(t *testing.T, n *node, command string) string {
	t.Helper()
	pod := i.kubectl(t, "get", "pods", "--field-selector=spec.nodeName="+n.name, "-o", "name")
	return i.kubectl(t, "logs", strings.TrimSpace(pod), "-c", command)
}

// again installs where all is installed.
func (i installer) again(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(i.run(t, "apply", "-k", "testdata/installer/install")) {
		if !strings.HasSuffix(line, " unchanged\n") {
			t.Errorf("applied again: %s", line)
		}
	}
	i.kubectl(t, "rollout", "restart", "daemonset/wagi-installer")
	i.done(t, "install", "unchanged /opt/wagi/bin/containerd-shim-wagi-v1\n", "unchanged /opt/containerd.toml\n")
	for _, n := range i.nodes {
		if log := i.log(t, n, "install"); strings.Contains(log, restart) {
			t.Errorf("installed again:\n%s", log)
		}
	}
}

// refuse uninstalls while pods need the runtime.
func (i installer) refuse(t *testing.T) {
	t.Helper()
	i.run(t, "apply", "-k", "testdata/installer/uninstall")
	machine.Await(t, func() error {
		if text := i.try("describe", "pods").Out; !strings.Contains(text, "shims still run") {
			return fmt.Errorf("the installer does not refuse:\n%s", text)
		}
		return nil
	})
	for _, n := range i.nodes {
		contains(t, read(t, n.opt()+"/containerd.toml"), "containerd-shim-wagi-v1")
	}
}

// gone fails the test unless a node is as it was, but for the copy of its configuration.
func (i installer) gone(t *testing.T, n *node) {
	t.Helper()
	if got, want := read(t, n.opt()+"/containerd.toml"), strings.TrimSpace(n.configuration()); got != want {
		t.Errorf("containerd's configuration is\n%s\nwant\n%s", got, want)
	}
	if _, err := os.Stat(n.opt() + "/wagi"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("/opt/wagi: %v", err)
	}
	if label := i.get(t, "node/"+n.name, ".metadata.labels.wagi"); label != "" {
		t.Errorf("label wagi is %q", label)
	}
}

// shim is the file that a pod's shim runs.
func (s *space) shim(t *testing.T, pod string) string {
	t.Helper()
	pid, err := parent(s.process(t, pod))
	if err != nil {
		t.Fatal(err)
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
