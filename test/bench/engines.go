//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/bench/engine"
)

// environment is that of a small request.
var environment = []string{
	"AUTH_TYPE=", "CONTENT_LENGTH=0", "CONTENT_TYPE=", "GATEWAY_INTERFACE=CGI/1.1", "HTTP_ACCEPT=*/*", "HTTP_HOST=localhost:3000",
	"HTTP_USER_AGENT=bench", "PATH_INFO=", "PATH_TRANSLATED=", "QUERY_STRING=", "REMOTE_ADDR=127.0.0.1", "REMOTE_HOST=127.0.0.1",
	"REMOTE_USER=", "REQUEST_METHOD=GET", "SCRIPT_NAME=/hello", "SERVER_NAME=localhost", "SERVER_PORT=3000", "SERVER_PROTOCOL=HTTP/1.1",
	"SERVER_SOFTWARE=WAGI/1", "X_FULL_URL=http://localhost:3000/hello", "X_MATCHED_ROUTE=/hello", "X_RAW_PATH_INFO=", "HTTP_ACCEPT_ENCODING=gzip",
}

// measureEngines compares engines without HTTP.
func measureEngines(ctx context.Context, b *bench) error {
	for _, guest := range []struct {
		name, file string
		target     float64
	}{{"C hello", "hello.wasm", .05}, {"Go hello", "go.wasm", .1}} {
		costs, err := b.engines(ctx, b.bin(guest.file))
		if err != nil {
			return err
		}
		measure := fmt.Sprintf("CPU of a request, %s, engine alone", guest.name)
		b.atMost(guest.target, ratio(costs[0], costs[1]), fmt.Sprintf("%s, to naive wazero (%.1f to %.0f µs)", measure, median(costs[0]), median(costs[1])))
		b.atMost(1, ratio(costs[0], costs[2]), fmt.Sprintf("%s, to wasmtime (%.0f µs)", measure, median(costs[2])))
	}
	return nil
}

// engines returns what a guest costs in each round, in µs of CPU, by the gateway's engine, wazero and wasmtime.
func (b *bench) engines(ctx context.Context, file string) ([3][]float64, error) {
	var costs [3][]float64
	var runs [3]engine.Run
	for i, open := range []func(context.Context, string) (engine.Run, error){engine.Gateway, engine.Wazero, engine.Wasmtime} {
		var err error
		if runs[i], err = open(ctx, file); err != nil {
			return costs, err
		}
	}
	err := b.each(len(runs), func(i int) error {
		cost, err := cost(ctx, runs[i])
		costs[i] = append(costs[i], cost)
		return err
	})
	return costs, err
}

// cost is the CPU time of one of many guests, in µs, on all processors at once.
func cost(ctx context.Context, run engine.Run) (float64, error) {
	runtime.GC()
	var n int
	var err error
	var mu sync.Mutex // guards n and err
	var wait sync.WaitGroup
	before := cpuTime()
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			done, e := hello(ctx, run, time.Now().Add(500*time.Millisecond))
			mu.Lock()
			defer mu.Unlock()
			if n += done; e != nil {
				err = e
			}
		})
	}
	wait.Wait()
	return (cpuTime() - before).Seconds() * 1e6 / float64(n), err
}

// hello runs guests until the deadline and returns how many.
func hello(ctx context.Context, run engine.Run, deadline time.Time) (n int, err error) {
	var out bytes.Buffer
	for time.Now().Before(deadline) {
		out.Reset()
		call := &engine.Call{Args: []string{"/hello"}, Env: environment, Stdin: strings.NewReader(""), Stdout: &out}
		if err := run(ctx, call); err != nil {
			return n, err
		}
		if !strings.HasSuffix(out.String(), "\n\nhello\n") {
			return n, fmt.Errorf("guest printed %q", out.String())
		}
		n++
	}
	return n, ctx.Err()
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // it cannot fail
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// kernel is a computation of the guest compute.
type kernel struct {
	name, what string
	times      int // that take some 50 ms
}

// The engine aligns no loops, so the same code takes 0.8 to 1.4 times as long elsewhere in memory: one ratio alone says little.
var kernels = []kernel{
	{"xorshift", "simple loop", 40000}, {"sha", "like SHA-256", 60000}, {"sha256", "SHA-256", 2000}, {"matrix", "matrices", 200},
	{"sort", "quicksort", 80}, {"search", "search in a text", 4000}, {"parse", "parser", 60000}, {"crc32", "CRC-32", 5000},
	{"nbody", "n-body", 6000}, {"interpreter", "interpreter", 1500},
}

// measureComputing compares a guest that only computes, and that can be stopped, with wazero that cannot stop it.
func measureComputing(ctx context.Context, b *bench) error {
	ours, err := engine.Gateway(ctx, b.bin("compute.wasm"))
	if err != nil {
		return err
	}
	plain, err := engine.Wazero(ctx, b.bin("compute.wasm"))
	if err != nil {
		return err
	}
	var ratios []float64
	var remarks []string
	mean := 1.0
	for _, k := range kernels {
		r, err := b.compute(ctx, ours, plain, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		ratios, remarks = append(ratios, r), append(remarks, fmt.Sprintf("%s %.2f", k.what, r))
		mean *= math.Pow(r, 1/float64(len(kernels)))
	}
	const measure = "computing with time-outs on, to wazero without"
	b.atMost(1.05, ratios[0], measure+", "+kernels[0].what)
	b.atMost(1.05, mean, fmt.Sprintf("%s, mean of %d kernels", measure, len(kernels)))
	b.remark("kernels: " + strings.Join(remarks, ", "))
	return nil
}

// compute is the time of a kernel by one engine to that by another.
func (b *bench) compute(ctx context.Context, ours, plain engine.Run, k kernel) (float64, error) {
	var times [2][]float64
	call := &engine.Call{Args: []string{"compute", k.name, strconv.Itoa(k.times)}}
	for range 5 {
		err := b.each(2, func(i int) error {
			before := cpuTime()
			err := []engine.Run{ours, plain}[i](ctx, call)
			times[i] = append(times[i], (cpuTime() - before).Seconds())
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return ratio(times[0], times[1]), nil
}
