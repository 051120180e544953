//go:build linux

// Command containerd-shim-wagi-v1 is the containerd runtime io.containerd.wagi.v1. Under the name wagi (a symbolic
// link, or the mount in a container) it is the gateway: one file to install on a node. With the build tag embed it has the gateway as a
// file in it, with less to initialise for both; without, both are linked together.
package main

import (
	"os"
	"path/filepath"

	"containerd-shim-wagi-v1/cgi/build"
	"containerd-shim-wagi-v1/shim"
)

func main() {
	if filepath.Base(os.Args[0]) == "wagi" {
		runGateway()
		return
	}
	shim.Main(build.Version, build.Target, gateway)
}
