package instrument

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

// TestInterrupt runs what never ends. It has to come to the interrupt, and to the next ones, soon.
func TestInterrupt(t *testing.T) {
	for name, text := range endless {
		t.Run(name, func(t *testing.T) {
			m, err := Rewrite(assemble(t, text))
			if err != nil {
				t.Fatal(err)
			}
			longest, err := intervals(t, m, 8)
			if !errors.Is(err, errStop) {
				t.Fatalf("the guest ended with %v", err)
			}
			if longest > 500*time.Millisecond { // 10 ms without the race detector
				t.Errorf("%v between two interrupts", longest)
			}
		})
	}
}

var errStop = errors.New("stopped by the test")

// intervals runs a module until its n-th interrupt. It returns the longest time between two of them, by the clock of the
// thread, which others do not hold up.
func intervals(t testing.TB, m *Module, n int) (longest time.Duration, err error) {
	ctx := context.Background()
	e := newEngine(t, ctx)
	compiled, err := e.CompileModule(ctx, m.Binary)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	last := threadTime(t)
	e.interrupted = func() {
		now := threadTime(t)
		longest, last = max(longest, now-last), now
		if n--; n == 0 {
			panic(errStop)
		}
	}
	instance, err := e.InstantiateModule(ctx, compiled, wazero.NewModuleConfig())
	for _, name := range []string{m.Start, "run"} {
		if err == nil && name != "" {
			_, err = instance.ExportedFunction(name).Call(ctx)
		}
	}
	return longest, err
}

// threadTime is the CPU time of the thread.
func threadTime(t testing.TB) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
