package guest

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestLittleMemoryCompilesSlowly(t *testing.T) {
	processors := runtime.GOMAXPROCS(4)
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(processors)
		debug.SetMemoryLimit(limit)
	})
	for limit, want := range map[int64][2]int{
		64 << 20:      {1, 1},
		256 << 20:     {1, 2},
		1 << 30:       {4, 2},
		math.MaxInt64: {4, 2},
	} {
		debug.SetMemoryLimit(limit)
		if got := [2]int{Compilers(), compileWorkers()}; got != want {
			t.Errorf("limit %d: modules at a time, workers: %d, want %d", limit, got, want)
		}
	}
}
