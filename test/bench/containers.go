//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

const (
	startsPerRound  = 3
	denseContainers = 20
	manyContainers  = 200

	settleTime = 3 * time.Second // for what the last containers have used to start
)

// kind is a way to run hello in a container.
type kind struct {
	image, runtime string
	flags          func(address string) []string // of ctr run
	args           func(address string) []string // of the container
}

func kinds() []kind {
	return []kind{{
		image: "bench.invalid/wagi:latest", runtime: "io.containerd.wagi.v1",
		flags: func(address string) []string { return []string{"--env", "WAGI_LISTEN=" + address} },
		args:  func(string) []string { return nil },
	}, {
		image: "bench.invalid/nethttp:latest", runtime: "io.containerd.runc.v2",
		flags: func(string) []string { return nil },
		args:  func(address string) []string { return []string{"/nethttp", address} },
	}}
}

// measureContainers compares containers: of a WAGI image, and of a native program under runc's own shim.
func measureContainers(ctx context.Context, b *bench) (err error) {
	d, err := b.containerd(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.images(ctx, b); err != nil {
		return err
	}
	wagi := kinds()[0]
	if err := b.density(ctx, d); err != nil { // which fills the caches, too
		return err
	}
	if err := b.startTimes(ctx, d); err != nil {
		return err
	}
	return d.dense(ctx, wagi, manyContainers, func() error {
		used, err := d.memory()
		b.atLeast(manyContainers, manyContainers, fmt.Sprintf("containers that answer at a time (%.1f GiB with shims)", used/(1<<30)))
		return err
	})
}

// density measures the memory of some containers of each kind.
func (b *bench) density(ctx context.Context, d *daemon) error {
	var each [2]float64 // MiB
	for i, k := range kinds() {
		err := d.dense(ctx, k, denseContainers, func() error {
			select {
			case <-time.After(settleTime):
			case <-ctx.Done():
			}
			used, err := d.memory()
			each[i] = used / denseContainers / (1 << 20)
			return err
		})
		if err != nil {
			return err
		}
	}
	b.atMost(1.3, each[0]/each[1], fmt.Sprintf("memory of %d containers, PSS with shims, to a native program under runc's shim (%.1f to %.1f MiB each)",
		denseContainers, each[0], each[1]))
	return nil
}

// startTimes measures pairs of starts.
func (b *bench) startTimes(ctx context.Context, d *daemon) error {
	var times [2][]float64 // ms
	for range startsPerRound {
		err := b.each(2, func(i int) error {
			took, err := d.startAndStop(ctx, kinds()[i])
			times[i] = append(times[i], took.Seconds()*1e3)
			return err
		})
		if err != nil {
			return err
		}
	}
	b.atMost(1.15, ratio(times[0], times[1]), fmt.Sprintf("ctr run until the first answer, to a native program under runc's shim (%.0f to %.0f ms)",
		median(times[0]), median(times[1])))
	return nil
}

// daemon is a containerd of our own.
type daemon struct {
	dir, bin string
	path     string // its PATH
	process  *exec.Cmd
	next     int // number of the next container
}

func (d *daemon) namespace() string { return filepath.Base(d.dir) }

// containerd starts one. The caller closes it.
func (b *bench) containerd(ctx context.Context) (*daemon, error) {
	d := &daemon{dir: b.dir, bin: filepath.Join(b.out, "containerd-2.4")}
	d.path = strings.Join([]string{d.bin, b.out, os.Getenv("PATH"), "/usr/sbin"}, ":")
	file := d.dir + "/containerd.toml"
	if err := b.fill(file, "containerd.toml", d.dir); err != nil {
		return nil, err
	}
	log, err := os.Create(d.dir + "/containerd.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.process = exec.Command(d.bin+"/containerd", "--config", file)
	d.process.Env = append(os.Environ(), "PATH="+d.path)
	d.process.Stdout, d.process.Stderr = log, log
	if err := d.process.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := d.ctr(ctx, "version")
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(err, d.close())
		}
	}
}

// close ends it and removes what containerd and runc leave for a namespace.
func (d *daemon) close() error {
	err := d.process.Process.Signal(unix.SIGTERM)
	err = errors.Join(err, d.process.Wait())
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + d.namespace())
	for _, dir := range append(groups, "/sys/fs/cgroup/"+d.namespace(), "/run/containerd/runc/"+d.namespace()) {
		if e := os.Remove(dir); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (d *daemon) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.bin+"/ctr", args...)
	cmd.Env = append(os.Environ(), "CONTAINERD_ADDRESS="+d.dir+"/c", "CONTAINERD_NAMESPACE="+d.namespace())
	return cmd
}

func (d *daemon) ctr(ctx context.Context, args ...string) error {
	if text, err := d.command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr %q: %w\n%s", args, err, text)
	}
	return nil
}

// images imports an image of each kind.
func (d *daemon) images(ctx context.Context, b *bench) error {
	dir := filepath.Join(d.dir, "image")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := b.copy(dir+"/hello.wasm", "hello.wasm"); err != nil {
		return err
	}
	if err := b.fill(dir+"/modules.toml", "modules.toml", []route{{"/hello", "hello.wasm"}}); err != nil {
		return err
	}
	archives := []string{d.dir + "/wagi.tar", d.dir + "/nethttp.tar"}
	build := exec.CommandContext(ctx, filepath.Join(b.out, "wagi"), "image", "build", dir, "-t", kinds()[0].image, "-o", archives[0])
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("wagi image build: %w\n%s", err, text)
	}
	if err := nativeImage(archives[1], kinds()[1].image, b.bin("nethttp")); err != nil {
		return err
	}
	for _, archive := range archives {
		if err := d.ctr(ctx, "image", "import", archive); err != nil {
			return err
		}
	}
	return nil
}

// nativeImage writes an image that has a program and nothing else.
func nativeImage(archive, tag, program string) error {
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	header := &tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(binary))}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if _, err := w.Write(binary); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		return err
	}
	image, err = mutate.AppendLayers(image, static.NewLayer(layer.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		return err
	}
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(archive, reference, image)
}

// start runs a container of the host's network and returns its name and how long its first answer took.
func (d *daemon) start(ctx context.Context, k kind) (id string, took time.Duration, err error) {
	d.next++
	id = strconv.Itoa(d.next)
	address, err := freeAddress()
	if err != nil {
		return id, 0, err
	}
	args := append([]string{"run", "--detach", "--null-io", "--net-host", "--runtime", k.runtime}, k.flags(address)...)
	args = append(append(args, k.image, id), k.args(address)...)
	begun := time.Now()
	if err := d.ctr(ctx, args...); err != nil {
		return id, 0, err
	}
	for {
		body, err := get("http://" + address + "/hello")
		switch took := time.Since(begun); {
		case body == "hello\n":
			return id, took, nil
		case ctx.Err() != nil || took > patience:
			return id, took, fmt.Errorf("container does not answer: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// stop ends and removes a container, after an interrupt too.
func (d *daemon) stop(ctx context.Context, id string) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(d.ctr(ctx, "task", "delete", "--force", id), d.ctr(ctx, "container", "delete", id))
}

func (d *daemon) startAndStop(ctx context.Context, k kind) (time.Duration, error) {
	id, took, err := d.start(ctx, k)
	return took, errors.Join(err, d.stop(ctx, id))
}

// dense runs so many containers at a time and calls look while they all answer.
func (d *daemon) dense(ctx context.Context, k kind, n int, look func() error) (err error) {
	for range n {
		id, _, e := d.start(ctx, k)
		defer func() { err = errors.Join(err, d.stop(ctx, id)) }()
		if e != nil {
			return e
		}
	}
	return look()
}

// memory is the proportional set size of the containers' processes and their shims, in bytes.
func (d *daemon) memory() (float64, error) {
	var sum float64
	dirs, err := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		command, _ := os.ReadFile(dir + "/cmdline") // processes end meanwhile
		groups, _ := os.ReadFile(dir + "/cgroup")
		if !bytes.Contains(command, []byte("\x00-namespace\x00"+d.namespace()+"\x00")) && !bytes.Contains(groups, []byte("/"+d.namespace()+"/")) {
			continue
		}
		rollup, _ := os.ReadFile(dir + "/smaps_rollup")
		_, line, _ := strings.Cut(string(rollup), "\nPss:")
		var kib float64
		if _, err := fmt.Sscan(line, &kib); err != nil {
			return 0, fmt.Errorf("%s/smaps_rollup: %w", dir, err)
		}
		sum += kib * 1024
	}
	return sum, err
}
