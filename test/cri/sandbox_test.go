//go:build linux

package cri

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var sandboxCases = []validation{
	{"sandbox/lifecycle", testSandboxLifecycle},
	{"sandbox/remove-running", testSandboxRemoveRunning},
	{"sandbox/list", testSandboxList},
	{"sandbox/hostname", testHostname},
	{"sandbox/dns", testDNS},
	{"sandbox/sysctl", testSysctl},
	{"sandbox/pod-network", testPodNetwork},
	{"sandbox/host-port", testHostPort},
	{"sandbox/host-network", testHostNetwork},
	{"sandbox/pod-pid", testPodPID},
	{"sandbox/host-pid", testHostPID},
	{"sandbox/target-pid", testTargetPID},
	{"sandbox/pod-ipc", testPodIPC},
	{"sandbox/host-ipc", testHostIPC},
	{"sandbox/unknown-handler", testUnknownHandler},
}

func testSandboxLifecycle(t *testing.T, h host) {
	p := h.pod(t)
	s := p.status(t)
	if s.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("state %s", s.State)
	}
	if s.RuntimeHandler != h.handler {
		t.Errorf("handler %q", s.RuntimeHandler)
	}
	if s.Metadata.Name != p.config.Metadata.Name || s.Labels["pod"] != p.config.Labels["pod"] {
		t.Errorf("metadata %v, labels %v", s.Metadata, s.Labels)
	}
	c := p.run(t)
	for range 2 {
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
	}
	if s := p.status(t); s.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("after stop: state %s", s.State)
	}
	if s := c.status(t); s.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		t.Errorf("after stop: container is %s", s.State)
	}
	for range 2 {
		if err := p.remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: p.id}); err == nil {
		t.Error("a removed sandbox has a status")
	}
	for _, path := range []string{h.dir + "/state/*/*/" + p.id, "/run/containerd/runc/*/" + p.id, "/sys/fs/cgroup/*" + h.parent() + "/" + p.id} {
		if left, _ := filepath.Glob(path); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func testSandboxRemoveRunning(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t)
	if err := p.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: c.id}); err == nil {
		t.Error("a container of a removed sandbox has a status")
	}
}

func testSandboxList(t *testing.T, h host) {
	p := h.pod(t)
	list := func(f *runtimeapi.PodSandboxFilter) []*runtimeapi.PodSandbox {
		r, err := h.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return r.Items
	}
	ready := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}
	stopped := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY}
	if got := list(&runtimeapi.PodSandboxFilter{Id: p.id, State: ready}); len(got) != 1 || got[0].RuntimeHandler != h.handler {
		t.Errorf("by id: %v", got)
	}
	if got := list(&runtimeapi.PodSandboxFilter{LabelSelector: p.config.Labels}); len(got) != 1 || got[0].Id != p.id {
		t.Errorf("by label: %v", got)
	}
	if got := list(&runtimeapi.PodSandboxFilter{Id: p.id, State: stopped}); len(got) != 0 {
		t.Errorf("by another state: %v", got)
	}
}

func testHostname(t *testing.T, h host) {
	p := h.pod(t, func(c *runtimeapi.PodSandboxConfig) { c.Hostname = "name-of-pod" })
	if got := p.output(t, "hostname; cat /etc/hostname; echo $HOSTNAME"); got != "name-of-pod\nname-of-pod\nname-of-pod" {
		t.Errorf("got %q", got)
	}
}

func testDNS(t *testing.T, h host) {
	p := h.pod(t, func(c *runtimeapi.PodSandboxConfig) {
		c.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"198.18.0.53"}, Searches: []string{"test.invalid"}, Options: []string{"ndots:8"}}
	})
	want := "search test.invalid\nnameserver 198.18.0.53\noptions ndots:8"
	if got := p.output(t, "cat /etc/resolv.conf"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testSysctl(t *testing.T, h host) {
	p := h.pod(t, func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "2000 3000"}
	})
	if got := p.output(t, "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range"); got != "1\n2000\t3000" {
		t.Errorf("got %q", got)
	}
}

// server answers each request with "hello".
func server(port int) func(*runtimeapi.ContainerConfig) {
	return shell(fmt.Sprintf("echo hello > index.html; exec httpd -f -p %d", port))
}

func testPodNetwork(t *testing.T, h host) {
	p := h.pod(t)
	p.run(t, server(8080))
	address := p.address(t)
	if got := get(t, "http://"+address+":8080/index.html"); got != "hello\n" {
		t.Errorf("from the node: %q", got)
	}
	// Containers of a pod share its network, others reach it by its address.
	for from, url := range map[*pod]string{p: "localhost:8080", h.pod(t): address + ":8080"} {
		if got := from.output(t, "wget -q -O - http://"+url+"/index.html"); got != "hello" {
			t.Errorf("%s: got %q", url, got)
		}
	}
}

func testHostPort(t *testing.T, h host) {
	port := int32(31000 + numbers.Add(1))
	p := h.pod(t, func(c *runtimeapi.PodSandboxConfig) {
		c.PortMappings = []*runtimeapi.PortMapping{{ContainerPort: 8080, HostPort: port, Protocol: runtimeapi.Protocol_TCP}}
	})
	p.run(t, server(8080))
	if got := get(t, fmt.Sprintf("http://%s.1:%d/index.html", h.subnet, port)); got != "hello\n" {
		t.Errorf("got %q", got)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("%s.1:%d", h.subnet, port)); err == nil {
		c.Close()
		t.Error("the port is open after the pod")
	}
}

func namespaceMode(set func(*runtimeapi.NamespaceOption)) func(*runtimeapi.PodSandboxConfig) {
	return func(c *runtimeapi.PodSandboxConfig) { set(c.Linux.SecurityContext.NamespaceOptions) }
}

func testHostNetwork(t *testing.T, h host) {
	p := h.pod(t, namespaceMode(func(o *runtimeapi.NamespaceOption) { o.Network = runtimeapi.NamespaceMode_NODE }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "from the node") })}
	go s.Serve(l)
	defer s.Close()
	if got := p.output(t, "wget -q -O - http://"+l.Addr().String()); got != "from the node" {
		t.Errorf("got %q", got)
	}
	if mode := p.status(t).Linux.Namespaces.Options.Network; mode != runtimeapi.NamespaceMode_NODE {
		t.Errorf("mode %s", mode)
	}
}

func testPodPID(t *testing.T, h host) {
	p := h.pod(t, namespaceMode(func(o *runtimeapi.NamespaceOption) { o.Pid = runtimeapi.NamespaceMode_POD }))
	p.run(t, sleep)
	if got := p.output(t, "tr '\\0' ' ' < /proc/1/cmdline; pidof sleep"); !strings.Contains(got, "/native pause") || len(strings.Fields(got)) != 3 {
		t.Errorf("process 1 and sleep: %q", got)
	}
}

func testHostPID(t *testing.T, h host) {
	p := h.pod(t, namespaceMode(func(o *runtimeapi.NamespaceOption) { o.Pid = runtimeapi.NamespaceMode_NODE }))
	got := p.output(t, fmt.Sprintf("tr '\\0' ' ' < /proc/%d/cmdline", h.daemon.Process.Pid))
	if !strings.Contains(got, "/containerd --config "+h.dir) {
		t.Errorf("the node's containerd is %q", got)
	}
}

func testTargetPID(t *testing.T, h host) {
	p := h.pod(t)
	target := p.run(t, sleep)
	c := p.run(t, shell("tr '\\0' ' ' < /proc/1/cmdline"), func(c *runtimeapi.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: target.id}
	})
	c.ended(t)
	if got := c.log(t); got != "sleep 4321 " {
		t.Errorf("process 1 is %q", got)
	}
}

func testPodIPC(t *testing.T, h host) {
	p := h.pod(t)
	first := p.run(t)
	first.exec(t, "echo shared > /dev/shm/file")
	second := p.run(t)
	if got := second.exec(t, "cat /dev/shm/file"); got != "shared" {
		t.Errorf("got %q", got)
	}
	if a, b := first.exec(t, "readlink /proc/self/ns/ipc"), second.exec(t, "readlink /proc/self/ns/ipc"); a != b {
		t.Errorf("ipc namespaces %s and %s", a, b)
	}
	if mine, _ := os.Readlink("/proc/self/ns/ipc"); mine == first.exec(t, "readlink /proc/self/ns/ipc") {
		t.Error("ipc namespace of the node")
	}
}

func testHostIPC(t *testing.T, h host) {
	p := h.pod(t, namespaceMode(func(o *runtimeapi.NamespaceOption) { o.Ipc = runtimeapi.NamespaceMode_NODE }))
	want, err := os.Readlink("/proc/self/ns/ipc")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.output(t, "readlink /proc/self/ns/ipc"); got != want {
		t.Errorf("ipc namespace %s, the node's is %s", got, want)
	}
}

func testUnknownHandler(t *testing.T, h host) {
	_, err := h.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{RuntimeHandler: h.handler + "?", Config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "pod", Namespace: "test", Uid: h.handler},
	}})
	if err == nil || !strings.Contains(err.Error(), h.handler+"?") {
		t.Errorf("got %v", err)
	}
}
