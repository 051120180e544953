//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	manyModules = 1000
	manyGuests  = 5000
)

// measureGrowth compares gateways with many modules and with many waiting guests with one that has neither.
func measureGrowth(ctx context.Context, b *bench) (err error) {
	var servers []*server
	defer closeAll(&err, &servers)
	routes, err := b.modules()
	if err != nil {
		return err
	}
	last := routes[manyModules-1]
	for _, g := range []struct {
		path   string
		routes []route
	}{{last.Path, []route{last}}, {last.Path, routes}, {last.Path, []route{last, {"/sleep", b.bin("sleep.wasm")}}}} {
		s, err := b.start(ctx, "growth", g.path, b.gateway(g.routes...))
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	waiting, err := b.sleepers(ctx, servers[2])
	if err != nil {
		return err
	}
	if err := b.each(3, func(i int) error { return b.load(ctx, servers[i]) }); err != nil {
		return err
	}
	memory, err := waiting.memory, waiting.end()
	if err != nil {
		return err
	}
	modules, err := servers[1].group.memory()
	b.atMost(1.15, ratio(servers[1].costs, servers[0].costs),
		fmt.Sprintf("CPU of a request with %d modules, to one with 1 (%d MiB)", manyModules, modules>>20))
	b.atMost(1.15, ratio(servers[2].costs, servers[0].costs),
		fmt.Sprintf("CPU of a request while %d guests wait, to none (%d MiB)", manyGuests, memory>>20))
	return err
}

// modules makes modules that differ, by a custom section, and returns their routes.
func (b *bench) modules() ([]route, error) {
	binary, err := os.ReadFile(b.bin("hello.wasm"))
	if err != nil {
		return nil, err
	}
	routes := make([]route, manyModules)
	for i := range routes {
		routes[i] = route{fmt.Sprintf("/hello/%d", i), filepath.Join(b.dir, fmt.Sprintf("hello-%d.wasm", i))}
		section := fmt.Sprintf("\x00\x06\x01n%04d", i) // a custom section of 6 bytes with the name n
		if err := os.WriteFile(routes[i].Module, append(binary[:len(binary):len(binary)], section...), 0o600); err != nil {
			return nil, err
		}
	}
	return routes, nil
}

// sleepers are requests that wait for guests that sleep.
type sleepers struct {
	memory int64        // of the gateway when all had begun, in bytes
	awake  atomic.Int64 // how many have ended
	wait   sync.WaitGroup
	mu     sync.Mutex
	err    error // guarded by mu
}

// sleepers begins requests whose guests sleep until all servers have been under load, and waits until all are sent.
func (b *bench) sleepers(ctx context.Context, s *server) (*sleepers, error) {
	var waiting sleepers
	sent := make(chan struct{}, manyGuests)
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent <- struct{}{} }}
	seconds := 3*b.rounds*(b.seconds+1) + 10
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet,
		fmt.Sprintf("http://%s/sleep?%d", s.address, seconds), nil)
	if err != nil {
		return nil, err
	}
	for range manyGuests {
		waiting.wait.Go(func() { waiting.sleep(request) })
	}
	for range manyGuests {
		select {
		case <-sent:
		case <-time.After(patience):
			return nil, fmt.Errorf("%d requests that wait were not sent in %s", manyGuests, patience)
		}
	}
	waiting.memory, err = s.group.memory()
	return &waiting, err
}

func (w *sleepers) sleep(request *http.Request) {
	var got strings.Builder
	err := exchange(request.Clone(request.Context()), &got)
	w.awake.Add(1)
	if err == nil && got.String() != "slept\n" {
		err = fmt.Errorf("a guest that sleeps answered %.100q", got.String())
	}
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	}
}

// end waits for all. None may have ended earlier.
func (w *sleepers) end() error {
	if n := w.awake.Load(); n > 0 {
		return fmt.Errorf("%d guests ended while they should have waited", n)
	}
	w.wait.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
