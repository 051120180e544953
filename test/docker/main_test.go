//go:build linux

// Package docker runs the shim under a real Docker Engine: what users type, from docker build to docker compose. It needs root and
// what "make e2e-docker" builds in out/. What a host may lack by rights is skipped, and says so, even where all else must run:
// AppArmor is the only such thing.
package docker

import (
	"os"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

func TestMain(m *testing.M) {
	os.Exit(machine.Main(m, "/run/containerd/s/*", "/run/containerd/runc/moby/*"))
}
