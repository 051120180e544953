package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
)

// findInitializers finds the functions that are called, in this order, before any guest begins: that of a reactor, and
// those of Wizer's convention. They see no arguments, environment, volumes or input.
func (m *Module) findInitializers() (names []string) {
	for _, name := range []string{"_initialize", "wizer-initialize", "wizer.initialize"} {
		if name != m.config.Entrypoint && m.check(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

var errInitTimeout = errors.New("did not return")

// startContext is a context for what runs before the first guest. When that takes too long the cause is late, and how long that is.
func (c *Config) startContext(ctx context.Context, late error) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.StartTimeout, fmt.Errorf("%w within %v", late, c.StartTimeout))
}

// newInitialized makes an instance, with its start function, and calls the initializers. Its error says which of it failed.
func (m *Module) newInitialized(ctx context.Context) (*instance, error) {
	ctx, cancel := m.config.startContext(ctx, errInitTimeout)
	defer cancel()
	g := m.newGuest(ctx, &Call{NoVolumes: true})
	defer g.close()
	i, err := m.newInstance()
	if err != nil {
		return nil, err
	}
	if err = g.result(m.instantiate(g, i)); err != nil {
		err = fmt.Errorf("does not instantiate: %w", err)
	} else {
		g.meter.wait() // initializing takes a turn of its own
		err = m.initialize(ctx, i)
	}
	if err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// initialize calls the initializers. Their time is not the guest's, but they have StartTimeout.
func (m *Module) initialize(ctx context.Context, i *instance) error {
	ctx, cancel := m.config.startContext(ctx, errInitTimeout)
	defer cancel()
	g := m.newGuest(ctx, &Call{NoVolumes: true})
	defer g.close()
	g.meter.limit = 0
	g.instance = i
	for _, name := range m.initializers {
		f := i.module.ExportedFunction(name)
		err := g.result(g.invoke(f, stackOf(f)))
		if err == nil && g.exit != nil {
			err = errors.New("guest exited")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// initializeEach calls the initializers for a guest whose module cannot be put back to the state after them.
func (m *Module) initializeEach(g *guest, i *instance) error {
	if m.recyclable {
		return nil
	}
	g.meter.wait()
	defer g.meter.restart()
	return m.initialize(g.ctx, i)
}

// snapshot makes the state of an instance the initial one, and closes the instance.
func (m *Module) snapshot(i *instance) error {
	defer i.close()
	if i.memory == nil {
		return nil
	}
	content := i.memory.content()
	image, err := newImage(segments(content))
	if err != nil {
		return err
	}
	m.image.close()
	m.image, m.least = image, uint64(len(content))
	return nil
}

// segments are the parts of a memory that are not zero.
func segments(content []byte) (list []instrument.Segment) {
	const part = 4 << 10
	var zero [part]byte
	for at := 0; at < len(content); at += part {
		if b := content[at : at+part]; !bytes.Equal(b, zero[:]) {
			list = append(list, instrument.Segment{Offset: uint32(at), Bytes: b})
		}
	}
	return list
}
