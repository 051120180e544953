package cgi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/guest"
	"containerd-shim-wagi-v1/cgi/wat"
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

// maxModule bounds the file of a module: the engine cannot address more code.
const maxModule = 1 << 30

// ReadModule reads a module from a file, binary or text, and returns it as binary.
func ReadModule(file string) ([]byte, error) {
	code, err := readFile(file, maxModule)
	if err != nil {
		return nil, err
	}
	return assemble(file, code)
}

// assemble makes a module binary; name is what errors call it.
func assemble(name string, code []byte) ([]byte, error) {
	if !wat.IsText(code) {
		return code, nil
	}
	binary, err := wat.Assemble(code)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	return binary, nil
}

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

// newModule prepares a module, without reading it.
func newModule(cfg *Config, configured Module) (*module, error) {
	m := &module{Module: configured, logDir: cfg.LogDir, loaded: make(chan struct{})}
	m.Limits = configured.Limits.or(cfg.Limits).or(defaultLimits)
	if m.Entrypoint == "" {
		m.Entrypoint = "_start"
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
	return m, m.setEnvironment(cfg.Env)
}

// guestConfig is how the module is compiled.
func (m *module) guestConfig(cfg *Config) guest.Config {
	config := guest.Config{
		Name:         m.Module.Module,
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
	if file, err := ModuleFile(m.Module.Module); err != nil || file == "" {
		return err
	}
	binary, err := cfg.readModule(context.Background(), m.Module.Module)
	if err != nil {
		return err
	}
	exports, err := guest.Inspect(binary, m.guestConfig(cfg))
	m.mayRoute = slices.Contains(exports, routesExport)
	return err
}

// load compiles the module with c and asks it for its routes.
func (m *module) load(ctx context.Context, c *compiler, cfg *Config) (err error) {
	m.code, err = c.compile(ctx, func() ([]byte, error) { return cfg.readModule(ctx, m.Module.Module) }, m.guestConfig(cfg))
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

var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`)

// schemeOf is the scheme of a module reference, in lower case; empty: the reference is a path.
func schemeOf(reference string) string {
	if match := scheme.FindStringSubmatch(reference); match != nil {
		return strings.ToLower(match[1])
	}
	return ""
}

// readModule reads the module that a reference means, as binary.
func (c *Config) readModule(ctx context.Context, reference string) ([]byte, error) {
	file, err := ModuleFile(reference)
	if err != nil {
		return nil, err
	}
	if file == "" {
		return c.pull(ctx, reference)
	}
	file = c.resolve(file)
	if err := checkRegular(file); err != nil {
		return nil, err
	}
	return ReadModule(file)
}

// ModuleFile is the file that a module reference means, perhaps relative; empty: it means a module in a registry.
// Its error is why the gateway refuses the reference.
func ModuleFile(reference string) (string, error) {
	switch scheme := schemeOf(reference); scheme {
	case "":
		return reference, nil
	case "oci":
		_, err := parseImage(reference)
		return "", err
	case "file":
	case "bindle":
		return "", fmt.Errorf("module %q: Bindle is gone: name a file or a reference oci:NAME:TAG", reference)
	default:
		return "", fmt.Errorf("module %q: %q is no scheme of a module: name a file or a reference oci:NAME:TAG", reference, scheme)
	}
	u, err := url.Parse(reference)
	if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
		return "", fmt.Errorf("module %q: want file:///PATH", reference)
	}
	return filepath.FromSlash("/" + strings.TrimLeft(u.Path, "/")), nil
}

// Files are the local files that the configuration consists of, modules.toml and modules, wherever they may be: some are missing.
func (c *Config) Files() []string {
	files := []string{c.File}
	for _, m := range c.Modules {
		if file, err := ModuleFile(m.Module); err == nil && file != "" {
			files = append(files, c.candidates(file)...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// candidates are where a path may be: a relative one in the working directory, as in WAGI, or else beside modules.toml.
func (c *Config) candidates(path string) []string {
	if filepath.IsAbs(path) || c.File == "" {
		return []string{path}
	}
	return []string{path, filepath.Join(filepath.Dir(c.File), path)}
}

// resolve is the first candidate that is there.
func (c *Config) resolve(path string) string {
	for _, candidate := range c.candidates(path) {
		if _, err := os.Stat(candidate); err == nil {
			return candidate
		}
	}
	return path
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
