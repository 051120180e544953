//go:build linux

package kubernetes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"containerd-shim-wagi-v1/test/machine"
)

// A space is a namespace of the cluster.
type space struct {
	*cluster
	*node // on which all its pods run; nil: on any
	name  string
}

// space makes one whose pods all run on the node.
func (n *node) space(t *testing.T, name string) *space {
	t.Helper()
	s := n.cluster.space(t, name+"-"+strings.ReplaceAll(n.name, ".", "-"))
	s.node = n
	n.run(t, "annotate", "namespace", s.name, "scheduler.alpha.kubernetes.io/node-selector=kubernetes.io/hostname="+n.name)
	return s
}

// space makes one for the duration of the test. Its end ends all pods in it, which must leave nothing.
func (c *cluster) space(t *testing.T, name string) *space {
	t.Helper()
	s := &space{cluster: c, name: name}
	s.run(t, "create", "namespace", s.name)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.report())
		}
		s.wait(t, "delete", "namespace", s.name, "--ignore-not-found")
	})
	s.wait(t, "wait", "--for=create", "serviceaccount/default")
	return s
}

// report is what a user would look at when something is wrong.
func (s *space) report() string {
	return s.try("get", "pods", "-o", "wide").Out + s.try("describe", "pods").Out + s.try("get", "events").Out
}

// kubectl runs kubectl in the namespace; it must succeed.
func (s *space) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return s.run(t, append([]string{"-n", s.name}, args...)...)
}

func (s *space) try(args ...string) machine.Result {
	return s.cluster.try(append([]string{"-n", s.name}, args...)...)
}

// apply creates the objects of a manifest.
func (s *space) apply(t *testing.T, manifest string) {
	t.Helper()
	path := machine.Dir(t) + "/manifest.yaml"
	write(t, path, manifest)
	s.kubectl(t, "apply", "-f", path)
}

// patience is that of many pods which start on one machine.
const patience = 4 * time.Minute

// wait runs a kubectl that waits, in turns as long as a command may take.
func (s *space) wait(t *testing.T, args ...string) {
	t.Helper()
	err := machine.Within(patience, func() error { return s.try(append(args, "--timeout=20s")...).Error() })
	if err != nil {
		t.Fatalf("kubectl %q: %v", args, err)
	}
}

// ready waits until a pod is.
func (s *space) ready(t *testing.T, pod string) {
	t.Helper()
	s.wait(t, "wait", "--for=condition=Ready", "pod/"+pod)
}

// get is a field of an object, by its JSON path.
func (s *space) get(t *testing.T, object, path string) string {
	t.Helper()
	return s.kubectl(t, "get", object, "-o", "jsonpath={"+path+"}")
}

// await waits until the field of an object is as wanted.
func (s *space) await(t *testing.T, object, path, want string) {
	t.Helper()
	err := machine.Within(patience, func() error {
		r := s.try("get", object, "-o", "jsonpath={"+path+"}")
		if r.Code != 0 || r.Out != want {
			return fmt.Errorf("%s of %s is %q, want %q\n%s", path, object, r.Out, want, r.Err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// url is where the pod answers on the port.
func (s *space) url(t *testing.T, pod string, port int) string {
	t.Helper()
	return fmt.Sprintf("http://%s:%d", s.get(t, "pod/"+pod, ".status.podIP"), port)
}

var client = machine.NewClient(nil)

// want asks until the answer contains the text.
func want(t *testing.T, url, text string) {
	t.Helper()
	machine.Await(t, func() error {
		got, err := client.Get(url)
		if err == nil && !strings.Contains(got, text) {
			err = fmt.Errorf("%s: got %q, want %q", url, got, text)
		}
		return err
	})
}

// contains fails the test unless the text has all of the parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	var missing error
	for _, part := range parts {
		if !strings.Contains(text, part) {
			missing = errors.Join(missing, fmt.Errorf("%q is missing", part))
		}
	}
	if missing != nil {
		t.Errorf("%v in\n%s", missing, text)
	}
}
