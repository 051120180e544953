//go:build linux

package cri

import (
	"slices"
	"testing"
)

// A validation is one case of what CRI asks of a runtime.
type validation struct {
	name string
	run  func(*testing.T, host)
}

// TestCRI runs all cases for both handlers. One that fails for wagi alone is a defect of our shim.
func TestCRI(t *testing.T) {
	all := slices.Concat(sandboxCases, containerCases, securityCases, streamCases, statsCases, registryCases)
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, r)
			for _, handler := range []string{runc, wagi} {
				t.Run(handler, func(t *testing.T) {
					for _, v := range all {
						t.Run(v.name, func(t *testing.T) {
							t.Parallel()
							v.run(t, host{n, handler})
						})
					}
				})
			}
		})
	}
}
