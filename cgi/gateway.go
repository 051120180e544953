// Package cgi is an RFC 3875 gateway whose scripts are WebAssembly modules, in the dialect of WAGI.
//
// A [Gateway] is an [http.Handler]. A request becomes the environment, the arguments and the standard input of a guest,
// a fresh instance of the module that its path selects; what the guest prints becomes the response.
package cgi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"containerd-shim-wagi-v1/cgi/guest"
)

// Gateway serves the modules of a Config. Its methods may be called at the same time.
type Gateway struct {
	config   Config
	compiler compiler
	modules  []*module
	routes   []*route
	draining atomic.Bool
}

// New reads and compiles all modules and asks them for their routes. Its error names the module and where it is configured.
// The caller closes the gateway. ctx is for New alone.
func New(ctx context.Context, cfg Config) (*Gateway, error) {
	return newGateway(ctx, cfg, nil)
}

// newGateway is New that takes from shared what is compiled already.
func newGateway(ctx context.Context, cfg Config, shared map[content]*code) (*Gateway, error) {
	if cfg.HealthPath == "" {
		cfg.HealthPath = "/healthz"
	}
	if cfg.ReadyPath == "" {
		cfg.ReadyPath = "/readyz"
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = defaultBodyTimeout
	}
	g := &Gateway{config: cfg, modules: make([]*module, len(cfg.Modules))}
	g.compiler.shared = shared
	g.compiler.compiled = map[string]func() (*code, error){}
	if err := g.load(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// load compiles the modules, some at a time.
func (g *Gateway) load(ctx context.Context) error {
	errs := make([]error, len(g.modules))
	routes := make([][]*route, len(g.modules))
	var wait sync.WaitGroup
	free := make(chan struct{}, guest.Compilers())
	for i, configured := range g.config.Modules {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			g.modules[i], routes[i], errs[i] = g.loadModule(ctx, configured)
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err // one at a time: the first in the file
		}
	}
	g.routes = slices.Concat(routes...)
	g.compiler.shared = nil
	for _, r := range g.routes {
		r.metrics = g.config.Metrics.route(r.text)
	}
	return nil
}

func (g *Gateway) loadModule(ctx context.Context, configured Module) (*module, []*route, error) {
	m, err := newModule(ctx, &g.compiler, &g.config, configured)
	var routes []*route
	if err == nil {
		routes, err = m.routes(ctx)
	}
	if err != nil && configured.Position != "" {
		err = fmt.Errorf("%s: route %q: %w", configured.Position, configured.Route, err)
	} else if err != nil {
		err = fmt.Errorf("route %q: %w", configured.Route, err)
	}
	return m, routes, err
}

// Close frees the modules. The server must have ended all requests: cancelling their contexts stops the guests.
func (g *Gateway) Close() error {
	for _, r := range g.routes {
		g.config.Metrics.release(r.text)
	}
	return g.compiler.close()
}

// Drain makes the gateway report that it is not ready. It goes on serving.
func (g *Gateway) Drain() {
	g.draining.Store(true)
}

// Routes is the routing table: the first route that matches serves. The paths for health come before it.
func (g *Gateway) Routes() []Route {
	routes := make([]Route, len(g.routes))
	for i, r := range g.routes {
		routes[i] = Route{Route: r.text, Module: r.module.Module.Module, Entrypoint: r.entrypoint, Position: r.module.Position}
	}
	return routes
}

// Warnings says what in the configuration is odd, one sentence each: what LoadConfig found, routes that can never match,
// entrypoints that cannot be called, volumes without a directory.
func (g *Gateway) Warnings() []string {
	warnings := slices.Clone(g.config.Warnings)
	for i, r := range g.routes {
		for _, earlier := range g.routes[:i] {
			if earlier.hides(r) {
				warnings = append(warnings, fmt.Sprintf("%s: route %q can never match: %q comes first", r.module.Position, r.text, earlier.text))
				break
			}
		}
	}
	for _, m := range g.modules {
		if err := m.code.Check(); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: %v", m.Position, err))
		}
		for _, v := range m.Volumes {
			if info, err := os.Stat(v.Host); err != nil || !info.IsDir() {
				warnings = append(warnings, fmt.Sprintf("%s: volume %q: %s is no directory", m.Position, v.Guest, v.Host))
			}
		}
	}
	return warnings
}

// match selects the script for a raw path, RFC 3875 §3.2. It returns nil if there is none.
func (g *Gateway) match(path string) (rt *route, pathInfo string) {
	if path == "" {
		return nil, ""
	}
	for _, rt := range g.routes {
		if pathInfo, ok := rt.match(path); ok {
			return rt, pathInfo
		}
	}
	return nil, ""
}

// ServeHTTP runs a guest for the request. When one fails whose response has begun, ServeHTTP breaks the connection off
// in the way of net/http: it panics with [http.ErrAbortHandler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if ambiguous(r) {
		w.Header().Set("Connection", "close")
	}
	x := newExchange(g, w, r)
	err := x.serve()
	if err != nil && !x.sent {
		x.fail(statusOf(err))
	}
	x.done(err)
	if err != nil && x.sent {
		panic(http.ErrAbortHandler)
	}
	x.linger()
}
