//go:build linux

package test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"containerd-shim-wagi-v1/test/machine"
)

// What the installer writes is what each containerd reads, beside what the file said before.
func TestInstaller(t *testing.T) {
	const before = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  device_ownership_from_security_context = true
`
	for _, r := range releases() {
		t.Run(r.name, func(t *testing.T) {
			require(t, r)
			host := machine.Dir(t)
			file := host + "/etc/containerd/config.toml"
			if err := os.MkdirAll(host+"/etc/containerd", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			machine.Run(t, exec.Command(machine.Out("installer"), "install", "--host", host,
				"--shim", machine.Out("containerd-shim-wagi-v1"), "--restart=false"))
			dump := machine.Run(t, exec.Command(r.bin+"/containerd", "--config", file, "config", "dump"))
			var read struct{ Plugins map[string]any }
			if err := toml.Unmarshal([]byte(dump), &read); err != nil {
				t.Fatal(err)
			}
			plugin := "io.containerd.grpc.v1.cri"
			if r.config == 3 {
				plugin = "io.containerd.cri.v1.runtime"
			}
			cri := read.Plugins[plugin].(map[string]any)
			if cri["device_ownership_from_security_context"] != true {
				t.Error("the file's own configuration is lost")
			}
			runtimes := cri["containerd"].(map[string]any)["runtimes"].(map[string]any)
			if runtimes["runc"].(map[string]any)["runtime_type"] != runc {
				t.Errorf("runtimes %v: runc's is lost", runtimes)
			}
			wagi := runtimes["wagi"].(map[string]any)
			machine.Run(t, exec.Command(host+wagi["runtime_type"].(string), "-v"))
		})
	}
}
