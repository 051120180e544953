//go:build linux

package cri

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"containerd-shim-wagi-v1/test/machine"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A host is a node whose pods are run by one handler.
type host struct {
	*node
	handler string
}

// numbers make names unique.
var numbers atomic.Int64

// A pod is a running sandbox.
type pod struct {
	host
	id     string
	config *runtimeapi.PodSandboxConfig
}

// pod runs a sandbox until the end of the test, when it and its containers are stopped and removed. Each edit changes the configuration.
func (h host) pod(t *testing.T, edits ...func(*runtimeapi.PodSandboxConfig)) *pod {
	t.Helper()
	name := fmt.Sprintf("pod%d", numbers.Add(1))
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "test", Uid: name},
		LogDirectory: h.dir + "/logs/" + name,
		Labels:       map[string]string{"pod": name},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    h.parent(),
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}},
		},
	}
	for _, edit := range edits {
		edit(config)
	}
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := h.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: h.handler})
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{h, r.PodSandboxId, config}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if err := p.remove(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// stop and remove are without effect on a pod that is stopped or removed.
func (p *pod) stop() error {
	ctx, cancel := patient()
	defer cancel()
	_, err := p.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.id})
	return err
}

func (p *pod) remove() error {
	ctx, cancel := patient()
	defer cancel()
	_, err := p.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.id})
	return err
}

// patient is for calls at the end of a test, when its own context is done.
func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), machine.Patience)
}

func (p *pod) status(t *testing.T) *runtimeapi.PodSandboxStatus {
	t.Helper()
	r, err := p.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status
}

// address is the pod's, which the node reaches over the bridge.
func (p *pod) address(t *testing.T) string {
	t.Helper()
	ip := p.status(t).GetNetwork().GetIp()
	if net.ParseIP(ip) == nil {
		t.Fatalf("the pod's address is %q", ip)
	}
	return ip
}

// A container is a container of a pod.
type container struct {
	*pod
	id     string
	config *runtimeapi.ContainerConfig
}

// shell is the command that runs a script.
func shell(script string) func(*runtimeapi.ContainerConfig) {
	return func(c *runtimeapi.ContainerConfig) { c.Command = []string{"sh", "-c", script} }
}

// sleep is a command that no shell runs: from the start it is the container's process.
func sleep(c *runtimeapi.ContainerConfig) { c.Command = []string{"sleep", "4321"} }

// forever is a script that says so when it is ready and runs until SIGTERM.
const forever = `trap "exit 0" TERM; echo ready; while :; do sleep 1000 & wait; done`

// create makes a container. Unless an edit changes that, it is a plain one that runs until it is stopped.
func (p *pod) create(t *testing.T, edits ...func(*runtimeapi.ContainerConfig)) *container {
	t.Helper()
	c, err := p.tryCreate(t, edits...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *pod) tryCreate(t *testing.T, edits ...func(*runtimeapi.ContainerConfig)) (*container, error) {
	name := fmt.Sprintf("container%d", numbers.Add(1))
	config := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name},
		Image:    &runtimeapi.ImageSpec{Image: plainImage},
		LogPath:  name + ".log",
		Labels:   map[string]string{"container": name},
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: p.config.Linux.SecurityContext.NamespaceOptions,
			},
		},
	}
	shell(forever)(config)
	for _, edit := range edits {
		edit(config)
	}
	r, err := p.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
	if err != nil {
		return nil, err
	}
	return &container{p, r.ContainerId, config}, nil
}

// run creates and starts a container.
func (p *pod) run(t *testing.T, edits ...func(*runtimeapi.ContainerConfig)) *container {
	t.Helper()
	c := p.create(t, edits...)
	if err := c.start(t); err != nil {
		t.Fatal(err)
	}
	return c
}

// output is what a script in a container of its own prints.
func (p *pod) output(t *testing.T, script string, edits ...func(*runtimeapi.ContainerConfig)) string {
	t.Helper()
	c := p.run(t, append([]func(*runtimeapi.ContainerConfig){shell(script)}, edits...)...)
	if s := c.ended(t); s.ExitCode != 0 {
		t.Fatalf("exit status %d, log:\n%s", s.ExitCode, c.log(t))
	}
	return c.log(t)
}

func (c *container) start(t *testing.T) error {
	_, err := c.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: c.id})
	return err
}

// stop ends the container by SIGTERM and, after a time in seconds, by SIGKILL.
func (c *container) stop(t *testing.T, seconds int64) {
	t.Helper()
	if _, err := c.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: c.id, Timeout: seconds}); err != nil {
		t.Fatal(err)
	}
}

func (c *container) remove(t *testing.T) {
	t.Helper()
	if _, err := c.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: c.id}); err != nil {
		t.Fatal(err)
	}
}

func (c *container) status(t *testing.T) *runtimeapi.ContainerStatus {
	t.Helper()
	r, err := c.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: c.id})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status
}

// ended waits for the container's end, and for that of its log: containerd reports the one before it has written the other,
// a line at a time.
func (c *container) ended(t *testing.T) *runtimeapi.ContainerStatus {
	t.Helper()
	machine.Await(t, func() error {
		if state := c.status(t).State; state != runtimeapi.ContainerState_CONTAINER_EXITED {
			return fmt.Errorf("container is %s", state)
		}
		return nil
	})
	machine.Await(t, func() error {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.daemon.Process.Pid))
		for _, file := range files {
			if name, _ := os.Readlink(file); name == c.logFile() {
				return fmt.Errorf("containerd still writes %s", name)
			}
		}
		return nil
	})
	return c.status(t)
}

// try executes a command in the container.
func (c *container) try(t *testing.T, seconds int64, command ...string) (*runtimeapi.ExecSyncResponse, error) {
	return c.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: c.id, Cmd: command, Timeout: seconds})
}

// exec is what a script, executed in the container, prints. It must succeed.
func (c *container) exec(t *testing.T, script string) string {
	t.Helper()
	r, err := c.try(t, int64(machine.Patience/time.Second), "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitCode != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", script, r.ExitCode, r.Stdout, r.Stderr)
	}
	return strings.TrimSuffix(string(r.Stdout), "\n")
}

func (c *container) logFile() string { return c.pod.config.LogDirectory + "/" + c.config.LogPath }

// A line of a container's log: TIME STREAM TAG TEXT.
type line struct{ stream, tag, text string }

func (c *container) lines(t *testing.T) []line {
	t.Helper()
	text, err := os.ReadFile(c.logFile())
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	for l := range strings.Lines(string(text)) {
		l, whole := strings.CutSuffix(l, "\n")
		if !whole {
			break // it is being written
		}
		f := strings.SplitN(l, " ", 4)
		if len(f) < 4 {
			t.Fatalf("line %q in %s", l, c.logFile())
		}
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line{f[1], f[2], f[3]})
	}
	return lines
}

// log is the text of all lines.
func (c *container) log(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, l := range c.lines(t) {
		b.WriteString(l.text)
		if l.tag == "F" {
			b.WriteByte('\n')
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// get is the body of the answer to a request, repeated until there is one.
func get(t *testing.T, url string) (body string) {
	t.Helper()
	client := machine.NewClient(nil)
	machine.Await(t, func() (err error) {
		body, err = client.Get(url)
		return err
	})
	return body
}
