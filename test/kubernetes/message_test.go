//go:build linux

package kubernetes

import (
	"fmt"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// module is a modules.toml.
const module = "[[module]]\nroute = \"/\"\nmodule = \"/hello.wat\"\n"

// Probes: a liveness probe that fails restarts the gateway, so does a startup probe, and readiness follows the routes.
func testProbes(t *testing.T, s *space) {
	s.makeModules(t, "late", map[string]string{"modules.toml": module})
	s.apply(t, configured("late", `
      startupProbe: {httpGet: {path: /readyz, port: 3000}, periodSeconds: 1, failureThreshold: 60}
      readinessProbe: {httpGet: {path: /late, port: 3000}, periodSeconds: 1}
      livenessProbe: {httpGet: {path: /healthz, port: 3000}, periodSeconds: 1}
`))
	for _, kind := range []string{"liveness", "startup"} {
		s.makeModules(t, kind, map[string]string{"modules.toml": module})
		s.apply(t, configured(kind, kind+"Probe: {httpGet: {path: /gone, port: 3000}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 10}"))
	}
	s.await(t, "pod/late", ".status.containerStatuses[0].started", "true")
	s.kubectl(t, "patch", "configmap", "late", "--type=merge", "-p", `{"data": {"modules.toml": "[[module]]\nroute = \"/late\"\nmodule = \"/hello.wat\"\n"}}`)
	for _, kind := range []string{"liveness", "startup"} {
		s.await(t, "pod/"+kind, ".status.containerStatuses[0].lastState.terminated.exitCode", "0")
		contains(t, strings.ToLower(s.kubectl(t, "describe", "pod", kind)), kind+" probe failed: http probe failed with statuscode: 404")
	}
	s.ready(t, "late")
	s.await(t, "pod/late", ".status.containerStatuses[0].restartCount", "0")
}

// Whatever keeps a pod from serving is told in one sentence, by kubectl logs and kubectl describe pod, or by the latter alone where
// there was no container to write a log. README has the same sentences.
func testMessages(t *testing.T, s *space) {
	for _, test := range []struct {
		name    string
		files   map[string]string
		message string
	}{
		{"key", map[string]string{"modules.toml": module + "rout = \"/x\"\n"},
			`/etc/wagi/modules.toml:4:1: unknown key "rout"; did you mean "route"?`},
		{"missing", map[string]string{"modules.toml": strings.Replace(module, "/hello.wat", "absent.wasm", 1)},
			`/etc/wagi/modules.toml:1:3: route "/": open absent.wasm: no such file or directory`},
		{"trap", map[string]string{"modules.toml": strings.Replace(module, "/hello.wat", "trap.wat", 1), "trap.wat": `(module (memory (export "memory") 1) (func (export "_start")) (func (export "_initialize") unreachable))`},
			`/etc/wagi/modules.toml:1:3: route "/": module "trap.wat": _initialize: guest trapped: unreachable`},
	} {
		s.makeModules(t, test.name, test.files)
		s.apply(t, configured(test.name, ""))
		s.tells(t, test.name, test.message)
	}
	s.apply(t, occupied)
	s.tells(t, "occupied", "listen on 0.0.0.0:3000: the address is in use")
	s.apply(t, classless)
	s.warns(t, "absent", `no runtime for "absent" is configured`)
	s.warns(t, "native", `exec: "/modules.toml": permission denied`)
}

// warns waits until a pod's events tell why it does not start.
func (s *space) warns(t *testing.T, pod, message string) {
	t.Helper()
	documented(t, message)
	machine.Await(t, func() error {
		if text := s.try("describe", "pod", pod).Out; !strings.Contains(text, message) {
			return fmt.Errorf("%q is missing in\n%s", message, text)
		}
		return nil
	})
}

// documented fails the test unless README tells what to do about the message.
func documented(t *testing.T, message string) {
	t.Helper()
	if !strings.Contains(read(t, "../../README.md"), "`"+message+"`") {
		t.Errorf("README.md does not explain %s", message)
	}
}

// classless are pods on a node without their runtime, and without the runtime that they need.
const classless = `
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: absent}
handler: absent
---
apiVersion: v1
kind: Pod
metadata: {name: absent}
spec:
  runtimeClassName: absent
  containers: [{name: web, image: "registry.example/wat:1"}]
---
apiVersion: v1
kind: Pod
metadata: {name: native}
spec:
  containers: [{name: web, image: "registry.example/wat:1"}]
`

// occupied is a pod whose gateway wants the port of another, which is its sidecar.
const occupied = `
apiVersion: v1
kind: Pod
metadata: {name: occupied}
spec:
  runtimeClassName: wagi
  initContainers:
    - name: sidecar
      image: registry.example/wat:1
      restartPolicy: Always
      startupProbe: {httpGet: {path: /readyz, port: 3000}, periodSeconds: 1, failureThreshold: 60}
  containers:
    - {name: web, image: "registry.example/wat:1"}
`

// tells waits until the container of a pod has ended, and reads why.
func (s *space) tells(t *testing.T, pod, message string) {
	t.Helper()
	documented(t, message)
	var last string
	machine.Await(t, func() error {
		last = s.try("get", "pod/"+pod, "-o", "jsonpath={.status.containerStatuses[0].lastState.terminated.message}").Out
		if last == "" {
			return fmt.Errorf("the container of pod %s has not ended", pod)
		}
		return nil
	})
	machine.Await(t, func() error { // the container restarts now and then
		log := s.try("logs", pod, "-c", "web", "--previous").Out
		if line := "wagi: error: " + message + "\n"; !strings.Contains("\n"+log, "\n"+line) {
			return fmt.Errorf("log of %s lacks %q:\n%s", pod, line, log)
		}
		return nil
	})
	if last != message+"\n" {
		t.Errorf("message of %s: got %q, want %q", pod, last, message)
	}
	contains(t, s.kubectl(t, "describe", "pod", pod), message)
}
