//go:build linux

package kubernetes

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

const manifests = "../../images/hello/kubernetes/"

// A Deployment's pods are on all nodes, autoscalers find what they need of it, and of its pods no more are evicted at a time than
// its budget allows.
func testScale(t *testing.T, c *cluster) {
	s := c.space(t, "scale")
	c.run(t, "apply", "-f", machine.Out("keda/keda.sh_scaledobjects.yaml"))
	c.run(t, "wait", "--for=condition=Established", "crd/scaledobjects.keda.sh")
	s.kubectl(t, "apply", "-f", manifests)
	s.wait(t, "rollout", "status", "deployment/hello")
	var pods, nodes []string
	for line := range strings.Lines(s.get(t, "pods", `range .items[*]}{.metadata.name} {.spec.nodeName}{"\n"}{end`)) {
		f := strings.Fields(line)
		pods, nodes = append(pods, f[0]), append(nodes, f[1])
	}
	if slices.Sort(nodes); len(slices.Compact(nodes)) != 2 {
		t.Errorf("the pods are all on %s", nodes[0])
	}
	s.metrics(t, pods[0])
	s.await(t, "pdb/hello", ".status.disruptionsAllowed", "1")
	if r := s.evict(t, pods[0]); r.Code != 0 {
		t.Errorf("eviction of a pod: %s", r.Err)
	}
	if r := s.evict(t, pods[1]); r.Code == 0 || !strings.Contains(r.Err, "disruption budget") {
		t.Errorf("eviction of another pod: %s%s", r.Out, r.Err)
	}
	s.await(t, "pdb/hello", ".status.disruptionsAllowed", "1")
	s.autoscale(t)
}

// autoscale lowers the CPU time that the autoscaler allows a gateway below what it takes, and waits for more of them.
func (s *space) autoscale(t *testing.T) {
	t.Helper()
	s.await(t, "hpa/hello", `.status.conditions[?(@.type=="ScalingActive")].reason`, "ValidMetricFound")
	url := "http://" + s.get(t, "service/hello", ".spec.clusterIP") + "/"
	clients := startLoad(url, "Hello, world!\n")
	s.kubectl(t, "patch", "hpa", "hello", "--type=json", "-p", `[
		{"op": "replace", "path": "/spec/maxReplicas", "value": 4},
		{"op": "replace", "path": "/spec/metrics/0/resource/target/averageValue", "value": "1m"}]`)
	s.await(t, "deployment/hello", ".status.readyReplicas", "4")
	if sent, err := clients.stop(); err != nil {
		t.Errorf("%d requests, of which failed:\n%v", sent, err)
	}
}

// metrics fails the test unless a pod has those by which KEDA scales.
func (s *space) metrics(t *testing.T, pod string) {
	t.Helper()
	text, err := client.Get(s.url(t, pod, 9090) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsFuncSeq(read(t, manifests+"keda.yaml"), func(r rune) bool { return strings.ContainsRune("(){} \n", r) }) {
		if strings.HasPrefix(word, "wagi_") {
			contains(t, text, "\n"+word+"{")
		}
	}
}

// evict asks for the end of a pod as kubectl drain does.
func (s *space) evict(t *testing.T, pod string) machine.Result {
	t.Helper()
	path := machine.Dir(t) + "/eviction.json"
	write(t, path, fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q, "namespace": %q}}`, pod, s.name))
	return s.try("create", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", s.name, pod), "-f", path)
}
