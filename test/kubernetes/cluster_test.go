//go:build linux

// Package kubernetes runs the shim where a cluster runs it: under a real control plane, kubelets and kube-proxy, with containerd as CRI.
// Everything lives in namespaces of the test's own; users' part is played by kubectl with the manifests in testdata.
package kubernetes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

const (
	// The control plane and the nodes refuse loopback addresses.
	controlPlane = "198.18.0.1"
	services     = "10.96.0.0/16"
	token        = "c3ViamVjdCBvZiB0aGUgdGVzdA" // of the user who may do everything
)

// A cluster is a control plane, and a kube-proxy that serves all nodes because they share its network namespace.
type cluster struct {
	dir string
}

// newCluster starts one for the duration of the test.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{machine.Dir(t)}
	run(t, "mount", "--make-rshared", "/") // as on any node: containerd sees what kubelets mount

	for _, dir := range []string{"/var/lib", "/var/log", "/opt"} { // what kubelets write there whatever their configuration, and the installer
		run(t, "mount", "-t", "tmpfs", "tmpfs", dir)
	}
	link(t, "cluster", controlPlane+"/24")
	run(t, "ip", "route", "add", services, "dev", "cluster")
	write(t, "/proc/sys/net/ipv4/ip_forward", "1")
	c.writeIdentity(t)
	c.start(t, "etcd/etcd", "--data-dir", c.dir+"/etcd", "--unsafe-no-fsync", "--log-level=error")
	c.start(t, "kubernetes/kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379", "--service-cluster-ip-range="+services,
		"--allow-privileged", "--bind-address="+controlPlane, "--advertise-address="+controlPlane, "--cert-dir="+c.dir+"/apiserver",
		"--token-auth-file="+c.dir+"/tokens", "--authorization-mode=RBAC", "--enable-admission-plugins=PodNodeSelector",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+c.dir+"/accounts.key",
		"--service-account-signing-key-file="+c.dir+"/accounts.key", "--kubelet-preferred-address-types=InternalIP")
	machine.Await(t, func() error {
		return c.try("get", "--raw", "/readyz").Error()
	})
	c.start(t, "kubernetes/kube-controller-manager", "--kubeconfig="+c.kubeconfig(), "--leader-elect=false", "--bind-address=127.0.0.1",
		"--horizontal-pod-autoscaler-sync-period=5s",
		"--service-account-private-key-file="+c.dir+"/accounts.key", "--root-ca-file="+c.certificate())
	c.start(t, "kubernetes/kube-scheduler", "--kubeconfig="+c.kubeconfig(), "--leader-elect=false", "--bind-address=127.0.0.1")
	return c
}

// link makes a network interface that has the address.
func link(t *testing.T, name, address string) {
	t.Helper()
	run(t, "ip", "link", "add", name, "type", "bridge")
	run(t, "ip", "address", "add", address, "dev", name)
	run(t, "ip", "link", "set", name, "up")
}

func (c *cluster) kubeconfig() string  { return c.dir + "/kubeconfig" }
func (c *cluster) certificate() string { return c.dir + "/apiserver/apiserver.crt" }

// writeIdentity writes who may do what: one token, and the key that signs those of pods.
func (c *cluster) writeIdentity(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.dir+"/accounts.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	write(t, c.dir+"/tokens", token+",admin,admin,system:masters\n")
	write(t, c.kubeconfig(), fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://%s:6443", certificate-authority: %s}}]
users: [{name: admin, user: {token: %s}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`, controlPlane, c.certificate(), token))
}

// startProxy starts a kube-proxy once there is the node.
func (c *cluster) startProxy(t *testing.T, node string) {
	t.Helper()
	write(t, c.dir+"/proxy.yaml", fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: %s
clientConnection: {kubeconfig: %s}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
oomScoreAdj: 0
`, node, c.kubeconfig()))
	c.start(t, "kubernetes/kube-proxy", "--config", c.dir+"/proxy.yaml")
}

// startMetrics starts what kubectl top and autoscalers read, which asks the kubelets every 10 seconds.
func (c *cluster) startMetrics(t *testing.T) {
	t.Helper()
	c.start(t, "metrics/metrics-server", "--kubeconfig="+c.kubeconfig(), "--authentication-kubeconfig="+c.kubeconfig(), "--authorization-kubeconfig="+c.kubeconfig(),
		"--bind-address="+controlPlane, "--secure-port=4443", "--cert-dir="+c.dir+"/metrics", "--authentication-tolerate-lookup-failure",
		"--kubelet-insecure-tls", "--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=10s", "--kubelet-request-timeout=5s")
	c.run(t, "apply", "-f", "testdata/metrics.yaml")
	c.run(t, "wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io", "--timeout=50s")
}

// start starts a program of out/, whose log is shown when the test fails.
func (c *cluster) start(t *testing.T, program string, args ...string) {
	t.Helper()
	machine.Start(t, c.dir+"/"+path.Base(program)+".log", exec.Command(machine.Out(program), args...))
}

func (c *cluster) command(args ...string) *exec.Cmd {
	return exec.Command(machine.Out("kubernetes")+"/kubectl", append([]string{"--kubeconfig", c.kubeconfig(), "--cache-dir", c.dir + "/cache"}, args...)...)
}

// run runs kubectl, which must succeed, and returns what it prints.
func (c *cluster) run(t *testing.T, args ...string) string {
	t.Helper()
	return machine.Run(t, c.command(args...))
}

// try runs kubectl and returns whatever comes of it.
func (c *cluster) try(args ...string) machine.Result {
	return machine.Try(c.command(args...))
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	machine.Run(t, exec.Command(name, args...))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
