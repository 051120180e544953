//go:build linux

// Command bench compares the gateway with what else could answer the same requests, and prints the ratios that the project
// has set itself as targets. Servers are all alive at once and measured in turn, the order reversed each round; a ratio is the
// median of the ratios of single rounds. It runs in the top folder, as root, with what make built in out/.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A part measures some rows of the report.
type part struct {
	name string
	run  func(context.Context, *bench) error
}

var parts = []part{
	{"engines", measureEngines}, {"computing", measureComputing}, {"servers", measureServers}, {"interpreter", measureInterpreter},
	{"bodies", measureBodies}, {"growth", measureGrowth}, {"containers", measureContainers},
}

// bench is what all parts use.
type bench struct {
	report
	rounds  int
	seconds int    // of load on a server in a round
	dir     string // for files of this run
	out     string // what make built
}

func main() {
	b := &bench{}
	flag.IntVar(&b.rounds, "rounds", 5, "how often each thing is measured")
	flag.IntVar(&b.seconds, "seconds", 2, "load on a server in a round, in seconds")
	plot := flag.String("plot", "", "`FILE` for a plot of the servers, as SVG")
	only := flag.String("only", "", "`PARTS` to run, with commas between: "+strings.Join(names(), ","))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := b.run(ctx, *only, *plot); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func (b *bench) run(ctx context.Context, only, plot string) (err error) {
	for name := range strings.SplitSeq(only, ",") {
		if only != "" && !slices.Contains(names(), name) {
			return fmt.Errorf("no part is called %q", name)
		}
	}
	if b.out, err = filepath.Abs("out"); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("/tmp", "wagi-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := os.Chmod(b.dir, 0o755); err != nil { // Apache's workers are nobody's
		return err
	}
	for _, p := range parts {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		begun := time.Now()
		if err := p.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %.0f s\n", p.name, time.Since(begun).Seconds())
	}
	b.print(os.Stdout)
	if plot != "" && b.servers != nil {
		return b.plot(plot)
	}
	return nil
}

// bin is a file that make built for the benchmark.
func (b *bench) bin(name string) string { return filepath.Join(b.out, "bench", name) }

// each calls f for 0 to n-1 in each round, in reverse order in every other round.
func (b *bench) each(n int, f func(i int) error) error {
	for round := range b.rounds {
		for i := range n {
			if round%2 == 1 {
				i = n - 1 - i
			}
			if err := f(i); err != nil {
				return err
			}
		}
	}
	return nil
}
