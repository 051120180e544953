//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
)

// profile writes a CPU profile of the gateway while it answers hello: by it the compiler knows what is worth its while.
func (b *bench) profile(ctx context.Context, file string) (err error) {
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	s, err := b.start(ctx, "wagi", "/hello", b.gatewayWith([]string{"--admin-listen", admin, "--pprof"}, route{"/hello", b.bin("hello.wasm")}))
	if err != nil {
		return err
	}
	servers := []*server{s}
	defer closeAll(&err, &servers)
	loaded := make(chan error, 1)
	go func() { loaded <- b.load(ctx, s) }()
	profile, err := get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, max(b.seconds-1, 1)))
	if err != nil {
		return err
	}
	if err := <-loaded; err != nil {
		return err
	}
	return os.WriteFile(file, []byte(profile), 0o644)
}
