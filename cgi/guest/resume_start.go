package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

var (
	errEarlyOutput  = errors.New("prints to its standard output before its resume point, when there is no request to answer")
	errNoPoint      = errors.New("ended before its resume point: it must call wagi.resume or open /dev/wagi/request")
	errStartTimeout = errors.New("did not come to its resume point")
	errTry          = errors.New("is inside of a try block at its resume point")
	errInterpreted  = errors.New("cannot resume on this system, where the engine interprets")
)

// freeze brings a first instance to the resume point. Its state there is that of all guests.
func (m *Module) freeze(ctx context.Context, code *instrument.Module) error {
	if err := m.checkFreezable(code); err != nil {
		return err
	}
	runner, err := m.compileText(ctx, runnerText(m.config.Entrypoint))
	if err != nil {
		return err
	}
	r := &resumption{module: m, runner: runner, idle: newPool()}
	r.idle.keep = 1
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	m.resumption = r
	if err := r.first(ctx); err != nil {
		return err
	}
	r.want(len(r.idle.shards) - 1)
	return nil
}

// checkFreezable says why the module can have no resume point.
func (m *Module) checkFreezable(code *instrument.Module) error {
	reason := code.Reason
	switch {
	case m.recyclable:
	case code.Start != "":
		reason = "has a start function"
	}
	if reason != "" {
		return fmt.Errorf("cannot be put back to its resume point: %s", reason)
	}
	for _, v := range m.config.Volumes {
		if path.Clean(v.Guest) == devicePath {
			return fmt.Errorf("the volume %s is in the place of the gateway's directory", v.Guest)
		}
	}
	if e, ok := errors.AsType[*EntrypointError](m.Check()); ok {
		return fmt.Errorf("entrypoint %q %s", e.Entrypoint, e.Reason)
	}
	return nil
}

// first starts the first instance and makes its state that of all.
func (r *resumption) first(ctx context.Context) error {
	ctx, cancel := r.module.config.startContext(ctx, errStartTimeout)
	defer cancel()
	config := &r.module.config
	g := r.module.newGuest(ctx, &Call{Args: config.StartArgs, Env: NewEnvironment(config.StartEnv...), Stderr: config.StartStderr})
	defer g.close()
	early := &earlyOutput{}
	g.streams[1].writer = early
	g.descriptors = append(g.descriptors, newDevice())
	g.journal = &journal{transcript: &r.transcript}
	i, err := r.start(g)
	if early.written {
		err = errEarlyOutput
	}
	if err == nil {
		err = r.record(g)
	}
	if err != nil {
		i.close()
		return err
	}
	r.put(&r.idle.shards[0], i)
	return nil
}

// earlyOutput is standard output before the resume point.
type earlyOutput struct {
	written bool
}

func (e *earlyOutput) Write([]byte) (int, error) {
	e.written = true
	return 0, errnoIo
}

// repeat starts one more instance, which gets the answers that the first one got.
func (r *resumption) repeat(ctx context.Context) (*instance, error) {
	ctx, cancel := r.module.config.startContext(ctx, errStartTimeout)
	defer cancel()
	g := r.module.newBareGuest(ctx, &Call{})
	defer g.close()
	g.journal = &journal{transcript: &r.transcript, repeats: true}
	i, err := r.start(g)
	if err == nil && !r.state.is(i) {
		err = errDiverged
	}
	if err == nil {
		err = i.settle(&r.state)
	}
	if err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// start runs a guest to the resume point, in a new instance.
func (r *resumption) start(g *guest) (*instance, error) {
	m := r.module
	i, err := m.newInstance()
	if err != nil {
		return i, err
	}
	g.instance, g.phase, g.meter.limit, g.http.outbound = i, starting, 0, nil
	if err = m.instantiate(g, i); err == nil {
		err = r.instantiate(g.ctx, i)
	}
	if err == nil {
		err = r.invoke(g)
	}
	if g.phase != parked {
		return i, g.startError(err)
	}
	if !i.stack.bytes.IsValid() {
		return i, errInterpreted // its calls are Go's, which cannot be entered again
	}
	return i, nil
}

// instantiate gives an instance the module that calls its entrypoint.
func (r *resumption) instantiate(ctx context.Context, i *instance) (err error) {
	ctx = experimental.WithImportResolver(ctx, func(name string) api.Module {
		if name == guestName {
			return i.module
		}
		return nil
	})
	if i.runner, err = r.module.runtime.InstantiateModule(ctx, r.runner, r.module.instance); err != nil {
		i.runner = nil
		return err
	}
	i.function = i.runner.ExportedFunction(runName)
	i.stack = stackOf(i.function)
	return nil
}

// invoke runs the guest in its instance: to the resume point or, where it has been there, from it.
func (r *resumption) invoke(g *guest) error {
	g.stack = g.instance.stack
	return g.instance.function.CallWithStack(experimental.WithSnapshotter(&g.engine), nil)
}

// startError says, by the engine's error, why the guest did not come to its resume point.
func (g *guest) startError(err error) error {
	result := g.result(err)
	switch {
	case g.journal.err != nil:
		return g.journal.err
	case errors.Is(result, errStartTimeout):
		return context.Cause(g.ctx)
	case result == nil:
		return errNoPoint
	}
	return fmt.Errorf("did not come to its resume point: %w", result)
}

// record makes the state of the first guest that of all.
func (r *resumption) record(g *guest) (err error) {
	if r.clock, err = g.now(clockMonotonic); err != nil {
		return err
	}
	if err := r.recordOpen(g); err != nil {
		return err
	}
	i := g.instance
	r.large = i.stack.large()
	var content []byte
	if i.memory != nil {
		content = i.memory.content()
	}
	r.state.least = uint64(len(content))
	for _, global := range i.globals {
		r.state.globals = append(r.state.globals, global.Get())
	}
	if r.state.image, err = newImage(segments(content)); err != nil {
		return err
	}
	return i.settle(&r.state)
}

// is says whether the instance is in the state.
func (s *state) is(i *instance) bool {
	for n, value := range s.globals {
		if i.globals[n].Get() != value {
			return false
		}
	}
	if i.memory == nil {
		return true
	}
	content, image := i.memory.content(), s.image.content
	return uint64(len(content)) == s.least && bytes.Equal(content[:len(image)], image) && len(segments(content[len(image):])) == 0
}

// settle makes the state, which the instance is in, the one that it is put back to.
func (i *instance) settle(s *state) error {
	i.state = s
	if i.memory == nil {
		return nil
	}
	return i.memory.settle(s.image)
}
