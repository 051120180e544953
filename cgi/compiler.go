package cgi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/guest"
)

// code is a compiled module. Gateways that follow each other share it.
type code struct {
	*guest.Module
	content content
	users   atomic.Int64 // gateways that have it; it is closed at 0
}

// content tells modules apart that are compiled differently.
type content struct {
	sum    [sha256.Size]byte // of the binary
	config string            // its guest.Config
}

func (c *code) release() error {
	if c.users.Add(-1) > 0 {
		return nil
	}
	return c.Close(context.Background())
}

// compiler compiles each module of a gateway once, however many routes it serves.
type compiler struct {
	shared   map[content]*code // what the gateway before has compiled, while the modules are loaded
	fresh    atomic.Int64      // number of modules compiled
	mu       sync.Mutex
	compiled map[string]func() (*code, error) // guarded by mu
}

func (c *compiler) compile(ctx context.Context, read func() ([]byte, error), cfg guest.Config) (*code, error) {
	key := fmt.Sprintf("%+v", cfg)
	c.mu.Lock()
	compiled, ok := c.compiled[key]
	if !ok {
		compiled = sync.OnceValues(func() (*code, error) {
			binary, err := read()
			if err != nil {
				return nil, err
			}
			return c.compileBinary(ctx, binary, cfg, content{sha256.Sum256(binary), key})
		})
		c.compiled[key] = compiled
	}
	c.mu.Unlock()
	return compiled()
}

func (c *compiler) compileBinary(ctx context.Context, binary []byte, cfg guest.Config, content content) (*code, error) {
	shared, ok := c.shared[content]
	if !ok || cfg.Resume { // what a module has read before its resume point may have changed
		compiled, err := compileModule(ctx, binary, cfg)
		if err != nil {
			return nil, err
		}
		shared = &code{Module: compiled, content: content}
		c.fresh.Add(1)
	}
	shared.users.Add(1)
	return shared, nil
}

// compileModule compiles a module. What it prints on its standard error before its resume point goes to the log.
func compileModule(ctx context.Context, binary []byte, cfg guest.Config) (*guest.Module, error) {
	diagnostics := newStderr(func() *log.Entry { return log.G(ctx).WithField("module", cfg.Name) }, "")
	defer diagnostics.close()
	cfg.StartStderr = diagnostics
	return guest.Compile(ctx, binary, cfg)
}

// byContent is what the compiler has compiled.
func (c *compiler) byContent() map[content]*code {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[content]*code, len(c.compiled))
	for _, compiled := range c.compiled {
		if code, err := compiled(); err == nil {
			all[code.content] = code
		}
	}
	return all
}

// close gives up what was compiled.
func (c *compiler) close() error {
	var errs []error
	for _, code := range c.byContent() {
		errs = append(errs, code.release())
	}
	return errors.Join(errs...)
}
