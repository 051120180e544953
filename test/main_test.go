//go:build linux

package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestMain fails the whole run if a shim's socket stays in the folder that all containerds older than 2.4 share. Which
// test left it is not to be told from its name, a hash.
func TestMain(m *testing.M) {
	before := deadSockets()
	code := m.Run()
	for path := range deadSockets() {
		if !before[path] {
			fmt.Println("left behind:", path)
			code = 1
		}
	}
	os.Exit(code)
}

func deadSockets() map[string]bool {
	dead := map[string]bool{}
	paths, _ := filepath.Glob("/run/containerd/s/*")
	for _, path := range paths {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
		} else {
			dead[path] = true
		}
	}
	return dead
}
