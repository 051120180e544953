//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/atomicfile"
	"golang.org/x/sys/unix"
)

// shimPath is where the shim is on a node. Not all have a writable /usr, and containerd's PATH differs: its
// configuration names the file itself.
const shimPath = "/opt/wagi/bin/containerd-shim-wagi-v1"

// restartPending is a file that is there from the change of containerd's configuration to its restart.
const restartPending = "/opt/wagi/restart-pending"

// node is what the installer changes.
type node struct {
	root    string // its root directory, as seen from here
	shim    string // the file to install
	config  string // containerd's configuration on the node; empty: the distribution's
	handler string // name of the runtime
	label   string // empty: none
	restart bool
}

// A distribution is how containerd is set up on a node.
type distribution struct {
	name     string
	config   string   // file that containerd reads
	template string   // file that the distribution makes it of, and that is edited instead; "": none
	dropIns  string   // folder whose files the distribution merges into it; "": none but imports
	units    []string // systemd's, of which one runs containerd
}

// distributions are tried in this order: each is there if its file is. The last is tried without one.
var distributions = []distribution{
	{name: "k3s", config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", template: "config.toml.tmpl", units: []string{"k3s.service", "k3s-agent.service"}},
	{name: "rke2", config: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml", template: "config.toml.tmpl", units: []string{"rke2-server.service", "rke2-agent.service"}},
	{name: "k0s", config: "/etc/k0s/containerd.toml", dropIns: "/etc/k0s/containerd.d", units: []string{"k0sworker.service", "k0scontroller.service"}},
	{name: "microk8s", config: "/var/snap/microk8s/current/args/containerd-template.toml", units: []string{"snap.microk8s.daemon-containerd.service"}},
	{name: "containerd", config: "/etc/containerd/config.toml", units: []string{"containerd.service"}},
}

func (n *node) distribution() distribution {
	last := distributions[len(distributions)-1]
	if n.config != "" {
		last.config = n.config
		return last
	}
	for _, d := range distributions {
		if _, err := os.Stat(n.path(d.config)); err == nil {
			return d
		}
	}
	return last
}

// path is a file of the node, as seen from here.
func (n *node) path(file string) string {
	return filepath.Join(n.root, file)
}

func (n *node) install(ctx context.Context) error {
	d := n.distribution()
	fmt.Printf("%s: %s\n", d.name, d.config)
	edit, err := n.plan(d)
	if err != nil {
		return err
	}
	if err := n.copyShim(); err != nil {
		return err
	}
	if err := n.apply(ctx, d, edit, edit.with); err != nil {
		return err
	}
	return n.setLabel(ctx, true)
}

func (n *node) uninstall(ctx context.Context) error {
	if pids := n.shims(); len(pids) > 0 {
		return fmt.Errorf("%d shims still run (processes %s): delete their pods first", len(pids), strings.Join(pids, ", "))
	}
	if err := n.setLabel(ctx, false); err != nil {
		return err
	}
	d := n.distribution()
	fmt.Printf("%s: %s\n", d.name, d.config)
	edit, err := n.plan(d)
	if err != nil {
		return err
	}
	if err := n.apply(ctx, d, edit, edit.without); err != nil {
		return err
	}
	err = os.RemoveAll(n.path(filepath.Dir(filepath.Dir(shimPath))))
	fmt.Println("removed", shimPath)
	return err
}

// apply gives a configuration file its new content, and restarts containerd if that is another, or if an earlier
// installer could not.
func (n *node) apply(ctx context.Context, d distribution, e edit, content string) error {
	old, err := n.readText(e.file)
	if err != nil {
		return err
	}
	pending := n.path(restartPending)
	if old == content {
		fmt.Println("unchanged", e.file)
	} else {
		if err := put(pending, nil, 0o644); err != nil {
			return err
		}
		if err := n.write(e.file, old, content); err != nil {
			return err
		}
		fmt.Println("changed", e.file)
	}
	if _, err := os.Stat(pending); err != nil {
		return nil
	}
	if !n.restart {
		fmt.Println("containerd must be restarted")
	} else if err := n.restartUnit(ctx, d); err != nil {
		return err
	}
	return os.Remove(pending)
}

// restartUnit restarts the first of the distribution's units that is active.
func (n *node) restartUnit(ctx context.Context, d distribution) error {
	for _, unit := range d.units {
		if n.systemctl(ctx, "is-active", "--quiet", unit) != nil {
			continue
		}
		if err := n.systemctl(ctx, "restart", unit); err != nil {
			return fmt.Errorf("restart %s: %w", unit, err)
		}
		fmt.Println("restarted", unit)
		return nil
	}
	return fmt.Errorf("the configuration is changed, but systemd runs none of %s: restart containerd, or use --restart=false", strings.Join(d.units, ", "))
}

// systemctl runs the node's own, in the node's root directory.
func (n *node) systemctl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "/usr/bin/systemctl", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &unix.SysProcAttr{Chroot: n.root}
	output, err := cmd.CombinedOutput()
	if text := strings.TrimSpace(string(output)); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

// copyShim installs the shim, and wagi, which is a link to it. Shims that run keep their file.
func (n *node) copyShim() error {
	target := n.path(shimPath)
	if same, err := equal(n.shim, target); err != nil {
		return err
	} else if same {
		fmt.Println("unchanged", shimPath)
		return nil
	}
	content, err := os.ReadFile(n.shim)
	if err != nil {
		return err
	}
	if err := put(target, content, 0o755); err != nil {
		return err
	}
	link := filepath.Join(filepath.Dir(target), "wagi")
	if err := os.Symlink(filepath.Base(target), link); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	fmt.Println("installed", shimPath)
	return nil
}

// equal says whether two files have the same content. The second may be missing.
func equal(one, other string) (bool, error) {
	a, err := os.ReadFile(one)
	if err != nil {
		return false, err
	}
	b, err := os.ReadFile(other)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return bytes.Equal(a, b), err
}

// put gives a file its content at once: whoever reads it sees the old one or the new one.
func put(file string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := atomicfile.New(file, mode)
	if err != nil {
		return err
	}
	defer f.Cancel()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Close()
}

// shims are the processes of the node that run the shim, be it replaced since.
func (n *node) shims() (pids []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		file, _ := os.Readlink(link)
		if strings.HasSuffix(strings.TrimSuffix(file, " (deleted)"), "/wagi/bin/containerd-shim-wagi-v1") {
			pids = append(pids, filepath.Base(filepath.Dir(link)))
		}
	}
	return pids
}
