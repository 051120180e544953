//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// connections are kept alive and busy at the same time.
const connections = 16

// load puts the server under load by wrk for a round.
func (b *bench) load(ctx context.Context, s *server) error {
	before, err := s.group.cpu()
	if err != nil {
		return err
	}
	wrk := exec.CommandContext(ctx, b.bin("debian/usr/bin/wrk"),
		"-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(b.seconds), "--timeout", "30s", "--latency", s.url())
	wrk.Env = []string{"LD_LIBRARY_PATH=" + b.bin("debian/usr/lib/x86_64-linux-gnu")}
	text, err := wrk.CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk %s: %w\n%s", s.name, err, text)
	}
	after, err := s.group.cpu()
	if err != nil {
		return err
	}
	return s.add(string(text), after-before)
}

var (
	failed   = regexp.MustCompile(`Non-2xx or 3xx responses: .*|Socket errors: .*`)
	requests = regexp.MustCompile(`(\d+) requests in`)
	rate     = regexp.MustCompile(`Requests/sec: +([0-9.]+)`)
	latency  = regexp.MustCompile(`(50|99)% +([0-9.]+[a-z]+)`)
)

// add adds a round: what wrk printed and the CPU time that the server used meanwhile.
func (s *server) add(text string, used time.Duration) error {
	if found := failed.FindString(text); found != "" {
		return fmt.Errorf("%s: %s", s.name, found)
	}
	count, speed, latencies := requests.FindStringSubmatch(text), rate.FindStringSubmatch(text), latency.FindAllStringSubmatch(text, -1)
	if count == nil || speed == nil || len(latencies) != 2 {
		return fmt.Errorf("%s: wrk printed no figures:\n%s", s.name, text)
	}
	n, _ := strconv.ParseFloat(count[1], 64)
	perSecond, _ := strconv.ParseFloat(speed[1], 64)
	p50, _ := time.ParseDuration(latencies[0][2])
	p99, _ := time.ParseDuration(latencies[1][2])
	s.rates = append(s.rates, perSecond)
	s.costs = append(s.costs, used.Seconds()*1e6/n)
	s.p50s = append(s.p50s, p50.Seconds()*1e6)
	s.p99s = append(s.p99s, p99.Seconds()*1e6)
	return nil
}
