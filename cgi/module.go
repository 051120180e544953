package cgi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"containerd-shim-wagi-v1/cgi/guest"
)

// module is a Module, its limits filled in, that serves once it is loaded.
type module struct {
	Module
	own       *route        // the one that is configured
	mayRoute  bool          // it may name further routes
	loaded    chan struct{} // closed when the module is ready or failed; what follows is known then
	ready     atomic.Bool
	err       error    // why it failed
	dynamic   []*route // that the module itself names
	code      *code
	logDir    string   // Config.LogDir
	env       []string // configured variables, less those that the gateway sets
	headerEnv []string // the same named HTTP_: fields of a request go first
	slots     *slots   // for guests; nil: no limit
}

// newModule prepares a module, without reading it.
func newModule(cfg *Config, configured Module) (*module, error) {
	m := &module{Module: configured, logDir: cfg.LogDir, loaded: make(chan struct{})}
	m.Limits = configured.Limits.or(cfg.Limits).or(defaultLimits)
	if m.Entrypoint == "" {
		m.Entrypoint = "_start"
	}
	if err := m.setEnvironment(cfg.Env); err != nil {
		return nil, err
	}
	m.own = newRoute(m.Route, m.Entrypoint, m)
	if m.MaxConcurrency > 0 {
		m.slots = newSlots(m.MaxConcurrency, m.Queue)
	}
	volumes := slices.Clone(m.Volumes)
	for i := range volumes {
		volumes[i].Host = cfg.resolve(volumes[i].Host)
	}
	m.Volumes = volumes
	return m, nil
}

// name is the module's file or reference, as it is configured.
func (m *module) name() string { return m.Module.Module }

// guestConfig is how the module is compiled.
func (m *module) guestConfig(cfg *Config) guest.Config {
	config := guest.Config{
		Name:         m.name(),
		Entrypoint:   m.Entrypoint,
		Memory:       m.memory(),
		Volumes:      m.Volumes,
		CompileCache: cfg.CompileCache,
		Compiler:     cfg.Compiler,
		TempDir:      cfg.TempDir,
		CPU:          m.CPU,
		NoReuse:      m.NoReuse,

		AllowedHosts:       m.AllowedHosts,
		HTTPMaxConcurrency: m.HTTPMaxConcurrency,
	}
	if m.Resume {
		config.Resume = true
		config.StartArgs = m.arguments(target{path: cmp.Or(strings.TrimSuffix(m.Route, wildcard), "/")})
		config.StartEnv = slices.Concat(m.env, m.headerEnv)
	}
	return config
}

// inspect finds what is wrong with a module, as far as that is known without compiling it. A module in a registry is not looked at.
func (m *module) inspect(cfg *Config) error {
	m.mayRoute = true
	if file, err := ModuleFile(m.name()); err != nil || file == "" {
		return err
	}
	binary, err := cfg.readModule(context.Background(), m.name())
	if err != nil {
		return err
	}
	exports, err := guest.Inspect(binary, m.guestConfig(cfg))
	m.mayRoute = slices.Contains(exports, routesExport)
	return err
}

// load compiles the module with c and asks it for its routes.
func (m *module) load(ctx context.Context, c *compiler, cfg *Config) (err error) {
	m.code, err = c.compile(ctx, func() ([]byte, error) { return cfg.readModule(ctx, m.name()) }, m.guestConfig(cfg))
	if err == nil {
		m.dynamic, err = m.findRoutes(ctx)
	}
	return err
}

// await waits until the module is ready, for as long as its configuration and the time that is left for the request allow.
func (m *module) await(ctx context.Context, begun time.Time) error {
	wait := m.Wait
	if m.Timeout > 0 {
		wait = min(wait, m.Timeout-time.Since(begun))
	}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-m.loaded:
		if m.err == nil {
			return nil
		}
	case <-timer.C:
	case <-ctx.Done():
		return errEnded
	}
	return errCompiling
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// setEnvironment merges the variables of all guests and of this module; each name is left once.
func (m *module) setEnvironment(common []string) error {
	merged := map[string]string{}
	for _, e := range common {
		name, value, _ := strings.Cut(e, "=")
		merged[name] = value
	}
	for name, value := range m.Environment {
		var missing string
		merged[name] = reference.ReplaceAllStringFunc(value, func(ref string) string {
			value, ok := os.LookupEnv(ref[2 : len(ref)-1])
			if !ok {
				missing = ref
			}
			return value
		})
		if missing != "" {
			return fmt.Errorf("environment %q: %s is not set", name, missing)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		switch e := name + "=" + merged[name]; {
		case slices.Contains(metaVariables, name):
		case strings.HasPrefix(name, "HTTP_"):
			m.headerEnv = append(m.headerEnv, e)
		default:
			m.env = append(m.env, e)
		}
	}
	return nil
}
