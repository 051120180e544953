package command

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	heapRoom     = 32 << 20 // bytes that Go's heap may grow between two collections where GOGC means less
	maxGCPercent = 400

	// settleDelay keeps the collector out of the way of the first requests, and lets it take what they leave.
	settleDelay = time.Second
)

// settleHeap is called settleDelay after modules have been loaded. It gives back the memory that this took, and chooses GOGC by what is
// left, unless the environment has one. The gateway's own heap is some megabytes, which short-lived requests fill many times a second
// with Go's default. A large heap keeps the default. Near GOMEMLIMIT Go collects more often by itself.
//
// Where Go has not collected yet, the heap is under 4 MiB, and the lists of the first collection take more than it would give back.
func settleHeap() {
	if liveHeap() > 0 {
		debug.FreeOSMemory()
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(int(max(100, min(100*heapRoom/max(liveHeap(), 1), maxGCPercent))))
	}
}

// liveHeap is what the last collection has left, in bytes; 0: there was none. Unlike runtime.MemStats it stops nothing and empties no cache.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
