//go:build linux

package kubernetes

import (
	"os"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// TestKubernetes runs every test on every node, all in one cluster.
func TestKubernetes(t *testing.T) {
	for _, path := range []string{"kubernetes/kubelet", "etcd/etcd", "kubernetes/native", "containerd-2.4/containerd", "containerd-1.7/containerd", "containerd-shim-wagi-v1", "images/hello.tar", "wagi-installer.tar", "keda/keda.sh_scaledobjects.yaml", "metrics/metrics-server"} {
		if _, err := os.Stat(machine.Out(path)); err != nil {
			machine.Skip(t, "%v", err)
		}
	}
	c := newCluster(t)
	nodes := c.startNodes(t)
	c.startMetrics(t)
	t.Run("installer", func(t *testing.T) { testInstaller(t, nodes) })
	for _, n := range nodes {
		n.addRuntime(t)
	}
	c.run(t, "apply", "-f", "../../images/installer/base/runtimeclass.yaml")
	t.Run("scale", func(t *testing.T) {
		t.Parallel()
		testScale(t, c)
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *space)
	}{
		{"deployment", testDeployment},
		{"readme", testReadme},
		{"ending", testEnding},
		{"probes", testProbes},
		{"streams", testStreams},
		{"stats", testStats},
		{"site", testSite},
		{"bare", testBare},
		{"sidecar", testSidecar},
		{"secure", testSecure},
		{"memory", testMemory},
		{"users", testUsers},
		{"debug", testDebug},
		{"resize", testResize},
		{"overhead", testOverhead},
		{"messages", testMessages},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, n := range nodes {
				t.Run(n.name, func(t *testing.T) {
					t.Parallel()
					test.run(t, n.space(t, test.name))
				})
			}
		})
	}
}
