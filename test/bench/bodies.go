//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	bodyBytes = 128 << 20
	bodies    = 4 // at a time
)

// measureBodies compares how fast the gateway and plain net/http move large bodies.
func measureBodies(ctx context.Context, b *bench) (err error) {
	var servers []*server
	defer closeAll(&err, &servers)
	for _, launch := range []func(context.Context, *server) error{
		b.gateway(route{"/hello", b.bin("hello.wasm")}, route{"/body", b.bin("body.wasm")}), b.command("nethttp"),
	} {
		s, err := b.start(ctx, "bodies", "/hello", launch)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	wagi := servers[0].group
	before, err := wagi.memory()
	if err != nil {
		return err
	}
	for _, direction := range []struct {
		name string
		move func(context.Context, string) error
	}{{"request", upload}, {"response", download}} {
		var times [2][]float64
		for range 3 {
			err := b.each(2, func(i int) error {
				begun := time.Now()
				err := many(bodies, func() error { return direction.move(ctx, "http://"+servers[i].address+"/body") })
				times[i] = append(times[i], time.Since(begun).Seconds())
				return err
			})
			if err != nil {
				return err
			}
		}
		b.atLeast(.7, ratio(times[1], times[0]), fmt.Sprintf("%s bodies of 128 MiB, bytes/s, to plain net/http (%.0f to %.0f MB/s)",
			direction.name, bodies*bodyBytes/median(times[0])/1e6, bodies*bodyBytes/median(times[1])/1e6))
	}
	peak, err := wagi.peakMemory()
	b.atMost(32, float64(peak-before)/(1<<20), "memory that 4 such bodies at a time take, MiB")
	return err
}

// many runs n calls of f at the same time.
func many(n int, f func() error) error {
	errs := make(chan error, n)
	for range n {
		go func() { errs <- f() }()
	}
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// upload sends a body and looks how much of it arrived.
func upload(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.LimitReader(zeros{}, bodyBytes))
	if err != nil {
		return err
	}
	request.ContentLength = bodyBytes
	var got strings.Builder
	if err := exchange(request, &got); err != nil || strings.TrimSpace(got.String()) != fmt.Sprint(bodyBytes) {
		return fmt.Errorf("POST %s: got %.100q, %w", url, got.String(), err)
	}
	return nil
}

// download gets a body.
func download(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s?%d", url, bodyBytes), nil)
	if err != nil {
		return err
	}
	var got count
	if err := exchange(request, &got); err != nil || got != bodyBytes {
		return fmt.Errorf("GET %s: got %d bytes, %w", url, got, err)
	}
	return nil
}

// exchange sends the request and copies the body of the response.
func exchange(request *http.Request, body io.Writer) error {
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.CopyBuffer(body, struct{ io.Reader }{response.Body}, make([]byte, 64<<10))
	return err
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// count is how many bytes were written to it.
type count int64

func (c *count) Write(p []byte) (int, error) {
	*c += count(len(p))
	return len(p), nil
}
