//go:build linux

package machine

import (
	"fmt"
	"strings"
)

// Containerd is a containerd's configuration of the version, 2 or 3, without these plugins. All that it makes is in the folder: the
// root, the state, its socket "c" and, by version 3, those of its shims in "s".
// The shims may take their time: by default one that does not answer within 2 s has no process, and one that is not cleared away
// within 5 s stays.
func Containerd(version int, dir string, without ...string) string {
	without = append(without, "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt")
	text := fmt.Sprintf(`version = %d
root = "%s/root"
state = "%[2]s/state"
disabled_plugins = ["%[3]s"]
[grpc]
address = "%[2]s/c"
[timeouts]
"io.containerd.timeout.shim.cleanup" = "%[4]s"
"io.containerd.timeout.shim.load" = "%[4]s"
"io.containerd.timeout.shim.shutdown" = "%[4]s"
"io.containerd.timeout.task.state" = "%[4]s"
`, version, dir, strings.Join(without, `", "`), Patience)
	if version == 3 {
		text += fmt.Sprintf("[plugins.\"io.containerd.shim.v1.manager\"]\nsocket_dir = \"%s/s\"\n", dir)
	}
	return text
}

// CRI is the part for pods: their pause image, and their network from the folder's "cni". This machine may lack CAP_SYS_RESOURCE:
// scores of the OOM killer are then restricted, as in containerd inside of a container.
func CRI(version int, dir, pause string) string {
	text := `[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "%s"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "%s"
conf_dir = "%s/cni"
`
	if version == 3 {
		text = `[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "%s"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["%s"]
conf_dir = "%s/cni"
`
	}
	return fmt.Sprintf(text, pause, Out("cni"), dir)
}
