//go:build linux && embed

package main

import (
	_ "embed"
	"fmt"
	"os"

	"containerd-shim-wagi-v1/shim"
)

// The Makefile puts the file here by an overlay, and has the linker set its SHA-256.
var (
	//go:embed wagi
	gatewayBinary string
	gatewaySum    string
)

var gateway = shim.Gateway{Binary: gatewayBinary, Sum: gatewaySum}

func runGateway() {
	fmt.Fprintln(os.Stderr, "wagi: error:", gateway.Exec())
	os.Exit(1)
}
