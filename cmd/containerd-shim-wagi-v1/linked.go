//go:build linux && !embed

package main

import (
	"containerd-shim-wagi-v1/cgi/command"
	"containerd-shim-wagi-v1/shim"
)

// gateway is this program.
var gateway shim.Gateway

func runGateway() { command.Main() }
