//go:build linux

// Command containerd-shim-wagi-v1 is the containerd runtime io.containerd.wagi.v1. Under the name wagi (a symbolic
// link, or the mount in a container) it is the gateway: one file to install on a node.
package main

import (
	"os"
	"path/filepath"

	"containerd-shim-wagi-v1/cgi/command"
	"containerd-shim-wagi-v1/shim"
)

func main() {
	if filepath.Base(os.Args[0]) == "wagi" {
		command.Main()
		return
	}
	shim.Main(command.Version(), command.Target())
}
