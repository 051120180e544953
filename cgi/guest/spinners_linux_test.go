package guest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkSpinners measures how long a quick route takes on an idle gateway, and beside twice as many spinning guests as
// there are processors.
func BenchmarkSpinners(b *testing.B) {
	spin := compileFile(b, "testdata/misbehave.wasm", Config{})
	hello := compileFile(b, "testdata/hello.wasm", Config{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := hello.Run(r.Context(), &Call{Env: NewEnvironment(benchmarkEnv...), Stdout: w}); err != nil {
			b.Error(err)
		}
	}))
	defer server.Close()
	idle := p99(b, server.URL)
	ctx, cancel := context.WithCancel(b.Context())
	var spinners sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		spinners.Go(func() { spin.Run(ctx, &Call{Entrypoint: "spin"}) })
	}
	busy := p99(b, server.URL)
	begin := time.Now()
	cancel()
	spinners.Wait()
	b.ReportMetric(float64(time.Since(begin).Microseconds()), "stop-us")
	b.ReportMetric(float64(idle.Microseconds()), "idle-p99-us")
	b.ReportMetric(float64(busy.Microseconds()), "busy-p99-us")
	b.ReportMetric(float64(busy)/float64(idle), "ratio")
}

func p99(b *testing.B, url string) time.Duration {
	var took []time.Duration
	for range 2000 {
		begin := time.Now()
		r, err := http.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}
