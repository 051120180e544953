//go:build linux

package kubernetes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

// A node is a kubelet and its containerd.
type node struct {
	*cluster
	name   string // that of the folder in out/ with its containerd
	config int    // version of containerd's configuration
	runc   string // folder of runc; empty: the system's
	stats  bool   // the kubelet takes statistics from CRI, not from cAdvisor
	number int    // by which ports, addresses and interfaces of nodes differ
	dir    string
	cgroup string // below which all its pods are

	containerd *machine.Daemon
}

// startNodes starts one with each containerd that we test with, for the duration of the test.
func (c *cluster) startNodes(t *testing.T) []*node {
	t.Helper()
	nodes := []*node{
		{cluster: c, name: "containerd-2.4", config: 3, number: 24, runc: machine.Out("runc"), stats: true},
		{cluster: c, name: "containerd-1.7", config: 2, number: 17},
	}
	for _, n := range nodes {
		n.start(t)
	}
	c.startProxy(t, nodes[0].name)
	return nodes
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.dir = machine.Dir(t)
	if err := os.Chmod(n.dir, 0o711); err != nil { // root in a pod's user namespace is not the owner, and must get to its files
		t.Fatal(err)
	}
	n.cgroup = filepath.Base(n.dir)
	t.Cleanup(func() { n.unmount(t) })
	n.makeCgroups(t)
	n.writeNetwork(t)
	n.startContainerd(t)
	n.importImages(t)
	n.startKubelet(t)
	t.Cleanup(func() {
		if err := machine.Within(machine.Patience, n.left); err != nil {
			t.Error(err)
		}
	})
	n.run(t, "wait", "--for=create", "node/"+n.name, "--timeout=1m")
	n.run(t, "wait", "--for=condition=Ready", "node/"+n.name, "--timeout=1m")
}

// unmount unmounts what the daemons leave: the kubelet its own folder, containerd the user namespaces of pods that have just ended.
func (n *node) unmount(t *testing.T) {
	t.Helper()
	for _, line := range slices.Backward(strings.Split(read(t, "/proc/self/mountinfo"), "\n")) {
		if path := strings.Fields(line)[4]; strings.HasPrefix(path, n.dir+"/") {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
}

// makeCgroups makes the node's place in every hierarchy of cgroups, and removes it at the end with what the kubelet left below.
func (n *node) makeCgroups(t *testing.T) {
	t.Helper()
	roots, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	for _, path := range append(roots, "/sys/fs/cgroup/cgroup.procs") {
		if _, err := os.Stat(path); err != nil {
			continue // version 1 has no hierarchy there
		}
		group := filepath.Dir(path) + "/" + n.cgroup
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		groups = append(groups, group)
	}
	t.Cleanup(func() {
		err := machine.Within(machine.Patience, func() (err error) {
			for _, group := range groups {
				err = errors.Join(err, removeCgroup(group))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// removeCgroup removes a cgroup and those below it. It fails while there are processes in them.
func removeCgroup(group string) error {
	var groups []string
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, path := range slices.Backward(groups) {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func (n *node) address() string { return fmt.Sprintf("198.18.0.%d", n.number) }
func (n *node) socket() string  { return n.dir + "/c" }

// writeNetwork gives the node an address, and its pods a bridge of their own.
func (n *node) writeNetwork(t *testing.T) {
	t.Helper()
	run(t, "ip", "address", "add", n.address()+"/24", "dev", "cluster")
	if err := os.Mkdir(n.dir+"/cni", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, n.dir+"/cni/10-bridge.conflist", fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "%s", "plugins": [{
	"type": "bridge", "bridge": "cni%d", "isGateway": true, "hairpinMode": true,
	"ipam": {"type": "host-local", "dataDir": "%s/addresses", "ranges": [[{"subnet": "10.88.%[2]d.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
}]}`, n.name, n.number, n.dir))
}

// opt is the folder that containerd and its pods see as the node's /opt.
func (n *node) opt() string { return n.dir + "/opt" }

// startContainerd starts containerd without the runtime wagi.
func (n *node) startContainerd(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(n.opt(), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, n.opt()+"/containerd.toml", n.configuration())
	bin := machine.Out(n.name)
	cmd := exec.Command("unshare", "--mount", "--propagation=unchanged", "sh", "-ec", ownOpt, n.opt(), bin+"/containerd", "--config", "/opt/containerd.toml")
	cmd.Env = append(os.Environ(), "PATH="+strings.Join([]string{n.runc, bin, machine.Out(""), os.Getenv("PATH"), "/usr/sbin"}, ":"))
	n.containerd = machine.Start(t, n.dir+"/containerd.log", cmd)
	n.awaitContainerd(t)
}

// ownOpt runs a containerd for which, and for whose pods, /opt is the folder $0.
const ownOpt = `
mount --make-private /opt
mount --bind $0 /opt
exec "$@"`

func (n *node) awaitContainerd(t *testing.T) {
	t.Helper()
	machine.Await(t, func() error {
		return machine.Try(n.ctr("version")).Error()
	})
}

// restartContainerd makes it read its configuration.
func (n *node) restartContainerd(t *testing.T) {
	t.Helper()
	n.containerd.Stop(t)
	n.containerd.Restart(t)
	n.awaitContainerd(t)
}

// addRuntime makes the node one for pods of the runtime as README does, but for the cgroup driver: there is no systemd here.
func (n *node) addRuntime(t *testing.T) {
	t.Helper()
	runtimes := machine.ReadmeBlock(t, fmt.Sprintf("# /etc/containerd/config.toml, version = %d", n.config))
	runtimes = strings.ReplaceAll(runtimes, "SystemdCgroup = true", "SystemdCgroup = false")
	write(t, n.opt()+"/containerd.toml", n.configuration()+runtimes)
	n.restartContainerd(t)
	n.run(t, "label", "node", n.name, "wagi=true")
}

// configuration is that of containerd, without the runtime wagi.
func (n *node) configuration() string {
	return machine.Containerd(n.config, n.dir) + machine.CRI(n.config, n.dir, "registry.example/native:1")
}

// startKubelet starts a kubelet that looks at volumes every other second and that frees no disk: the images come from nowhere else.
func (n *node) startKubelet(t *testing.T) {
	t.Helper()
	write(t, n.dir+"/kubelet.yaml", fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%s
containerRuntimeEndpoint: unix://%s
address: %s
port: %d
healthzPort: 0
podLogsDir: %s/logs
resolvConf: ""
clusterDNS: [10.96.0.10]
syncFrequency: 2s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 1Mi, nodefs.available: 1Mi, imagefs.available: 1Mi}
failSwapOn: false
oomScoreAdj: 0
featureGates: {PodAndContainerStatsFromCRI: %t}
`, n.cgroup, n.socket(), n.address(), 10000+n.number, n.dir, n.stats))
	machine.Start(t, n.dir+"/kubelet.log", exec.Command("unshare", "--mount", "--propagation=unchanged", "sh", "-ec", hideTunables, n.dir,
		machine.Out("kubernetes/kubelet"), "--config", n.dir+"/kubelet.yaml", "--kubeconfig", n.kubeconfig(), "--root-dir", n.dir+"/kubelet",
		"--cert-dir", n.dir+"/pki", "--hostname-override", n.name, "--node-ip", n.address()))
}

// hideTunables runs a kubelet, which sets what holds for the whole machine, so that it sets copies in the folder $0. They are mounted
// for the kubelet alone: where containerd runs, /proc must be whole, or the kernel lets no user namespace have one.
const hideTunables = `
mount --make-rprivate /proc
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
	copy=$0/$(echo $name | tr / -)
	cat /proc/sys/$name >$copy
	mount --bind $copy /proc/sys/$name
done
exec "$@"`

// left fails while there is a container or a shim of the node.
func (n *node) left() error {
	if r := machine.Try(n.ctr("task", "ls", "-q")); r.Code != 0 || r.Out != "" {
		return fmt.Errorf("containers of %s: %s%s", n.name, r.Out, r.Err)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		command, _ := os.ReadFile(path) // it may have ended
		if args := strings.ReplaceAll(string(command), "\x00", " "); strings.Contains(args, "containerd-shim") && strings.Contains(args, n.socket()+" ") {
			err = errors.Join(err, fmt.Errorf("left behind: %s", args))
		}
	}
	return err
}

func (n *node) ctr(args ...string) *exec.Cmd {
	return exec.Command(machine.Out(n.name)+"/ctr", append([]string{"--address", n.socket(), "--namespace", "k8s.io"}, args...)...)
}
