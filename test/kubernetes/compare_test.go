//go:build linux

package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// What this kernel, runc and containerd do not give an ordinary pod they do not give ours either, and the other way round.
func testUsers(t *testing.T, s *space) {
	s.apply(t, simple("runc", "hostUsers: false"))
	s.apply(t, simple("wagi", "runtimeClassName: wagi\n  hostUsers: false"))
	want, got := s.outcome(t, "runc"), s.outcome(t, "wagi")
	t.Logf("user namespaces: %s", want)
	if got != want {
		t.Errorf("wagi: %s\nrunc: %s", got, want)
	}
	if got != ready {
		return
	}
	if owners := strings.Fields(read(t, fmt.Sprintf("/proc/%d/uid_map", s.process(t, "wagi")))); owners[0] != "0" || owners[1] == "0" {
		t.Errorf("root of the pod is the user %s of the node", owners[1])
	}
}

const ready = "ready"

// outcome is ready, or why the pod does not come to be.
func (s *space) outcome(t *testing.T, pod string) string {
	t.Helper()
	var outcome string
	machine.Await(t, func() error {
		if s.try("wait", "--for=condition=Ready", "pod/"+pod, "--timeout=2s").Code == 0 {
			outcome = ready
			return nil
		}
		failures := "type=Warning,reason!=Unhealthy,involvedObject.name=" + pod
		if outcome = s.try("get", "events", "--field-selector", failures, "-o", "jsonpath={.items[0].message}").Out; outcome == "" {
			return fmt.Errorf("pod %s is neither ready nor failed", pod)
		}
		return nil
	})
	return strings.ReplaceAll(outcome, `RuntimeClass handler "wagi"`, "runtime")
}

// A running pod gets other limits.
func testResize(t *testing.T, s *space) {
	want, got := s.resize(t, "runc", "hostNetwork: false"), s.resize(t, "wagi", "runtimeClassName: wagi")
	t.Logf("resized: %s", want)
	if got != want {
		t.Errorf("wagi: %s\nrunc: %s", got, want)
	}
}

// resize is how a pod is after its limits were changed.
func (s *space) resize(t *testing.T, pod, spec string) string {
	t.Helper()
	s.apply(t, simple(pod, spec))
	s.ready(t, pod)
	s.kubectl(t, "patch", "pod", pod, "--subresource=resize", "-p", `{"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "200m", "memory": "192Mi"}}}]}}`)
	pid := s.process(t, pod)
	s.await(t, "pod/"+pod, ".status.containerStatuses[0].resources.limits", `{"cpu":"200m","memory":"192Mi"}`)
	return fmt.Sprintf("memory %s, quota %s, restarts %s", cgroup(t, pid, "memory", "memory.limit_in_bytes", "memory.max"),
		cgroup(t, pid, "cpu", "cpu.cfs_quota_us", "cpu.max"), s.get(t, "pod/"+pod, ".status.containerStatuses[0].restartCount"))
}

// The overhead of the RuntimeClass is what a pod costs beside its containers: the shim and the pause container. A gateway and its shim
// are compared with a native server of the same answer and runc's shim.
func testOverhead(t *testing.T, s *space) {
	s.apply(t, simple("wagi", "runtimeClassName: wagi"))
	s.apply(t, strings.Replace(simple("runc", "hostNetwork: false"), "native:1\n", "native:1\n      command: [/native, serve, \":3000\", Hello from WebAssembly text!]\n", 1))
	for _, pod := range []string{"runc", "wagi"} {
		s.ready(t, pod)
		want(t, s.url(t, pod, 3000), greeting)
	}
	if got := s.get(t, "pod/wagi", ".spec.overhead.memory"); got != "12Mi" {
		t.Errorf("overhead %q, want 12Mi", got)
	}
	s.cost(t, "runc")
	ours := s.cost(t, "wagi")
	if beside := ours.shim + ours.pause; beside > 12<<10 {
		t.Errorf("shim and pause container have %d KiB of memory of their own, more than the overhead", beside)
	}
}

// A cost is the memory that the processes of a pod with one container have of their own, in KiB.
type cost struct{ shim, pause, server int }

// cost measures that of a pod, and logs it.
func (s *space) cost(t *testing.T, pod string) cost {
	t.Helper()
	server := s.process(t, pod)
	shim, err := parent(server)
	if err != nil {
		t.Fatal(err)
	}
	c := cost{shim: memory(t, shim), server: memory(t, server)}
	for _, pid := range children(t, shim) {
		if pid != server {
			c.pause += memory(t, pid)
		}
	}
	t.Logf("private memory of pod %s, KiB: %+v", pod, c)
	return c
}

// parent is the process that started another.
func parent(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strconv.Atoi(strings.Fields(rest)[1])
}

func children(t *testing.T, pid int) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, dir := range dirs {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if p, err := parent(child); err == nil && p == pid { // others may end meanwhile
			pids = append(pids, child)
		}
	}
	return pids
}

// memory is what a process alone holds, in KiB: not the pages of its file, which all pods of a node share.
func memory(t *testing.T, pid int) int {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/smaps_rollup", pid))) {
		if f := strings.Fields(line); f[0] == "Private_Dirty:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %d has no memory", pid)
	return 0
}

// The kubelet's summary and kubectl top have figures of our containers as of all others, whether the kubelet has them from CRI or not.
func testStats(t *testing.T, s *space) {
	s.apply(t, simple("wagi", "runtimeClassName: wagi"))
	s.apply(t, simple("runc", "hostNetwork: false"))
	s.ready(t, "wagi")
	s.ready(t, "runc")
	machine.Await(t, func() error {
		stats, err := s.stats()
		for _, pod := range []string{"wagi", "runc"} {
			if c := stats[pod]; err == nil && (c.CPU.UsageCoreNanoSeconds == 0 || c.Memory.WorkingSetBytes == 0 || c.Rootfs.UsedBytes == 0) {
				err = fmt.Errorf("figures of %s: %+v", pod, c)
			}
		}
		return err
	})
	machine.Await(t, func() error {
		text := s.try("top", "pods", "--no-headers").Out
		if strings.Count(text, "Mi") != 2 {
			return fmt.Errorf("kubectl top: %s", text)
		}
		return nil
	})
}

// figures are those of a container.
type figures struct {
	CPU    struct{ UsageCoreNanoSeconds int }
	Memory struct{ WorkingSetBytes int }
	Rootfs struct{ UsedBytes int }
}

// stats are the figures of the only container of each pod of the namespace.
func (s *space) stats() (map[string]figures, error) {
	var summary struct {
		Pods []struct {
			PodRef     struct{ Name, Namespace string }
			Containers []figures
		}
	}
	text := s.try("get", "--raw", "/api/v1/nodes/"+s.node.name+"/proxy/stats/summary").Out
	if err := json.Unmarshal([]byte(text), &summary); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	stats := map[string]figures{}
	for _, pod := range summary.Pods {
		if pod.PodRef.Namespace == s.name && len(pod.Containers) == 1 {
			stats[pod.PodRef.Name] = pod.Containers[0]
		}
	}
	return stats, nil
}
