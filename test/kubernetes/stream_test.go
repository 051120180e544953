//go:build linux

package kubernetes

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"containerd-shim-wagi-v1/test/machine"
)

// logs, exec, attach and port-forward.
func testStreams(t *testing.T, s *space) {
	s.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  runtimeClassName: wagi
  containers:
    - name: hello
      image: registry.example/hello:1
      args: [--access-log=-]
      readinessProbe: {httpGet: {path: /readyz, port: 3000}, periodSeconds: 1}
`)
	s.ready(t, "hello")
	contains(t, s.kubectl(t, "logs", "hello"), "Ready: serving on http://0.0.0.0:3000\n")
	contains(t, s.kubectl(t, "exec", "hello", "--", "wagi", "routes"), "hello.wasm", "/modules.toml:1:3")
	contains(t, s.kubectl(t, "exec", "hello", "--", "wagi", "status"), "ready     yes\n")
	contains(t, s.kubectl(t, "exec", "hello", "--", "wagi", "call", "/?name=exec"), "Hello, exec!\n")
	if r := s.try("exec", "hello", "--", "wagi", "call", "/nowhere"); r.Code != 1 {
		t.Errorf("wagi call of a path without a route: exit status %d, want 1\n%s%s", r.Code, r.Out, r.Err)
	}
	s.attach(t, "hello")
	s.forward(t, "hello")
}

// attach sees what the gateway says from then on.
func (s *space) attach(t *testing.T, pod string) {
	t.Helper()
	url := s.url(t, pod, 3000)
	lines := s.follow(t, "attach", pod)
	machine.Await(t, func() error {
		want(t, url+"/?name=attached", "Hello, attached!\n")
		select {
		case line := <-lines:
			if strings.Contains(line, "name=attached") {
				return nil
			}
		case <-time.After(time.Second):
		}
		return errors.New("kubectl attach shows no request")
	})
}

// forward reaches the pod through a port of this machine.
func (s *space) forward(t *testing.T, pod string) {
	t.Helper()
	port := 20000 + s.number
	s.follow(t, "port-forward", "pod/"+pod, fmt.Sprintf("%d:3000", port))
	want(t, fmt.Sprintf("http://127.0.0.1:%d/?name=forward", port), "Hello, forward!\n")
}

// follow runs a kubectl until the end of the test. The channel gives the lines that it prints.
func (s *space) follow(t *testing.T, args ...string) <-chan string {
	t.Helper()
	cmd := s.command(append([]string{"-n", s.name}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
		close(lines)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range lines {
		}
		_ = cmd.Wait() // it was killed
	})
	return lines
}
