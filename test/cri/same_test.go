//go:build linux

package cri

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestSame compares all that a plain container sees of its world under both handlers: arguments, environment, user, capabilities,
// mounts, devices, limits, namespaces.
func TestSame(t *testing.T) {
	dir := machine.Dir(t)
	if err := os.WriteFile(dir+"/modules.toml", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	resources, _ := limits(64<<20, 20000)
	plainPod := func(*runtimeapi.PodSandboxConfig) {}
	cases := []struct {
		name string
		pod  func(*runtimeapi.PodSandboxConfig)
		edit func(*runtimeapi.ContainerConfig)
	}{
		{"default", plainPod, func(*runtimeapi.ContainerConfig) {}},
		{"privileged", privilegedPod, privileged},
		{"restricted", plainPod, security(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = &runtimeapi.Int64Value{Value: 1000}, &runtimeapi.Int64Value{Value: 3000}, []int64{4000}
			s.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"CHOWN"}}
			s.ReadonlyRootfs, s.NoNewPrivs = true, true
			s.MaskedPaths, s.ReadonlyPaths = []string{"/proc/kcore", "/proc/keys"}, []string{"/proc/sys", "/proc/bus"}
			s.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
		})},
		{"terminal", plainPod, func(c *runtimeapi.ContainerConfig) { c.Tty, c.Stdin = true, true }},
		{"resources", plainPod, func(c *runtimeapi.ContainerConfig) { c.Linux.Resources = resources }},
		{"volumes", plainPod, mounts(
			&runtimeapi.Mount{HostPath: dir, ContainerPath: "/volume"},
			&runtimeapi.Mount{HostPath: dir + "/modules.toml", ContainerPath: "/modules.toml", Readonly: true},
			&runtimeapi.Mount{HostPath: dir, ContainerPath: "/shared", Propagation: runtimeapi.MountPropagation_PROPAGATION_PRIVATE},
		)},
		{"node-namespaces", namespaceMode(func(o *runtimeapi.NamespaceOption) {
			o.Network, o.Pid, o.Ipc = runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_NODE
		}), func(*runtimeapi.ContainerConfig) {}},
	}
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			n := startNode(t, r)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					want, got := host{n, runc}.report(t, c.pod, c.edit), host{n, wagi}.report(t, c.pod, c.edit)
					if text := strings.Join(want, "\n"); !slices.Equal(got, want) {
						t.Errorf("only under wagi: %q\nonly under runc: %q\nall under runc:\n%s", without(got, want), without(want, got), text)
					}
				})
			}
		})
	}
}

// report is what a plain container sees, line by line, less the names of this container and its pod.
func (h host) report(t *testing.T, pod func(*runtimeapi.PodSandboxConfig), edit func(*runtimeapi.ContainerConfig)) []string {
	t.Helper()
	p := h.pod(t, pod)
	c := p.run(t, func(c *runtimeapi.ContainerConfig) {
		c.Command, c.Args = []string{"native", "report"}, []string{"a b", ""}
	},
		edit)
	if s := c.ended(t); s.ExitCode != 0 {
		t.Fatalf("exit status %d, log:\n%s", s.ExitCode, c.log(t))
	}
	text := strings.NewReplacer(c.id, "CONTAINER", p.id, "POD", p.id[:12], "POD").Replace(c.log(t))
	if p.config.Linux.SecurityContext.NamespaceOptions.Pid == runtimeapi.NamespaceMode_NODE {
		text = regexp.MustCompile(`(?m)^pid \d+$`).ReplaceAllString(text, "pid of the node")
	}
	return strings.Split(text, "\n")
}

// without is what the list has beyond another.
func without(list, other []string) (rest []string) {
	for _, s := range list {
		if !slices.Contains(other, s) {
			rest = append(rest, s)
		}
	}
	return rest
}
