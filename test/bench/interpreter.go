//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// measureInterpreter compares the example in JavaScript, which goes on from a resume point, with the same started for each request.
func measureInterpreter(ctx context.Context, b *bench) (err error) {
	const measure = "CPU of a request, interpreter with resume point, to the same without"
	dir := filepath.Join(b.out, "images/javascript")
	if _, err := os.Stat(filepath.Join(dir, "javascript.wasm")); err != nil {
		b.rows = append(b.rows, row{measure: measure, sign: "≤", target: .05, missing: "not built: " + err.Error()})
		return nil
	}
	gateway, err := b.start(ctx, "javascript", "/hello", func(ctx context.Context, s *server) error {
		file := s.log + ".toml"
		if err := b.fill(file, "javascript.toml", map[string]string{"Dir": dir, "Hello": b.bin("hello.wasm")}); err != nil {
			return err
		}
		return s.run(ctx, nil, filepath.Join(b.out, "wagi"), "-c", file, "--listen", s.address)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gateway.close()) }()
	var answers [2]string
	var routes [2]server
	for i, path := range []string{"/resumed?wasm", "/started?wasm"} {
		routes[i] = *gateway
		routes[i].path = path
		if answers[i], err = get(routes[i].url()); err != nil {
			return err
		}
	}
	if answers[0] != answers[1] {
		return fmt.Errorf("with the resume point the answer is %.200q, without %.200q", answers[0], answers[1])
	}
	if err := b.each(2, func(i int) error { return b.load(ctx, &routes[i]) }); err != nil {
		return err
	}
	b.atMost(.05, ratio(routes[0].costs, routes[1].costs), fmt.Sprintf("%s (%.0f to %.0f µs)", measure, median(routes[0].costs), median(routes[1].costs)))
	return nil
}
