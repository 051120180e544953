package guest

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	maxGarbage  = 16 << 20    // bytes that may be left to Go's collector alone
	garbageTime = time.Second // without any more garbage, after which it is collected

	// failedGarbage stands for what else a guest that failed has left. The engine does not tell.
	failedGarbage = 1 << 20
)

// garbage is what guests leave in Go's heap that is more than other requests would leave in a long time: stacks and tables. When no
// more comes, Go would not collect it for up to two minutes, and would keep the memory after that.
type garbage struct {
	bytes atomic.Int64 // since the last look
	armed atomic.Bool  // collect is going to be called
}

func (g *garbage) add(bytes uint64) {
	if g.bytes.Add(int64(bytes)) >= maxGarbage && g.armed.CompareAndSwap(false, true) {
		time.AfterFunc(garbageTime, g.collect)
	}
}

// collect collects the garbage and gives its memory back, unless more has come: then Go does the former by itself.
func (g *garbage) collect() {
	if g.bytes.Swap(0) > 0 {
		time.AfterFunc(garbageTime, g.collect)
		return
	}
	g.armed.Store(false)
	debug.FreeOSMemory()
}
