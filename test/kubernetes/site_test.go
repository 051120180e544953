//go:build linux

package kubernetes

import (
	"fmt"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// Configuration and files come from ConfigMaps, a Secret, an emptyDir and a PersistentVolumeClaim, and survive the pod as they should.
func testSite(t *testing.T, s *space) {
	s.makeVolume(t)
	s.kubectl(t, "create", "configmap", "site", "--from-file=testdata/site/")
	s.kubectl(t, "apply", "-f", "testdata/site.yaml")
	s.ready(t, "site")
	url := s.url(t, "site", 8080)
	env, err := client.Get(url + "/env")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, env, "GREETING=good day\n", "TOKEN=s3cret\n", "FROM=modules.toml\n", "SECRET=s3cret\n", "KUBERNETES_SERVICE_HOST=10.96.0.1\n")
	if strings.Contains(env, "\nPATH=") || strings.Contains(env, "WAGI_") {
		t.Errorf("guests see what is the gateway's own:\n%s", env)
	}
	for path, text := range map[string]string{"/words": "from a ConfigMap\n", "/token": "from a Secret\n", "/scratch": "from an emptyDir\n"} {
		want(t, url+path, text)
	}
	put(t, url+"/files/kept", "from a guest")
	s.reload(t, url)
	s.kubectl(t, "delete", "pod", "site", "--timeout=20s")
	s.kubectl(t, "apply", "-f", "testdata/site.yaml")
	s.ready(t, "site")
	want(t, s.url(t, "site", 8080)+"/files/kept", "from a guest")
}

// reload changes ConfigMaps under the running gateway: a new route, then a mistake, which leaves the old configuration.
func (s *space) reload(t *testing.T, url string) {
	t.Helper()
	modules := read(t, "testdata/site/modules.toml")
	s.setModules(t, modules+"\n[[module]]\nroute = \"/new\"\nmodule = \"env.wat\"\nenvironment = { NEW = \"yes\" }\n")
	want(t, url+"/new", "NEW=yes\n")
	s.setModules(t, modules+"\n[[module]]\nrout = \"/newer\"\n")
	machine.Await(t, func() error {
		if log := s.try("logs", "site").Out; !strings.Contains(log, "configuration not reloaded, the old one goes on") {
			return fmt.Errorf("the log does not tell of the mistake:\n%s", log)
		}
		return nil
	})
	want(t, url+"/new", "NEW=yes\n")
	s.kubectl(t, "patch", "configmap", "words", "--type=merge", "-p", `{"data": {"file": "edited\n"}}`)
	want(t, url+"/words", "edited\n")
	s.setModules(t, modules)
	s.await(t, "pod/site", ".status.containerStatuses[0].restartCount", "0")
}

// setModules changes the modules.toml of the ConfigMap.
func (s *space) setModules(t *testing.T, text string) {
	t.Helper()
	s.kubectl(t, "patch", "configmap", "site", "--type=merge", "-p", fmt.Sprintf(`{"data": {"modules.toml": %q}}`, text))
}

// makeVolume makes the PersistentVolume that the claim of the namespace gets.
func (s *space) makeVolume(t *testing.T) {
	t.Helper()
	s.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: %[1]s, name: uploads}
  hostPath: {path: %s, type: DirectoryOrCreate}
`, s.name, s.node.dir+"/uploads"))
}

func put(t *testing.T, url, text string) {
	t.Helper()
	if _, err := client.Send("PUT", url, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}
