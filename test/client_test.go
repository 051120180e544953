//go:build linux

package test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/ttrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"containerd-shim-wagi-v1/test/machine"
)

// A caller is how one generation of containerd starts a shim and talks to it.
type caller struct {
	name    string
	service string
	// stdin is what the start command reads.
	stdin func(c *client, options *anypb.Any) ([]byte, error)
	// address takes the socket out of what the start command prints.
	address func(stdout []byte) (string, error)
}

var callers = []caller{
	{
		name:    "containerd 1.6 to 2.2",
		service: "containerd.task.v2.Task",
		stdin: func(_ *client, options *anypb.Any) ([]byte, error) {
			if options == nil {
				return nil, nil
			}
			return proto.Marshal(options)
		},
		address: func(stdout []byte) (string, error) { return string(stdout), nil },
	},
	{
		name:    "containerd 2.3 and later",
		service: "containerd.task.v3.Task",
		stdin: func(c *client, options *anypb.Any) ([]byte, error) {
			params := &bootapi.BootstrapParams{
				InstanceID: c.id, Namespace: c.ns, LogLevel: bootapi.LogLevel_LOG_LEVEL_INFO, ContainerdVersion: "2.4.2",
				ContainerdGrpcAddress: c.grpc(), ContainerdTtrpcAddress: c.ttrpc(), SocketDir: proto.String(c.dir + "/s"),
			}
			if options != nil {
				if err := params.AddExtension(options); err != nil {
					return nil, err
				}
			}
			return proto.Marshal(params)
		},
		address: func(stdout []byte) (string, error) {
			var answer bootapi.BootstrapResult
			if err := proto.Unmarshal(stdout, &answer); err != nil {
				return "", err
			}
			if answer.Version != 3 || answer.Protocol != "ttrpc" {
				return "", fmt.Errorf("answer %v", &answer)
			}
			return answer.Address, nil
		},
	},
}

// A client is all of containerd that a shim sees: the one who calls it and takes its events.
type client struct {
	workspace
	caller
	id     string
	shim   *ttrpc.Client
	mu     sync.Mutex
	topics []string // of the events; guarded by mu
}

func (c *client) grpc() string   { return c.dir + "/c" }
func (c *client) ttrpc() string  { return c.dir + "/c.ttrpc" }
func (c *client) bundle() string { return c.dir + "/tasks/" + c.id }

// Forward takes an event. It is containerd's end of the wire.
func (c *client) Forward(_ context.Context, r *eventsapi.ForwardRequest) (*emptypb.Empty, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.topics = append(c.topics, strings.TrimPrefix(r.Envelope.Topic, "/tasks/"))
	return &emptypb.Empty{}, nil
}

func (c *client) events() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.topics)
}

// newClient makes a bundle whose command is args. No trace of the container may be left at the end of the test.
func newClient(t *testing.T, by caller, args ...string) *client {
	t.Helper()
	requireShim(t)
	c := &client{workspace: newWorkspace(t), caller: by, id: "task"}
	c.listen(t)
	c.makeBundle(t, args)
	c.takeLog(t)
	t.Cleanup(func() { c.close(t) })
	return c
}

// start starts a shim for the bundle and connects to it.
func (c *client) start(options *anypb.Any) error {
	stdin, err := c.stdin(c, options)
	if err != nil {
		return err
	}
	stdout, err := c.run(stdin, "start")
	if err != nil {
		return err
	}
	address, err := c.address(stdout)
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		return err
	}
	c.shim = ttrpc.NewClient(conn)
	return nil
}

// close ends the container, if there is one, and the shim, and calls delete as containerd does for a dead shim.
func (c *client) close(t *testing.T) {
	if c.shim != nil {
		c.call("Kill", &taskapi.KillRequest{ID: c.id, Signal: 9, All: true}, &emptypb.Empty{})
		c.call("Wait", &taskapi.WaitRequest{ID: c.id}, &taskapi.WaitResponse{})
		c.call("Delete", &taskapi.DeleteRequest{ID: c.id}, &taskapi.DeleteResponse{})
		c.call("Shutdown", &taskapi.ShutdownRequest{ID: c.id}, &emptypb.Empty{})
		c.shim.Close()
	}
	if _, err := c.run(nil, "-bundle", c.bundle(), "delete"); err != nil {
		t.Error(err)
	}
	if err := machine.Within(machine.Patience, c.clean); err != nil {
		t.Error(err)
	}
}

// listen serves the endpoint for events until the end of the test.
func (c *client) listen(t *testing.T) {
	t.Helper()
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	eventsapi.RegisterTTRPCEventsService(server, c)
	l, err := net.Listen("unix", c.ttrpc())
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(context.Background(), l)
	t.Cleanup(func() { server.Close() })
}

// takeLog reads what the shim logs until the end of the test, and shows its faults if that fails.
func (c *client) takeLog(t *testing.T) {
	t.Helper()
	path := c.bundle() + "/log"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(&log, fifo)
	}()
	t.Cleanup(func() {
		fifo.Close()
		<-done
		if t.Failed() {
			machine.ShowFaults("the shim", log.String())
		}
	})
}

// makeBundle unpacks the test image and has runc write a configuration for it.
func (c *client) makeBundle(t *testing.T, args []string) {
	t.Helper()
	if err := unpack(c.bundle() + "/rootfs"); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("runc", "spec", "--bundle", c.bundle()).CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v\n%s", err, text)
	}
	path := c.bundle() + "/config.json"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	spec.Process.Args, spec.Process.Terminal = args, false
	spec.Linux.CgroupsPath = "/" + c.ns + "/" + c.id
	if text, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// unpack writes the files of the test image.
func unpack(dir string) error {
	text, err := files()
	if err != nil {
		return err
	}
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var file []byte
			if file, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, file, h.FileInfo().Mode())
			}
		}
		if err != nil {
			return err
		}
	}
}

// run runs the shim's command with the flags and variables that every containerd gives it.
func (c *client) run(stdin []byte, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), machine.Patience)
	defer cancel()
	flags := []string{"-namespace", c.ns, "-address", c.grpc(), "-publish-binary", "/usr/bin/containerd", "-id", c.id}
	cmd := exec.CommandContext(ctx, machine.Out("containerd-shim-wagi-v1"), append(flags, args...)...)
	cmd.Dir = c.bundle()
	cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+c.ttrpc(), "GRPC_ADDRESS="+c.grpc(), "NAMESPACE="+c.ns, "MAX_SHIM_VERSION=2", "TMPDIR="+c.temp(), "WAGI_CODE_CACHE="+c.code())
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%q: %w\n%s%s", args, err, &stdout, &stderr)
	}
	if args[0] == "start" && stderr.Len() > 0 {
		return nil, fmt.Errorf("start writes on standard error, which its callers take for the answer: %q", &stderr)
	}
	return stdout.Bytes(), nil
}

// call calls a method of the task API.
func (c *client) call(method string, request, response any) error {
	ctx, cancel := context.WithTimeout(context.Background(), machine.Patience)
	defer cancel()
	return c.shim.Call(ctx, c.service, method, request, response)
}

// must calls a method that must succeed.
func (c *client) must(t *testing.T, method string, request, response any) {
	t.Helper()
	if err := c.call(method, request, response); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
}

func (c *client) create(options *anypb.Any) error {
	return c.call("Create", &taskapi.CreateTaskRequest{ID: c.id, Bundle: c.bundle(), Options: options}, &taskapi.CreateTaskResponse{})
}

// wait is the exit status of the container, or of the process exec in it.
func (c *client) wait(t *testing.T, exec string) uint32 {
	t.Helper()
	var r taskapi.WaitResponse
	c.must(t, "Wait", &taskapi.WaitRequest{ID: c.id, ExecID: exec}, &r)
	return r.ExitStatus
}
