package cgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"containerd-shim-wagi-v1/cgi/guest"
	"containerd-shim-wagi-v1/cgi/wat"
)

// module is a Module ready to serve, its limits filled in.
type module struct {
	Module
	code      *guest.Module
	logDir    string   // Config.LogDir
	env       []string // configured variables, less those that the gateway sets
	headerEnv []string // the same named HTTP_: fields of a request go first
	slots     chan struct{}
	queued    atomic.Int64
}

// maxModule bounds the file of a module: the engine cannot address more code.
const maxModule = 1 << 30

// ReadModule reads a module from a file, binary or text, and returns it as binary.
func ReadModule(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	code, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	switch {
	case err != nil:
		return nil, err
	case len(code) > maxModule:
		return nil, fmt.Errorf("%s: longer than 1 GiB", file)
	case !wat.IsText(code):
		return code, nil
	}
	binary, err := wat.Assemble(code)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	return binary, nil
}

// compiler compiles each module once, however many routes it serves.
type compiler struct {
	mu       sync.Mutex
	compiled map[string]func() (*guest.Module, error) // guarded by mu
}

func (c *compiler) compile(ctx context.Context, file string, cfg guest.Config) (*guest.Module, error) {
	key := fmt.Sprintf("%q %+v", file, cfg)
	c.mu.Lock()
	compiled, ok := c.compiled[key]
	if !ok {
		compiled = sync.OnceValues(func() (*guest.Module, error) {
			binary, err := ReadModule(file)
			if err != nil {
				return nil, err
			}
			return guest.Compile(ctx, binary, cfg)
		})
		c.compiled[key] = compiled
	}
	c.mu.Unlock()
	return compiled()
}

// close frees what was compiled.
func (c *compiler) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, compiled := range c.compiled {
		if code, err := compiled(); err == nil {
			errs = append(errs, code.Close(context.Background()))
		}
	}
	return errors.Join(errs...)
}

// newModule prepares a module, compiling it with c.
func newModule(ctx context.Context, c *compiler, cfg *Config, configured Module) (*module, error) {
	m := &module{Module: configured, logDir: cfg.LogDir}
	m.Limits = configured.Limits.or(cfg.Limits).or(defaultLimits)
	if m.Entrypoint == "" {
		m.Entrypoint = "_start"
	}
	if m.MaxConcurrency > 0 {
		m.slots = make(chan struct{}, m.MaxConcurrency)
	}
	if err := m.setEnvironment(cfg.Env); err != nil {
		return nil, err
	}
	file, err := cfg.modulePath(m.Module.Module)
	if err != nil {
		return nil, err
	}
	volumes := slices.Clone(m.Volumes)
	for i := range volumes {
		volumes[i].Host = cfg.resolve(volumes[i].Host)
	}
	m.Volumes = volumes
	m.code, err = c.compile(ctx, file, guest.Config{
		Name:         m.Module.Module,
		Entrypoint:   m.Entrypoint,
		Memory:       m.memory(),
		Volumes:      volumes,
		CompileCache: cfg.CompileCache,

		AllowedHosts:       m.AllowedHosts,
		HTTPMaxConcurrency: m.HTTPMaxConcurrency,
	})
	return m, err
}

var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`)

// modulePath is the file that a module reference means.
func (c *Config) modulePath(reference string) (string, error) {
	match := scheme.FindStringSubmatch(reference)
	switch {
	case match == nil:
		return c.resolve(reference), nil
	case !strings.EqualFold(match[1], "file"):
		return "", fmt.Errorf("module %q: references of the scheme %q are not supported, name a file", reference, match[1])
	}
	u, err := url.Parse(reference)
	if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
		return "", fmt.Errorf("module %q: want file:///PATH", reference)
	}
	return filepath.FromSlash("/" + strings.TrimLeft(u.Path, "/")), nil
}

// resolve finds a relative path: in the working directory, as in WAGI, or else beside modules.toml.
func (c *Config) resolve(path string) string {
	if filepath.IsAbs(path) || c.File == "" {
		return path
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	beside := filepath.Join(filepath.Dir(c.File), path)
	if _, err := os.Stat(beside); err != nil {
		return path
	}
	return beside
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

// acquire waits for a free guest. The caller calls release.
func (m *module) acquire(ctx context.Context, metrics *routeMetrics) error {
	if m.slots == nil {
		return nil
	}
	select {
	case m.slots <- struct{}{}:
		return nil
	default:
	}
	defer m.queued.Add(-1)
	if m.queued.Add(1) > int64(m.Queue) {
		return errBusy
	}
	if metrics != nil {
		metrics.queued.Inc()
		defer metrics.queued.Dec()
	}
	select {
	case m.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *module) release() {
	if m.slots != nil {
		<-m.slots
	}
}
