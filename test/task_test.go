//go:build linux

package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"containerd-shim-wagi-v1/test/machine"
)

func TestTask(t *testing.T) {
	for _, by := range callers {
		t.Run(by.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, by, "/modules.toml")
			if err := c.start(nil); err != nil {
				t.Fatal(err)
			}
			if err := c.create(nil); err != nil {
				t.Fatal(err)
			}
			c.state(t, task.Status_CREATED)
			var started taskapi.StartResponse
			c.must(t, "Start", &taskapi.StartRequest{ID: c.id}, &started)
			browser(network(int(started.Pid))).Want(t, home, "hello\n")
			c.exec(t)
			c.update(t)
			c.must(t, "Pause", &taskapi.PauseRequest{ID: c.id}, &emptypb.Empty{})
			c.state(t, task.Status_PAUSED)
			c.must(t, "Resume", &taskapi.ResumeRequest{ID: c.id}, &emptypb.Empty{})
			c.state(t, task.Status_RUNNING)
			c.must(t, "Kill", &taskapi.KillRequest{ID: c.id, Signal: 15}, &emptypb.Empty{})
			if got := c.wait(t, ""); got != 0 {
				t.Errorf("exit status %d after SIGTERM, want 0", got)
			}
			c.state(t, task.Status_STOPPED)
			events := []string{"create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit"}
			c.published(t, events...)
			var deleted taskapi.DeleteResponse
			c.must(t, "Delete", &taskapi.DeleteRequest{ID: c.id}, &deleted)
			if deleted.Pid != started.Pid || deleted.ExitStatus != 0 || deleted.ExitedAt == nil {
				t.Errorf("Delete: %v", &deleted)
			}
			c.published(t, append(events, "delete")...)
		})
	}
}

func (c *client) state(t *testing.T, want task.Status) {
	t.Helper()
	var r taskapi.StateResponse
	c.must(t, "State", &taskapi.StateRequest{ID: c.id}, &r)
	if r.Status != want {
		t.Errorf("task is %v, want %v", r.Status, want)
	}
}

// exec runs a process in the container, which logs into a file.
func (c *client) exec(t *testing.T) {
	t.Helper()
	log := c.dir + "/exec.log"
	c.must(t, "Exec", &taskapi.ExecProcessRequest{
		ID:     c.id,
		ExecID: "e",
		Spec:   encode(t, "Process", &specs.Process{Args: []string{"/native", "exit", "5"}, Cwd: "/"}),
		Stdout: "file://" + log,
		Stderr: "file://" + log,
	}, &emptypb.Empty{})
	c.must(t, "Start", &taskapi.StartRequest{ID: c.id, ExecID: "e"}, &taskapi.StartResponse{})
	if got := c.wait(t, "e"); got != 5 {
		t.Errorf("exec: exit status %d, want 5", got)
	}
	c.must(t, "Delete", &taskapi.DeleteRequest{ID: c.id, ExecID: "e"}, &taskapi.DeleteResponse{})
	if text, _ := os.ReadFile(log); !strings.Contains(string(text), "out:") {
		t.Errorf("exec printed %q", text)
	}
}

// update gives the container another memory limit.
func (c *client) update(t *testing.T) {
	t.Helper()
	limit := int64(200 << 20)
	resources := encode(t, "LinuxResources", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})
	c.must(t, "Update", &taskapi.UpdateTaskRequest{ID: c.id, Resources: resources}, &emptypb.Empty{})
	v1, _ := os.ReadFile("/sys/fs/cgroup/memory/" + c.ns + "/" + c.id + "/memory.limit_in_bytes")
	v2, _ := os.ReadFile("/sys/fs/cgroup/" + c.ns + "/" + c.id + "/memory.max")
	if got, want := string(append(v1, v2...)), fmt.Sprintln(limit); got != want {
		t.Errorf("memory limit %q, want %q", got, want)
	}
}

// encode packs a type of the OCI runtime specification as containerd does.
func encode(t *testing.T, name string, v any) *anypb.Any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/" + name, Value: text}
}

// published waits for the events on the task.
func (c *client) published(t *testing.T, want ...string) {
	t.Helper()
	machine.Await(t, func() error {
		if got := c.events(); !slices.Equal(got, want) {
			return fmt.Errorf("got events %q, want %q", got, want)
		}
		return nil
	})
}

// pack packs a message as clients of containerd do: its type without a host.
func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	text, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: text}
}

// body is how CRI sends the options table of a runtime that is not runc.
func body(format string, args ...any) *runtimeoptions.Options {
	return &runtimeoptions.Options{TypeUrl: "runtimeoptions.v1.Options", ConfigBody: fmt.Appendf(nil, format, args...)}
}

// file is how ctr sends a file of options.
func file(t *testing.T, format string, args ...any) *runtimeoptions.Options {
	t.Helper()
	path := t.TempDir() + "/options.toml"
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return &runtimeoptions.Options{ConfigPath: path}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		name    string
		options func(root string) proto.Message // root is the folder that runc shall keep its state in
		fault   string                          // what the error names; empty if the container runs
	}{
		{"runc's", func(root string) proto.Message { return &runcoptions.Options{Root: root} }, ""},
		{"CRI's body", func(root string) proto.Message { return body("Root = %q\nSystemdCgroup = false", root) }, ""},
		{"CRI's file", func(root string) proto.Message { return file(t, "Root = %q\nNoNewKeyring = true", root) }, ""},
		{"BinaryName is ours", func(root string) proto.Message {
			return body("Root = %q\nBinaryName = %q", root, machine.Out("containerd-shim-wagi-v1"))
		}, ""},
		{"BinaryName is runc", func(root string) proto.Message { return body("Root = %q\nBinaryName = \"runc\"", root) }, ""},
		{"BinaryName is nobody", func(string) proto.Message { return body("BinaryName = \"nobody\"") }, "nobody"},
		{"unknown key", func(string) proto.Message { return body("Root = \"/r\"\nSandwich = 1") }, `:2:1: unknown option "Sandwich"`},
		{"wrong type", func(string) proto.Message { return body("SystemdCgroup = \"yes\"") }, "SystemdCgroup"},
		{"not TOML", func(string) proto.Message { return file(t, "Root") }, "options.toml:1:"},
		{"no file", func(string) proto.Message { return &runtimeoptions.Options{ConfigPath: "/nothing"} }, "/nothing"},
		{"another message", func(string) proto.Message { return &taskapi.ConnectRequest{} }, "containerd.task.v3.ConnectRequest"},
		{"CRI's without content", func(string) proto.Message { return body("") }, ""},
	}
	for _, by := range callers {
		for _, test := range tests {
			t.Run(by.name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				c := newClient(t, by, "/native", "pause")
				options := pack(t, test.options(c.dir+"/runc"))
				err := c.start(options)
				if err == nil {
					err = c.create(options)
				}
				if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
					t.Errorf("got error %v, want %q", err, test.fault)
				}
				asked := bytes.Contains(options.Value, []byte(c.dir))
				if _, err := os.Stat(c.dir + "/runc/" + c.ns + "/" + c.id); asked && err != nil {
					t.Errorf("runc does not use the folder of the option Root: %v", err)
				}
			})
		}
	}
}

// The shim tells about itself whatever the options are.
func TestInfo(t *testing.T) {
	requireShim(t)
	for name, options := range map[string]*anypb.Any{
		"none":   nil,
		"runc's": pack(t, &runcoptions.Options{BinaryName: "runc"}),
		"CRI's":  pack(t, body("BinaryName = \"runc\"")),
	} {
		stdin, err := proto.Marshal(options)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(machine.Out("containerd-shim-wagi-v1"), "-info")
		cmd.Stdin = bytes.NewReader(stdin)
		stdout, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var info types.RuntimeInfo
		if err := proto.Unmarshal(stdout, &info); err != nil || info.Name != wagi || info.Features == nil {
			t.Errorf("%s: got %v, %v", name, &info, err)
		}
	}
}

func TestVersion(t *testing.T) {
	requireShim(t)
	text, err := exec.Command(machine.Out("containerd-shim-wagi-v1"), "-v").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"commit ", "go1.", "wazero v"} {
		if !strings.Contains(string(text), word) {
			t.Errorf("%q is not in\n%s", word, text)
		}
	}
}
