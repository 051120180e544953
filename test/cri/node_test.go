//go:build linux

package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	runc = "runc"
	wagi = "wagi"
)

// A release is one containerd under test.
type release struct {
	name   string // of the subtest, and of the folder in out/
	config int    // version of its configuration
	subnet string // of its pods, less the last number
	bridge string // to which its pods are connected
}

var releases = []release{
	{"containerd-1.7", 2, "198.18.17", "wagi17"},
	{"containerd-2.4", 3, "198.18.24", "wagi24"},
}

// A node is a private containerd that serves CRI, and a client of it.
type node struct {
	release
	runtimeapi.RuntimeServiceClient
	images runtimeapi.ImageServiceClient
	dir    string
	daemon *machine.Daemon
}

// startNode runs a containerd that holds the test images until the end of the test.
func startNode(t *testing.T, r release) *node {
	t.Helper()
	require(t, r)
	n := &node{release: r, dir: machine.Dir(t)}
	t.Cleanup(func() { n.removeCgroups(t) })
	t.Cleanup(func() {
		if err := machine.Within(machine.Patience, n.clean); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(n.dir, 0o711); err != nil { // users of a pod's own namespace must reach its files
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"config.toml":            n.configuration(),
		"cni/10-bridge.conflist": n.network(),
	} {
		if err := os.MkdirAll(filepath.Dir(n.dir+"/"+path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.dir+"/"+path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.up(t)
	n.load(t)
	return n
}

// libraries hides the machine's /var/lib, where the CNI library keeps its results, from the daemons.
var libraries = sync.OnceValue(func() error { return unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, "") })

// require skips the test when this machine cannot run the release.
func require(t *testing.T, r release) {
	t.Helper()
	if os.Geteuid() != 0 {
		machine.Skip(t, "not root")
	}
	for _, name := range []string{r.name + "/containerd", r.name + "/containerd-shim-runc-v2", "containerd-shim-wagi-v1", "wagi", "cni/bridge", "busybox"} {
		if _, err := os.Stat(machine.Out(name)); err != nil {
			machine.Skip(t, "%v", err)
		}
	}
	for _, name := range []string{"runc", "iptables"} {
		if _, err := exec.LookPath(name); err != nil {
			machine.Skip(t, "%v", err)
		}
	}
	if err := libraries(); err != nil {
		t.Fatal(err)
	}
}

// up starts the daemon and connects to it.
func (n *node) up(t *testing.T) {
	t.Helper()
	cmd := exec.Command(machine.Out(n.name)+"/containerd", "--config", n.dir+"/config.toml")
	cmd.Env = append(os.Environ(), "PATH="+strings.Join([]string{machine.Out(n.name), machine.Out(""), os.Getenv("PATH"), "/usr/sbin", "/sbin"}, ":"))
	n.daemon = machine.Start(t, n.dir+"/log", cmd)
	c, err := grpc.NewClient("unix:"+n.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	n.RuntimeServiceClient, n.images = runtimeapi.NewRuntimeServiceClient(c), runtimeapi.NewImageServiceClient(c)
	n.ready(t)
}

// ready waits until runtime and network are.
func (n *node) ready(t *testing.T) {
	t.Helper()
	machine.Await(t, func() error {
		status, err := n.Status(context.Background(), &runtimeapi.StatusRequest{})
		if err != nil {
			return err
		}
		for _, condition := range status.Status.Conditions {
			if !condition.Status && strings.HasSuffix(condition.Type, "Ready") {
				return errors.New(condition.Message)
			}
		}
		return nil
	})
}

func (n *node) socket() string { return n.dir + "/c" }

// sockets is the folder of the shims' sockets.
func (n *node) sockets() string {
	if n.config == 2 {
		return "/run/containerd/s"
	}
	return n.dir + "/s"
}

// parent is the cgroup of the node's pods.
func (n *node) parent() string { return "/" + filepath.Base(n.dir) }

// clean fails while any trace of a pod is left.
func (n *node) clean() error {
	var left []string
	for _, pattern := range []string{n.dir + "/state/*/k8s.io/*", n.dir + "/root/*/k8s.io/*", n.dir + "/s/*", "/sys/fs/cgroup" + n.parent() + "/*/", "/sys/fs/cgroup/*" + n.parent() + "/*/"} {
		paths, _ := filepath.Glob(pattern)
		left = append(left, paths...)
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if command, _ := os.ReadFile(file); bytes.Contains(command, []byte(n.dir+"/")) {
			left = append(left, fmt.Sprintf("%s %q", filepath.Dir(file), command))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	return nil
}

// removeCgroups removes the parent, which is empty unless a test has failed.
func (n *node) removeCgroups(t *testing.T) {
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + n.parent())
	for _, path := range append(groups, "/sys/fs/cgroup"+n.parent()) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// configuration is containerd's, with a handler for each shim.
func (n *node) configuration() string {
	plugin := "io.containerd.grpc.v1.cri"
	if n.config == 3 {
		plugin = "io.containerd.cri.v1.runtime"
	}
	return machine.Containerd(n.config, n.dir) + machine.CRI(n.config, n.dir, pauseImage) + fmt.Sprintf(`[plugins."%s".containerd.runtimes]
runc.runtime_type = "io.containerd.runc.v2"
wagi.runtime_type = "io.containerd.wagi.v1"
runc.options.SystemdCgroup = false
wagi.options.SystemdCgroup = false
`, plugin)
}

// network is the configuration of CNI: a bridge of this node, its addresses from a list of its own.
func (n *node) network() string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "%s", "plugins": [
  {"type": "bridge", "bridge": "%[1]s", "isGateway": true, "ipam": {
    "type": "host-local", "dataDir": "%s/addresses", "ranges": [[{"subnet": "%s.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": false}
]}`, n.bridge, n.dir, n.subnet)
}
