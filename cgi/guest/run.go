package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// guest is one run of a module, as its system calls see it.
type guest struct {
	ctx         context.Context
	call        *Call
	start       time.Time
	volumes     []*volume
	descriptors []*descriptor // by number; nil: free
	memory      api.Memory    // set for each system call
	exit        *ExitError    // nil: proc_exit was not called
	http        httpSession
}

// guestKey is the key of a context under which system calls find their guest.
type guestKey struct{}

func (m *Module) newGuest(ctx context.Context, call *Call) *guest {
	g := &guest{ctx: ctx, call: call, start: time.Now(), http: httpSession{outbound: m.outbound}}
	stdin, stdout, stderr := call.Stdin, call.Stdout, call.Stderr
	if stdin == nil {
		stdin = bytes.NewReader(nil)
	}
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	g.descriptors = []*descriptor{{reader: stdin}, {writer: stdout}, {writer: stderr}}
	if !call.NoVolumes {
		g.openVolumes(m)
	}
	return g
}

// instanceConfig is the engine's part of a guest, the same for all: what differs is in the context.
func instanceConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().
		WithName("").               // a named module could run only once at a time
		WithStartFunctions().       // run calls the entrypoint
		WithRandSource(rand.Reader) // unused, but the default is seeded anew for each instance
}

// run makes an instance, which runs its start function if it has one, and calls the entrypoint.
func (g *guest) run(m *Module, entrypoint string) error {
	ctx := context.WithValue(g.ctx, guestKey{}, g)
	instance, err := m.runtime.InstantiateModule(ctx, m.compiled, m.instance)
	if err != nil {
		return err
	}
	defer instance.Close(ctx)
	_, err = instance.ExportedFunction(entrypoint).Call(ctx)
	return err
}

// result says how the guest ended, by the engine's error. The engine ends it by one of two means for many reasons.
func (g *guest) result(err error) error {
	switch {
	case err == nil:
		return nil
	case g.exit != nil && g.exit.Code == 0:
		return nil
	case g.exit != nil:
		return g.exit
	case g.ctx.Err() != nil:
		return stopped(g.ctx)
	}
	return newTrapError(err)
}

// close ends what the guest has left open.
func (g *guest) close() {
	for _, d := range g.descriptors {
		if d != nil {
			d.close()
		}
	}
	for _, v := range g.volumes {
		v.root.Close()
	}
	g.http.close()
}
