//go:build linux

package test

import (
	"os"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// TestMain fails the whole run if a shim's socket stays in the folder that all containerds older than 2.4 share. Which
// test left it is not to be told from its name, a hash.
func TestMain(m *testing.M) {
	os.Exit(machine.Main(m, "/run/containerd/s/*"))
}
