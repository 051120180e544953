//go:build linux

// Package cri compares the two shims as Kubernetes sees them: the cases by which container runtimes are validated, told to
// containerd through the Container Runtime Interface (CRI) in place of kubelet, each for the handler "runc" and for the handler "wagi",
// which is our shim. A plain container must not show which of them runs it. What only a WAGI container does follows after.
package cri

import (
	"os"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

func TestMain(m *testing.M) {
	os.Exit(machine.Main(m, "/run/containerd/s/*"))
}
