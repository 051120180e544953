//go:build linux

package kubernetes

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// testReadme types the session of README's section on Kubernetes into a shell.
func testReadme(t *testing.T, s *space) {
	session := machine.ReadmeBlock(t, "\n## Kubernetes\n", "```console")
	path := machine.Dir(t) + "/kubeconfig"
	write(t, path, read(t, s.kubeconfig()))
	s.shell(t, path, "kubectl config set-context --current --namespace="+s.name)
	got := strings.ReplaceAll(s.shell(t, path, machine.SessionScript(session)), " from "+s.name+" namespace", "")
	if got != session {
		t.Errorf("got\n%s\nREADME.md says\n%s", got, session)
	}
}

// shell runs a script whose kubectl has the configuration.
func (s *space) shell(t *testing.T, kubeconfig, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", script)
	cmd.Dir, cmd.Stderr = "../..", new(bytes.Buffer)
	cmd.Env = append(os.Environ(), "PATH="+machine.Out("kubernetes")+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig)
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, text, cmd.Stderr)
	}
	return string(text)
}
