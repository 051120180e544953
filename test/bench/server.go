//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// patience bounds the wait for a server's first answer.
const patience = 2 * time.Minute

// A server answers requests for its path, and by load it is told how fast.
type server struct {
	name    string
	address string // 127.0.0.1:PORT
	path    string
	group   *group
	log     string // file

	rates, costs, p50s, p99s []float64 // one of each a round: requests/s; CPU of a request, latencies, in µs
}

func (s *server) url() string { return "http://" + s.address + s.path }

// start starts a server: launch starts its processes. It waits until the server answers. The caller closes it.
func (b *bench) start(ctx context.Context, name, path string, launch func(context.Context, *server) error) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	s := &server{name: name, path: path, address: address, log: filepath.Join(b.dir, port+".log")}
	if s.group, err = newGroup(filepath.Base(b.dir) + "-" + port); err != nil {
		return nil, err
	}
	if err = launch(ctx, s); err == nil {
		err = s.await(ctx)
	}
	if err != nil {
		log, _ := os.ReadFile(s.log) // there may be none
		return nil, errors.Join(fmt.Errorf("%s: %w\n%s", name, err, log), s.close())
	}
	return s, nil
}

// freeAddress is one at which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// run starts a process of the server.
func (s *server) run(ctx context.Context, env []string, args ...string) error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.group.command(ctx, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // close kills it
	return nil
}

// await waits for the right answer.
func (s *server) await(ctx context.Context) error {
	deadline := time.Now().Add(patience)
	for {
		body, err := get(s.url())
		if err == nil && body != "hello\n" {
			return fmt.Errorf("answers %.200q", body)
		}
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// get gets a URL by a connection of its own.
func get(url string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("answers %s %.200q", response.Status, body)
	}
	return string(body), err
}

func (s *server) close() error { return s.group.close() }

// closeAll closes servers and adds what fails to err.
func closeAll(err *error, servers *[]*server) {
	for _, s := range *servers {
		*err = errors.Join(*err, s.close())
	}
}
