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
	table    atomic.Pointer[table]   // of modules that are not ready, only the routes in the configuration
	loaded   chan struct{}           // closed when nothing is loaded any more
	ready    atomic.Bool             // all modules are
	loading  context.Context         // ends when one cannot be loaded, with its error as the cause, or when no further one is to be
	stop     context.CancelCauseFunc // of loading
	draining atomic.Bool
	mu       sync.Mutex // held while table is replaced
}

// New reads and compiles all modules and asks them for their routes. Its error names the module and where it is configured.
// The caller closes the gateway. ctx is for New alone.
func New(ctx context.Context, cfg Config) (*Gateway, error) {
	return newGateway(ctx, cfg, nil)
}

// newGateway is New that takes from shared what is compiled already.
func newGateway(ctx context.Context, cfg Config, shared map[content]*code) (*Gateway, error) {
	g, err := startGateway(ctx, cfg, shared)
	if err != nil {
		return nil, err
	}
	if err := g.wait(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// startGateway finds what is quickly found to be wrong with the modules and goes on in the background, see wait, for as long as ctx lasts.
func startGateway(ctx context.Context, cfg Config, shared map[content]*code) (*Gateway, error) {
	if cfg.HealthPath == "" {
		cfg.HealthPath = "/healthz"
	}
	if cfg.ReadyPath == "" {
		cfg.ReadyPath = "/readyz"
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = defaultBodyTimeout
	}
	g := &Gateway{config: cfg, loaded: make(chan struct{})}
	g.compiler.shared = shared
	g.compiler.compiled = map[string]func() (*code, error){}
	endSaving := guest.SaveMemory()
	for _, configured := range cfg.Modules {
		m, err := newModule(&g.config, configured)
		if err == nil {
			err = m.inspect(&g.config)
		}
		if err != nil {
			endSaving()
			return nil, configured.fault(err)
		}
		g.modules = append(g.modules, m)
	}
	g.loading, g.stop = context.WithCancelCause(ctx)
	for _, m := range g.modules {
		m.own.metrics = cfg.Metrics.route(m.own.text)
	}
	g.publish()
	go func() {
		defer close(g.loaded)
		defer endSaving()
		g.load()
	}()
	return g, nil
}

// fault is an error of the module, with where it is configured.
func (m *Module) fault(err error) error {
	err = fmt.Errorf("route %q: %w", m.Route, err)
	if m.Position != "" {
		return fmt.Errorf("%s: %w", m.Position, err)
	}
	return err
}

// load makes the modules ready, some at a time. It begins none after one that failed.
func (g *Gateway) load() {
	var wait sync.WaitGroup
	free := make(chan struct{}, guest.Compilers())
	for _, m := range g.modules {
		free <- struct{}{}
		if g.loading.Err() != nil {
			break
		}
		wait.Go(func() {
			defer func() { <-free }()
			g.loadModule(m)
		})
	}
	wait.Wait()
	g.compiler.shared = nil
	g.ready.Store(g.loading.Err() == nil)
}

func (g *Gateway) loadModule(m *module) {
	defer close(m.loaded)
	if err := m.load(g.loading, &g.compiler, &g.config); err != nil {
		m.err = m.fault(err)
		g.stop(m.err)
		return
	}
	for _, r := range m.dynamic {
		r.metrics = g.config.Metrics.route(r.text)
	}
	m.ready.Store(true)
	g.publish()
}

// publish makes the table of the routes that are known: those that a module itself names come before its own.
func (g *Gateway) publish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	var routes []*route
	for _, m := range g.modules {
		if m.ready.Load() {
			routes = append(routes, m.dynamic...)
		}
		routes = append(routes, m.own)
	}
	g.table.Store(newTable(routes))
}

// wait waits until all modules are ready, or until one cannot be: it does not wait for the others then.
func (g *Gateway) wait() error {
	select {
	case <-g.loaded:
	case <-g.loading.Done():
	}
	if g.ready.Load() {
		return nil
	}
	return context.Cause(g.loading)
}

// Close frees the modules. The server must have ended all requests: cancelling their contexts stops the guests. A module that is just
// being compiled is waited for.
func (g *Gateway) Close() error {
	g.stop(nil)
	<-g.loaded
	for _, r := range g.table.Load().routes {
		g.config.Metrics.release(r.text)
	}
	return g.compiler.close()
}

// Drain makes the gateway report that it is not ready, and end each connection with its next response, so that clients do not send
// requests when the server closes them. It goes on serving.
func (g *Gateway) Drain() {
	g.draining.Store(true)
}

// Routes is the routing table: the first route that matches serves. The paths for health come before it.
func (g *Gateway) Routes() []Route {
	table := g.table.Load()
	routes := make([]Route, len(table.routes))
	for i, r := range table.routes {
		routes[i] = r.public()
	}
	return routes
}

// Warnings says what in the configuration is odd, one sentence each: what LoadConfig found, routes that can never match,
// entrypoints that cannot be called, volumes without a directory. All modules must be ready.
func (g *Gateway) Warnings() []string {
	warnings := slices.Clone(g.config.Warnings)
	routes := g.table.Load().routes
	for i, r := range routes {
		if r.script == r.text && (r.text == g.config.HealthPath || r.text == g.config.ReadyPath) {
			warnings = append(warnings, fmt.Sprintf("%s: route %q can never match: the gateway answers there itself", r.module.Position, r.text))
		}
		for _, earlier := range routes[:i] {
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

// ServeHTTP runs a guest for the request. When one fails whose response has begun, ServeHTTP breaks the connection off
// in the way of net/http: it panics with [http.ErrAbortHandler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if ambiguous(r) || g.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	x := newExchange(g, w, r)
	err := x.answer()
	if err != nil && x.sent {
		panic(http.ErrAbortHandler)
	}
	x.linger()
	if err == nil {
		x.free()
	}
}
