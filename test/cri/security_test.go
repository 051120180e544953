//go:build linux

package cri

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var securityCases = []validation{
	{"security/user", testUser},
	{"security/user-name", testUserName},
	{"security/group", testGroup},
	{"security/group-without-user", testGroupWithoutUser},
	{"security/supplemental-groups", testSupplementalGroups},
	{"security/read-only-root", testReadOnlyRoot},
	{"security/privileged", testPrivileged},
	{"security/privileged-in-plain-pod", testPrivilegedInPlainPod},
	{"security/capabilities", testCapabilities},
	{"security/no-new-privileges", testNoNewPrivileges},
	{"security/masked-paths", testMaskedPaths},
	{"security/seccomp-default", testSeccompDefault},
	{"security/seccomp-unconfined", testSeccompUnconfined},
	{"security/seccomp-profile", testSeccompProfile},
	{"security/user-namespace", testUserNamespace},
}

func security(set func(*runtimeapi.LinuxContainerSecurityContext)) func(*runtimeapi.ContainerConfig) {
	return func(c *runtimeapi.ContainerConfig) { set(c.Linux.SecurityContext) }
}

var privileged = security(func(s *runtimeapi.LinuxContainerSecurityContext) { s.Privileged = true })

func privilegedPod(c *runtimeapi.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true }

func asUser(uid int64) func(*runtimeapi.ContainerConfig) {
	return security(func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUser = &runtimeapi.Int64Value{Value: uid} })
}

// identity prints user, group and all groups.
const identity = "id -u; id -g; id -G"

func testUser(t *testing.T, h host) {
	p := h.pod(t)
	for uid, want := range map[int64]string{1000: "1000\n1000\n1000 2000", 4711: "4711\n0\n0"} {
		if got := p.output(t, identity, asUser(uid)); got != want {
			t.Errorf("user %d: got %q, want %q", uid, got, want)
		}
	}
}

func testUserName(t *testing.T, h host) {
	p := h.pod(t)
	got := p.output(t, identity+"; echo $HOME", security(func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUsername = "guest" }))
	if got != "1000\n1000\n1000 2000\n/" {
		t.Errorf("got %q", got)
	}
	if c, err := p.tryCreate(t, security(func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUsername = "nobody" })); err == nil {
		t.Errorf("an unknown user has made container %s", c.id)
	}
}

func testGroup(t *testing.T, h host) {
	got := h.pod(t).output(t, identity, asUser(1000), security(func(s *runtimeapi.LinuxContainerSecurityContext) {
		s.RunAsGroup = &runtimeapi.Int64Value{Value: 3000}
	}))
	if got != "1000\n3000\n3000 2000" {
		t.Errorf("got %q", got)
	}
}

func testGroupWithoutUser(t *testing.T, h host) {
	c, err := h.pod(t).tryCreate(t, security(func(s *runtimeapi.LinuxContainerSecurityContext) {
		s.RunAsGroup = &runtimeapi.Int64Value{Value: 3000}
	}))
	if err == nil {
		t.Errorf("it has made container %s", c.id)
	}
}

func testSupplementalGroups(t *testing.T, h host) {
	p := h.pod(t)
	groups := func(policy runtimeapi.SupplementalGroupsPolicy) string {
		return p.output(t, identity, asUser(1000), security(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.SupplementalGroups, s.SupplementalGroupsPolicy = []int64{1234, 5678}, policy
		}))
	}
	if got := groups(runtimeapi.SupplementalGroupsPolicy_Merge); got != "1000\n1000\n1000 1234 2000 5678" {
		t.Errorf("with the image's groups: got %q", got)
	}
	if h.config == 2 {
		return // containerd 1.7 always adds those of the image
	}
	if got := groups(runtimeapi.SupplementalGroupsPolicy_Strict); got != "1000\n1000\n1000 1234 5678" {
		t.Errorf("without the image's groups: got %q", got)
	}
}

func testReadOnlyRoot(t *testing.T, h host) {
	p := h.pod(t)
	const script = "echo x 2>/dev/null > /file && echo written || echo read-only"
	for readOnly, want := range map[bool]string{true: "read-only", false: "written"} {
		if got := p.output(t, script, security(func(s *runtimeapi.LinuxContainerSecurityContext) { s.ReadonlyRootfs = readOnly })); got != want {
			t.Errorf("read-only %t: got %q", readOnly, got)
		}
	}
}

// powers prints what a privileged container may and another may not: mount, and see the node's devices.
const powers = `mount -t tmpfs tmpfs /tmp 2>/dev/null && echo mount
[ -e /dev/kmsg ] && echo devices; true`

func testPrivileged(t *testing.T, h host) {
	p := h.pod(t, privilegedPod)
	if got := p.output(t, powers, privileged); got != "mount\ndevices" {
		t.Errorf("privileged: got %q", got)
	}
	if got := p.output(t, powers); got != "" {
		t.Errorf("plain: got %q", got)
	}
}

func testPrivilegedInPlainPod(t *testing.T, h host) {
	if c, err := h.pod(t).tryCreate(t, privileged); err == nil {
		t.Errorf("it has made container %s", c.id)
	}
}

// capabilities are the effective ones, a bit each (capability.h).
func capabilities(t *testing.T, p *pod, edits ...func(*runtimeapi.ContainerConfig)) (bits uint64) {
	t.Helper()
	text := p.output(t, "grep CapEff /proc/self/status", edits...)
	if _, err := fmt.Sscanf(text, "CapEff:\t%x", &bits); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return bits
}

func testCapabilities(t *testing.T, h host) {
	const chown, netAdmin, sysAdmin = 1 << 0, 1 << 12, 1 << 21
	p := h.pod(t)
	with := func(add, drop string) func(*runtimeapi.ContainerConfig) {
		return security(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.Capabilities = &runtimeapi.Capability{AddCapabilities: strings.Fields(add), DropCapabilities: strings.Fields(drop)}
		})
	}
	plain := capabilities(t, p)
	if plain&chown == 0 || plain&netAdmin != 0 {
		t.Errorf("plain: %x", plain)
	}
	for _, c := range []struct {
		add, drop string
		want      uint64
	}{
		{"NET_ADMIN", "", plain | netAdmin},
		{"NET_ADMIN SYS_ADMIN", "CHOWN", plain&^chown | netAdmin | sysAdmin},
		{"", "ALL", 0},
		{"CHOWN", "ALL", chown},
	} {
		if got := capabilities(t, p, with(c.add, c.drop)); got != c.want {
			t.Errorf("add %q, drop %q: got %x, want %x", c.add, c.drop, got, c.want)
		}
	}
	if got := capabilities(t, p, with("NET_ADMIN", ""), asUser(1000)); got != 0 {
		t.Errorf("another user: %x", got)
	}
}

func testNoNewPrivileges(t *testing.T, h host) {
	p := h.pod(t)
	for set, want := range map[bool]string{true: "NoNewPrivs:\t1", false: "NoNewPrivs:\t0"} {
		got := p.output(t, "grep NoNewPrivs /proc/self/status", security(func(s *runtimeapi.LinuxContainerSecurityContext) { s.NoNewPrivs = set }))
		if got != want {
			t.Errorf("%t: got %q", set, got)
		}
	}
}

func testMaskedPaths(t *testing.T, h host) {
	p := h.pod(t)
	const script = "grep -q . /proc/uptime && echo seen || echo masked; echo 1 2>/dev/null > /proc/sys/kernel/domainname && echo written || echo read-only"
	for want, set := range map[string]func(*runtimeapi.LinuxContainerSecurityContext){
		"masked\nread-only": func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.MaskedPaths, s.ReadonlyPaths = []string{"/proc/uptime"}, []string{"/proc/sys"}
		},
		"seen\nwritten": func(*runtimeapi.LinuxContainerSecurityContext) {},
	} {
		if got := p.output(t, script, security(set), security(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"SYS_ADMIN"}}
		})); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// filter prints the kernel's mode of filtering system calls, and whether an unusual and a usual one are allowed.
const filter = `grep Seccomp: /proc/self/status; unshare -U true 2>/dev/null && echo unshare; touch f; chmod 600 f 2>/dev/null && echo chmod; true`

func seccomp(kind runtimeapi.SecurityProfile_ProfileType, path string) func(*runtimeapi.ContainerConfig) {
	return security(func(s *runtimeapi.LinuxContainerSecurityContext) {
		s.Seccomp = &runtimeapi.SecurityProfile{ProfileType: kind, LocalhostRef: path}
	})
}

func testSeccompDefault(t *testing.T, h host) {
	if got := h.pod(t).output(t, filter, seccomp(runtimeapi.SecurityProfile_RuntimeDefault, "")); got != "Seccomp:\t2\nchmod" {
		t.Errorf("got %q", got)
	}
}

func testSeccompUnconfined(t *testing.T, h host) {
	if got := h.pod(t).output(t, filter, seccomp(runtimeapi.SecurityProfile_Unconfined, "")); got != "Seccomp:\t0\nunshare\nchmod" {
		t.Errorf("got %q", got)
	}
}

func testSeccompProfile(t *testing.T, h host) {
	profile := machine.Dir(t) + "/profile.json"
	const text = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmod", "fchmodat"], "action": "SCMP_ACT_ERRNO"}]}`
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := h.pod(t).output(t, filter, seccomp(runtimeapi.SecurityProfile_Localhost, profile)); got != "Seccomp:\t2\nunshare" {
		t.Errorf("got %q", got)
	}
	if c, err := h.pod(t).tryCreate(t, seccomp(runtimeapi.SecurityProfile_Localhost, profile+"?")); err == nil {
		t.Errorf("a missing profile has made container %s", c.id)
	}
}

// inUserNamespace gives the pod its own users: its root is 100000 on the node.
func inUserNamespace(t *testing.T, h host) func(*runtimeapi.PodSandboxConfig) {
	if f := h.features(t)[runc]; f != nil && !f.UserNamespaces {
		t.Skip("limit of this machine: runc does not map owners of mounts")
	}
	ids := []*runtimeapi.IDMapping{{HostId: 100000, ContainerId: 0, Length: 65536}}
	return namespaceMode(func(o *runtimeapi.NamespaceOption) {
		o.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}
	})
}

func testUserNamespace(t *testing.T, h host) {
	got := h.pod(t, inUserNamespace(t, h)).output(t, "cat /proc/self/uid_map /proc/self/gid_map; id -u")
	if strings.Join(strings.Fields(got), " ") != "0 100000 65536 0 100000 65536 0" {
		t.Errorf("got %q", got)
	}
}
