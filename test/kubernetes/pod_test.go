//go:build linux

package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// Native and WebAssembly containers share a pod, in all of the roles that a container can have in it.
func testSidecar(t *testing.T, s *space) {
	s.kubectl(t, "apply", "-f", "testdata/sidecar.yaml")
	s.ready(t, "mixed")
	contains(t, s.kubectl(t, "logs", "mixed", "-c", "native-init"), "out: prepared\n")
	contains(t, s.kubectl(t, "logs", "mixed", "-c", "wasi-init"), greeting)
	for _, from := range []string{"native", "native-sidecar"} {
		contains(t, s.kubectl(t, "exec", "mixed", "-c", from, "--", "/native", "get", "http://127.0.0.1:3000/?name="+from), "Hello, "+from+"!\n")
	}
	contains(t, s.kubectl(t, "exec", "mixed", "-c", "native", "--", "/native", "get", "http://127.0.0.1:3001/"), greeting)
	s.wait(t, "wait", "--for=condition=Complete", "job/once")
	contains(t, s.kubectl(t, "logs", "job/once", "-c", "client"), greeting)
	s.await(t, "pod/"+s.get(t, "pod", `.items[?(@.metadata.labels.job-name=="once")].metadata.name`), ".status.initContainerStatuses[0].state.terminated.exitCode", "0")
}

// A pod that the strictest Pod Security Standard admits serves and keeps files, with no more rights than it was given.
func testSecure(t *testing.T, s *space) {
	s.kubectl(t, "label", "namespace", s.name, "pod-security.kubernetes.io/enforce=restricted")
	s.kubectl(t, "apply", "-f", "testdata/secure.yaml")
	s.ready(t, "secure")
	put(t, s.url(t, "secure", 3000)+"/files/a", "kept")
	want(t, s.url(t, "secure", 3000)+"/files/a", "kept")
	pid := s.process(t, "secure")
	contains(t, read(t, fmt.Sprintf("/proc/%d/status", pid)),
		"\nUid:\t65532\t65532\t", "\nGid:\t65532\t65532\t", "\nCapEff:\t0000000000000000\n", "\nCapBnd:\t0000000000000000\n", "\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n")
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/new", pid), nil, 0o600); err == nil {
		t.Error("the root file system can be written to")
	}
}

// process is the init process of a pod's only container.
func (s *space) process(t *testing.T, pod string) int {
	t.Helper()
	_, id, _ := strings.Cut(s.get(t, "pod/"+pod, ".status.containerStatuses[0].containerID"), "://")
	path := s.node.dir + "/state/io.containerd.runtime.v2.task/k8s.io/" + id + "/init.pid"
	pid, err := strconv.Atoi(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// hog is a program that wants 192 MiB and writes to all of it.
const hog = `(module
  (memory (export "memory") 3072)
  (func (export "_start") (local $at i32)
    (loop $next
      (i32.store8 (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 201326592))))))`

// Limits are the container's, and a gateway that goes beyond that of memory is reported as every other container is.
func testMemory(t *testing.T, s *space) {
	s.makeModules(t, "hog", map[string]string{"modules.toml": "[[module]]\nroute = \"/\"\nmodule = \"hog.wat\"\n", "hog.wat": hog})
	s.apply(t, configured("hog", readiness+`
      resources:
        requests: {cpu: 50m, memory: 32Mi}
        limits: {cpu: 500m, memory: 96Mi}
`))
	s.ready(t, "hog")
	pid := s.process(t, "hog")
	if got := cgroup(t, pid, "memory", "memory.limit_in_bytes", "memory.max"); got != "100663296" {
		t.Errorf("memory limit %s, want 96Mi", got)
	}
	if got := cgroup(t, pid, "cpu", "cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "50000") {
		t.Errorf("CPU quota %s, want 50000", got)
	}
	if text, err := client.Get(s.url(t, "hog", 3000) + "/"); err == nil {
		t.Errorf("192 MiB fit into 96: %q", text)
	}
	s.await(t, "pod/hog", ".status.containerStatuses[0].lastState.terminated.reason", "OOMKilled")
	s.ready(t, "hog")
}

// cgroup reads a file of a process's cgroup: v1's in the hierarchy of the controller, or v2's.
func cgroup(t *testing.T, pid int, controller, v1, v2 string) string {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/cgroup", pid)) + "\n") {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if f[1] == controller {
			return read(t, filepath.Join("/sys/fs/cgroup", controller, f[2], v1))
		}
		if path := filepath.Join("/sys/fs/cgroup", f[2], v2); f[0] == "0" {
			if _, err := os.Stat(path); err == nil {
				return read(t, path)
			}
		}
	}
	t.Fatalf("process %d has no cgroup of %s", pid, controller)
	return ""
}

// readiness makes a pod ready when its gateway is.
const readiness = "readinessProbe: {httpGet: {path: /readyz, port: 3000}, periodSeconds: 1}"

// configured is the manifest of a pod whose gateway gets its files from the ConfigMap of the same name.
func configured(name, container string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  runtimeClassName: wagi
  containers:
    - name: web
      image: registry.example/wat:1
      command: [/etc/wagi/modules.toml]
      volumeMounts: [{name: modules, mountPath: /etc/wagi}]
      %s
  volumes: [{name: modules, configMap: {name: %[1]s}}]
`, name, strings.TrimSpace(container))
}

// makeModules makes a ConfigMap of the files.
func (s *space) makeModules(t *testing.T, name string, files map[string]string) {
	t.Helper()
	dir := machine.Dir(t)
	for file, text := range files {
		write(t, dir+"/"+file, text)
	}
	s.kubectl(t, "create", "configmap", name, "--from-file="+dir)
}

// An ephemeral container joins a pod that runs.
func testDebug(t *testing.T, s *space) {
	s.apply(t, simple("hello", "runtimeClassName: wagi"))
	s.ready(t, "hello")
	s.kubectl(t, "debug", "hello", "--image=registry.example/native:1", "--target=web", "--container=debug", "--profile=general", "--",
		"/native", "get", "http://127.0.0.1:3000/")
	s.await(t, "pod/hello", ".status.ephemeralContainerStatuses[0].state.terminated.exitCode", "0")
	contains(t, s.kubectl(t, "logs", "hello", "-c", "debug"), greeting)
}

// simple is the manifest of a pod of this kind that is ready when it serves or, without runtime class, when it runs.
func simple(name, spec string) string {
	image, probe := "native:1", ""
	if strings.Contains(spec, "wagi") {
		image, probe = "wat:1", readiness
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  %s
  containers:
    - name: web
      image: registry.example/%s
      resources:
        requests: {cpu: 20m, memory: 64Mi}
        limits: {cpu: 500m, memory: 128Mi}
      %s
`, name, spec, image, probe)
}
