//go:build linux

package kubernetes

import (
	"os"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

func TestMain(m *testing.M) {
	os.Exit(machine.Main(m, "/run/containerd/s/*"))
}
