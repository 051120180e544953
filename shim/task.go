//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// registerService makes the library's server serve our task service.
func registerService(target func() string, gateway Gateway) {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			runtime.GOMAXPROCS(1) // the library has set 2: each has caches of its own, 0.4 MiB
			publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
			if err != nil {
				return nil, err
			}
			sd, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			compilers, err := newCompilers(target())
			if err != nil {
				return nil, err
			}
			runc, err := task.NewTaskService(ic.Context, publisher.(shim.Publisher), sd.(shutdown.Service))
			if err != nil {
				return nil, err
			}
			wd, err := os.Getwd()
			if err != nil {
				return nil, err
			}
			return &service{
				TTRPCTaskService: runc,
				bundles:          filepath.Dir(wd),
				compilers:        compilers,
				gateway:          gateway,
				settle:           time.AfterFunc(settleDelay, debug.FreeOSMemory),
			}, nil
		},
	})
}

// service is the task service of runc's shim, which sees WAGI containers as containers that run the gateway.
type service struct {
	taskapi.TTRPCTaskService
	bundles   string // directory of all bundles; the one that the shim was started in may be gone before the shim
	compilers *compilers
	gateway   Gateway
	deleting  sync.RWMutex // held for reading while a container is deleted
	settle    *time.Timer  // gives back the memory that starting took
}

// settleDelay is after the last start of a process: the first requests do not wait for the collector.
const settleDelay = time.Second

// Create creates a container. A WAGI container's config.json is rewritten first.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	if err := s.prepare(ctx, r); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	created, err := s.TTRPCTaskService.Create(ctx, r)
	if err != nil {
		s.compilers.close(r.ID)
	}
	return created, err
}

// Start starts a container or, with an ExecID, a process of it.
func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	defer s.settle.Reset(settleDelay)
	return s.TTRPCTaskService.Start(ctx, r)
}

// Delete removes a container or, with an ExecID, a process of it.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	if r.ExecID == "" {
		s.compilers.close(r.ID)
	}
	s.deleting.RLock()
	defer s.deleting.RUnlock()
	return s.TTRPCTaskService.Delete(ctx, r)
}

// Shutdown ends the shim unless it has containers. When two clients delete one at the same time, containerd asks for the
// end after the one that comes too late, and never again: so it waits for the other.
func (s *service) Shutdown(ctx context.Context, r *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.deleting.Lock()
	defer s.deleting.Unlock()
	return s.TTRPCTaskService.Shutdown(ctx, r)
}

func (s *service) prepare(ctx context.Context, r *taskapi.CreateTaskRequest) error {
	b, err := openBundle(r.Bundle)
	if err != nil {
		return err
	}
	opts, err := runcOptions(r.Options)
	if err != nil {
		return err
	}
	opts.SystemdCgroup = opts.SystemdCgroup || usesSystemd(b.spec.Linux)
	if err := findRuntime(opts.BinaryName); err != nil {
		return err
	}
	if r.Options, err = marshalOptions(opts); err != nil {
		return err
	}
	kind, err := b.classify(ctx, r.Rootfs)
	if err != nil {
		return fmt.Errorf("container %q: %w", r.ID, err)
	}
	if r.Stdout, r.Stderr, err = separate(r.Stdout, r.Stderr); err != nil {
		return err
	}
	if kind == plain {
		return nil
	}
	compiler, err := s.compilers.open(r.ID, b.path)
	if err != nil {
		return err
	}
	program, err := s.gateway.path(ctx, cacheDirectory())
	if err == nil {
		err = b.rewrite(kind, program, compiler)
	}
	if err != nil {
		s.compilers.close(r.ID)
	}
	return err
}

// Exec adds a process to a container. In a WAGI container "wagi" and WebAssembly files are run by the gateway binary.
func (s *service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	b, err := openBundle(filepath.Join(s.bundles, r.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return s.TTRPCTaskService.Exec(ctx, r) // which says that there is no such container
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := b.rewriteExec(r.Spec); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("exec %q: %w", r.ExecID, err))
	}
	if r.Stdout, r.Stderr, err = separate(r.Stdout, r.Stderr); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("exec %q: %w", r.ExecID, err))
	}
	return s.TTRPCTaskService.Exec(ctx, r)
}

// RegisterTTRPC serves the task API as version 2 and as version 3: they are the same on the wire but for the
// package's name. containerd 1.6 to 2.2 call version 2, later ones version 3.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	methods := map[string]ttrpc.Method{
		"State":      method(s.State),
		"Create":     method(s.Create),
		"Start":      method(s.Start),
		"Delete":     method(s.Delete),
		"Pids":       method(s.Pids),
		"Pause":      method(s.Pause),
		"Resume":     method(s.Resume),
		"Checkpoint": method(s.Checkpoint),
		"Kill":       method(s.Kill),
		"Exec":       method(s.Exec),
		"ResizePty":  method(s.ResizePty),
		"CloseIO":    method(s.CloseIO),
		"Update":     method(s.Update),
		"Wait":       method(s.Wait),
		"Stats":      method(s.Stats),
		"Connect":    method(s.Connect),
		"Shutdown":   method(s.Shutdown),
	}
	for _, name := range []string{"containerd.task.v2.Task", "containerd.task.v3.Task"} {
		server.RegisterService(name, &ttrpc.ServiceDesc{Methods: methods})
	}
	return nil
}

func method[Request, Response any](call func(context.Context, *Request) (*Response, error)) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		var r Request
		if err := unmarshal(&r); err != nil {
			return nil, err
		}
		return call(ctx, &r)
	}
}
