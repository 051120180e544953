//go:build linux

package cri

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	"k8s.io/client-go/tools/remotecommand"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var gatewayCases = []validation{
	{"serve", testServe},
	{"port", testPort},
	{"exec", testGatewayExec},
	{"attach", testGatewayAttach},
	{"port-forward", testGatewayPortForward},
	{"beside-plain", testBesidePlain},
	{"debug", testDebug},
	{"port-in-use", testPortInUse},
	{"terminal", testGatewayTerminal},
	{"user-namespace", testGatewayUserNamespace},
	{"stats", testGatewayStats},
	{"update", testGatewayUpdate},
	{"restricted", testRestricted},
	{"config-map", testConfigMap},
	{"wrong-configuration", testWrongConfiguration},
	{"command", testCommand},
}

// TestGateway is for WAGI containers, which exist under our handler only.
func TestGateway(t *testing.T) {
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			n := startNode(t, r)
			t.Run("cases", func(t *testing.T) {
				for _, v := range gatewayCases {
					t.Run(v.name, func(t *testing.T) {
						t.Parallel()
						v.run(t, host{n, wagi})
					})
				}
			})
			t.Run("restart", func(t *testing.T) { testGatewayRestart(t, host{n, wagi}) })
		})
	}
}

// gateway is a container that answers with what CGI gives a program.
func gateway(c *runtimeapi.ContainerConfig) {
	c.Image.Image, c.Command = wagiImage, nil
	c.Envs = []*runtimeapi.KeyValue{{Key: "OWN", Value: []byte("of the container")}}
}

// serves checks that a program answers and knows what it should.
func serves(t *testing.T, address string, want ...string) {
	t.Helper()
	body := get(t, "http://"+address+"/some/path?query")
	for _, w := range append(want, "PATH_INFO=/some/path\n", "QUERY_STRING=query\n", "GREETING=from modules.toml\n") {
		if !strings.Contains(body, w) {
			t.Errorf("no %q in the answer:\n%s", w, body)
		}
	}
}

func testServe(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, gateway)
	serves(t, p.address(t)+":3000", "OWN=of the container\n")
	c.awaitLog(t, "Ready")
	c.stop(t, 60)
	if s := c.status(t); s.ExitCode != 0 || s.Reason != "Completed" {
		t.Errorf("status %v", s)
	}
}

func testPort(t *testing.T, h host) {
	p := h.pod(t)
	p.run(t, gateway, func(c *runtimeapi.ContainerConfig) {
		c.Envs = []*runtimeapi.KeyValue{{Key: "PORT", Value: []byte("8080")}}
	})
	serves(t, p.address(t)+":8080")
}

func testGatewayExec(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, gateway)
	serves(t, p.address(t)+":3000")
	for want, command := range map[string][]string{
		"env.wat":                {"wagi", "routes"},
		"PATH_INFO=/x\n":         {"wagi", "call", "/x"},
		"1 route, 0 warnings":    {"wagi", "check"},
		"OWN=of the container\n": {"/env.wat"},
	} {
		r, err := c.try(t, 60, command...)
		if err != nil {
			t.Fatal(err)
		}
		if r.ExitCode != 0 || !strings.Contains(string(r.Stdout), want) {
			t.Errorf("%q: exit status %d, no %q in\n%s%s", command, r.ExitCode, want, r.Stdout, r.Stderr)
		}
	}
	for _, command := range []string{"status", "health"} {
		if r, err := c.try(t, 60, "wagi", command); err != nil || r.ExitCode != 0 {
			t.Errorf("wagi %s: %v, %v", command, r, err)
		}
	}
	if r, err := c.try(t, 60, "sh"); err == nil {
		t.Errorf("a shell that the image lacks: %v", r)
	}
}

// testGatewayAttach: what the gateway says after a client has attached reaches it.
func testGatewayAttach(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, gateway, func(c *runtimeapi.ContainerConfig) { c.Args = []string{"--access-log", "-"} })
	out, screen := io.Pipe()
	url, done := c.attach(t), make(chan error, 1)
	go func() {
		err := stream(url, remotecommand.StreamOptions{Stdout: screen, Stderr: io.Discard})
		screen.Close()
		done <- err
	}()
	seen := make(chan bool, 1)
	go func() {
		seen <- expect(out, `"GET /some/path?query `)
		io.Copy(io.Discard, out)
	}()
	machine.Await(t, func() error { // nothing else tells when the client has attached
		serves(t, p.address(t)+":3000")
		select {
		case ok := <-seen:
			if !ok {
				t.Fatalf("the stream ended: %v", <-done)
			}
			return nil
		default:
			return errors.New("the attached client sees no request")
		}
	})
	c.stop(t, 60)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func testGatewayPortForward(t *testing.T, h host) {
	p := h.pod(t)
	p.run(t, gateway)
	serves(t, p.address(t)+":3000")
	serves(t, fmt.Sprintf("127.0.0.1:%d", p.forward(t, 3000)))
}

// testBesidePlain: both kinds share the pod's network, one shim, and namespaces if the pod says so.
func testBesidePlain(t *testing.T, h host) {
	p := h.pod(t, namespaceMode(func(o *runtimeapi.NamespaceOption) { o.Pid = runtimeapi.NamespaceMode_POD }))
	p.run(t, gateway)
	serves(t, p.address(t)+":3000")
	plain := p.run(t)
	if got := plain.exec(t, "wget -q -O - http://localhost:3000/from/sidecar"); !strings.Contains(got, "PATH_INFO=/from/sidecar\n") {
		t.Errorf("got %q", got)
	}
	if got := plain.exec(t, "ps -o args"); !strings.Contains(got, "wagi -c /modules.toml") {
		t.Errorf("processes of the pod: %s", got)
	}
	if r, err := plain.try(t, 60, "wagi", "routes"); err == nil {
		t.Errorf("a plain container has a gateway: %v", r)
	}
	p.shim(t)
}

// testDebug: a plain container may join a gateway's processes, as kubectl debug does.
func testDebug(t *testing.T, h host) {
	p := h.pod(t)
	target := p.run(t, gateway)
	serves(t, p.address(t)+":3000")
	got := p.output(t, "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/root/modules.toml", security(func(s *runtimeapi.LinuxContainerSecurityContext) {
		s.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: target.id}
		s.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"SYS_PTRACE"}}
	}))
	if !strings.HasPrefix(got, "/dev/wagi -c /modules.toml [[module]]\n") {
		t.Errorf("got %q", got)
	}
}

func testPortInUse(t *testing.T, h host) {
	p := h.pod(t)
	p.run(t, gateway)
	serves(t, p.address(t)+":3000")
	second := p.run(t, gateway)
	if s := second.ended(t); s.ExitCode != 1 || s.Reason != "Error" {
		t.Errorf("status %v", s)
	}
	if got := second.log(t); !strings.HasPrefix(got, "wagi: error: listen on 0.0.0.0:3000: the address is in use\nwagi: hint: ") {
		t.Errorf("log %q", got)
	}
}

func testGatewayTerminal(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, gateway, func(c *runtimeapi.ContainerConfig) { c.Tty, c.Stdin = true, true })
	serves(t, p.address(t)+":3000")
	c.awaitLog(t, "Ready")
	r, err := c.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: c.id, Cmd: []string{"wagi", "routes"}, Tty: true, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var screen bytes.Buffer
	err = stream(r.Url, remotecommand.StreamOptions{Stdin: keyboard(t, ""), Stdout: &screen, Tty: true, TerminalSizeQueue: newSizes(80, 24)})
	if err != nil || !strings.Contains(screen.String(), "env.wat") {
		t.Errorf("got %q, %v", &screen, err)
	}
}

func testGatewayUserNamespace(t *testing.T, h host) {
	p := h.pod(t, inUserNamespace(t, h))
	c := p.run(t, gateway)
	serves(t, p.address(t)+":3000")
	if r, err := c.try(t, 60, "wagi", "routes"); err != nil || r.ExitCode != 0 {
		t.Errorf("wagi routes: %v, %v", r, err)
	}
}

func testGatewayStats(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, gateway)
	serves(t, p.address(t)+":3000")
	machine.Await(t, func() error {
		r, err := c.ContainerStats(t.Context(), &runtimeapi.ContainerStatsRequest{ContainerId: c.id})
		if err != nil {
			return err
		}
		cpu, memory := r.Stats.GetCpu().GetUsageCoreNanoSeconds().GetValue(), r.Stats.GetMemory().GetWorkingSetBytes().GetValue()
		if cpu == 0 || memory < 1<<20 || memory > 256<<20 {
			return fmt.Errorf("%d ns of CPU, %d bytes of memory", cpu, memory)
		}
		return nil
	})
}

func testGatewayUpdate(t *testing.T, h host) {
	p := h.pod(t, namespaceMode(func(o *runtimeapi.NamespaceOption) { o.Pid = runtimeapi.NamespaceMode_POD }))
	resources, _ := limits(128<<20, 50000)
	c := p.run(t, gateway, func(c *runtimeapi.ContainerConfig) { c.Linux.Resources = resources })
	serves(t, p.address(t)+":3000")
	resources, _ = limits(192<<20, 70000)
	if _, err := c.UpdateContainerResources(t.Context(), &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: resources}); err != nil {
		t.Fatal(err)
	}
	if r := c.status(t).GetResources().GetLinux(); r.GetMemoryLimitInBytes() != 192<<20 || r.GetCpuQuota() != 70000 {
		t.Errorf("status says %v", r)
	}
	files, _ := filepath.Glob("/sys/fs/cgroup/*" + h.parent() + "/" + c.id + "/memory.*")
	for _, file := range files {
		if name := filepath.Base(file); name == "memory.limit_in_bytes" || name == "memory.max" {
			if text, err := os.ReadFile(file); err != nil || string(text) != fmt.Sprintln(192<<20) {
				t.Errorf("%s: %q, %v", file, text, err)
			}
		}
	}
	serves(t, p.address(t)+":3000")
}

// testRestricted is what a pod of the security standard "restricted" may do, with a read-only root.
func testRestricted(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, gateway, asUser(1000), seccomp(runtimeapi.SecurityProfile_RuntimeDefault, ""), security(func(s *runtimeapi.LinuxContainerSecurityContext) {
		s.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}
		s.ReadonlyRootfs, s.NoNewPrivs = true, true
	}))
	serves(t, p.address(t)+":3000")
	if r, err := c.try(t, 60, "wagi", "routes"); err != nil || r.ExitCode != 0 {
		t.Errorf("wagi routes: %v, %v", r, err)
	}
}

// configMap is a folder with a published modules.toml that sets GREETING to hello.
func configMap(t *testing.T) string {
	t.Helper()
	dir := machine.Dir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	publish(t, dir, "1", greeting("hello"))
	return dir
}

// publish makes text the modules.toml of a folder as kubelet publishes a ConfigMap: a link to a link that is replaced.
func publish(t *testing.T, dir, version, text string) {
	t.Helper()
	if err := os.Mkdir(dir+"/.."+version, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/.."+version+"/modules.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".."+version, dir+"/..data_tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/..data_tmp", dir+"/..data"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/modules.toml", dir+"/modules.toml"); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

// configured is a gateway whose modules.toml is in the folder.
func configured(dir string) func(*runtimeapi.ContainerConfig) {
	return func(c *runtimeapi.ContainerConfig) {
		gateway(c)
		c.Command = []string{"/config/modules.toml"}
		c.Mounts = []*runtimeapi.Mount{{HostPath: dir, ContainerPath: "/config", Readonly: true}}
	}
}

func greeting(text string) string {
	return fmt.Sprintf("[[module]]\nroute = \"/...\"\nmodule = \"/env.wat\"\nenvironment = { GREETING = %q }\n", text)
}

func testConfigMap(t *testing.T, h host) {
	dir := configMap(t)
	p := h.pod(t)
	c := p.run(t, configured(dir))
	answers := func(want string) {
		t.Helper()
		machine.Await(t, func() error {
			if body := get(t, "http://"+p.address(t)+":3000/"); !strings.Contains(body, "GREETING="+want+"\n") {
				return fmt.Errorf("no %s in the answer:\n%s", want, body)
			}
			return nil
		})
	}
	answers("hello")
	publish(t, dir, "2", greeting("welcome"))
	answers("welcome")
	publish(t, dir, "3", "[[modul]]\n")
	c.awaitLog(t, "modul")
	answers("welcome")
	publish(t, dir, "4", greeting("good day"))
	answers("good day")
}

func testWrongConfiguration(t *testing.T, h host) {
	dir := configMap(t)
	publish(t, dir, "2", "[[module]]\nroute = \"/\"\nmodul = \"/env.wat\"\n")
	c := h.pod(t).run(t, configured(dir))
	if s := c.ended(t); s.ExitCode != 1 || s.Reason != "Error" {
		t.Errorf("status %v", s)
	}
	if got := c.log(t); !strings.Contains(got, "/config/modules.toml:3:1") || !strings.Contains(got, `"modul"`) {
		t.Errorf("log %q", got)
	}
}

func testCommand(t *testing.T, h host) {
	c := h.pod(t).run(t, gateway, func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/env.wat"} })
	if s := c.ended(t); s.ExitCode != 0 {
		t.Errorf("status %v", s)
	}
	if got := c.log(t); !slices.Contains(strings.Split(got, "\n"), "OWN=of the container") {
		t.Errorf("log %q", got)
	}
}

// testGatewayRestart: a gateway serves while containerd is away, and obeys the next one.
func testGatewayRestart(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, gateway)
	address := p.address(t) + ":3000"
	serves(t, address)
	h.daemon.Stop(t)
	serves(t, address)
	h.daemon.Restart(t)
	h.ready(t)
	serves(t, address)
	if r, err := c.try(t, 60, "wagi", "routes"); err != nil || r.ExitCode != 0 {
		t.Errorf("wagi routes: %v, %v", r, err)
	}
	c.stop(t, 60)
	if s := c.status(t); s.ExitCode != 0 {
		t.Errorf("status %v", s)
	}
}
