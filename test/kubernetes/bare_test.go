//go:build linux

package kubernetes

import "testing"

// An image that is one module and no modules.toml serves all paths with it, or runs it as a command.
func testBare(t *testing.T, s *space) {
	s.kubectl(t, "apply", "-f", "testdata/bare.yaml")
	for _, pod := range []string{"annotated", "served"} {
		s.ready(t, pod)
		want(t, s.url(t, pod, 3000)+"/any/path", greeting)
	}
	s.wait(t, "wait", "--for=condition=Complete", "job/command")
	contains(t, s.kubectl(t, "logs", "job/command"), greeting)
}
