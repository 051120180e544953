package command

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	heapRoom     = 32 << 20 // bytes that Go's heap may grow between two collections where GOGC means less
	maxGCPercent = 400
)

// settle is called when modules have been loaded. It gives back the memory that this took, and chooses GOGC by what is left, unless
// the environment has one. The gateway's own heap is some megabytes, which short-lived requests fill many times a second with Go's
// default. A large heap keeps the default. Near GOMEMLIMIT Go collects more often by itself.
func settle() {
	debug.FreeOSMemory()
	if os.Getenv("GOGC") != "" {
		return
	}
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	debug.SetGCPercent(max(100, min(int(100*heapRoom/heap.HeapAlloc), maxGCPercent)))
}
