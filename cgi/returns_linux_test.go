package cgi

import (
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/containerd/log"
)

// What guests have left to Go's collector comes back when they have ended, though nothing else makes it collect.
func TestMemoryReturns(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector has memory of its own")
	}
	log.L.Logger.SetOutput(io.Discard)
	t.Cleanup(func() { log.L.Logger.SetOutput(os.Stderr) })
	guests := slices.DeleteFunc(hostiles(t), func(g hostile) bool {
		return !slices.Contains([]string{"exceptions", "recursion", "table"}, g.name)
	})
	server, _ := startHostile(t, guests)
	before, most := resident(), int64(0)
	attacked(t, guests, server.URL, func() {
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			most = max(most, resident())
		}
	})
	begun, now := time.Now(), resident()
	for now > before+64<<20 && time.Since(begun) < 20*time.Second {
		time.Sleep(100 * time.Millisecond)
		now = resident()
	}
	t.Logf("%d MiB before, %d at most, %d after %v", before>>20, most>>20, now>>20, time.Since(begun))
	if now > before+64<<20 {
		t.Error("memory does not return")
	}
}
