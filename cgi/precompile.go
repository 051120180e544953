package cgi

import (
	"context"
	"fmt"
	"sync"

	"containerd-shim-wagi-v1/cgi/codecache"
	"containerd-shim-wagi-v1/cgi/guest"
)

// Precompile compiles the modules that a configuration names into its CompileCache, some at a time, and returns how many they are.
// What is there is not compiled again. The error names a module.
func (c *Config) Precompile(ctx context.Context) (modules int, err error) {
	var wait sync.WaitGroup
	seen := map[string]bool{}
	errs := make([]error, len(c.Modules))
	free := make(chan struct{}, guest.Compilers())
	for i, m := range c.Modules {
		if seen[m.Module] {
			continue
		}
		seen[m.Module] = true
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			errs[i] = c.precompile(ctx, m)
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return len(seen), nil
}

func (c *Config) precompile(ctx context.Context, m Module) error {
	binary, err := c.readModule(ctx, m.Module)
	if err == nil {
		_, err = guest.Inspect(binary, guest.Config{Name: m.Module, Memory: m.or(c.Limits).or(defaultLimits).memory()})
	}
	if err == nil {
		if err = guest.Precompile(ctx, binary, codecache.Cache{Dir: c.CompileCache}, c.TempDir); err != nil {
			err = fmt.Errorf("module %q: %w", m.Module, err)
		}
	}
	if err != nil && m.Position != "" {
		err = fmt.Errorf("%s: %w", m.Position, err)
	}
	return err
}
