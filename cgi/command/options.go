package command

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"containerd-shim-wagi-v1/cgi"
)

// defaultConfig is read where no flag and no WAGI_CONFIG names another file.
const defaultConfig = "modules.toml"

// options are the flags that say what a gateway serves.
type options struct {
	config       string
	hostname     string
	env          []string
	envFiles     []string
	compileCache string
	cache        string
	moduleCache  string
	healthPath   string
	readyPath    string
	logDir       string
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.config, "config", "c", cmp.Or(os.Getenv("WAGI_CONFIG"), defaultConfig), "`FILE` that names routes and modules")
	flags.StringVar(&o.config, "serve", o.config, "`FILE` of one module that serves all paths, instead of --config")
	flags.Lookup("serve").DefValue = ""
	flags.StringVar(&o.hostname, "hostname", "", "`NAME[:PORT]` of requests without a Host (default localhost and the port of the listener)")
	flags.VarP(list{values: &o.env}, "env", "e", "`NAME=VALUE ...` for all guests; beats --env-file")
	flags.Var(list{values: &o.envFiles}, "env-file", "`FILE ...` of lines NAME=VALUE for all guests; the last one wins")
	flags.StringVar(&o.compileCache, "compile-cache", "", "`DIR` that keeps compiled code from one start to the next")
	flags.StringVar(&o.cache, "cache", "cache.toml", "`FILE` of WAGI whose [cache] directory is taken for --compile-cache; may be missing")
	flags.StringVar(&o.moduleCache, "module-cache", "", "`DIR` that keeps modules from registries; made if missing (default wagi/modules in the user's cache directory)")
	flags.StringVar(&o.logDir, "log-dir", os.Getenv("WAGI_LOG_DIR"),
		"`DIR` that also keeps guests' standard error, in <SHA-256 of the route>/module.stderr (default $WAGI_LOG_DIR)")
	flags.StringVar(&o.healthPath, "health-path", "/healthz", "`PATH` that answers 200 while the process lives, or off")
	flags.StringVar(&o.readyPath, "ready-path", "/readyz", "`PATH` that answers 503 until all modules are compiled and when the gateway ends, or off")
}

// load reads the configuration that the flags name.
func (o *options) load() (*cgi.Config, error) {
	cfg, err := cgi.LoadConfig(o.config)
	if errors.Is(err, os.ErrNotExist) && o.config == defaultConfig {
		return nil, hintError{err, "name the file with -c FILE"}
	}
	if err != nil {
		return nil, err
	}
	if cfg.Env, err = o.environment(); err != nil {
		return nil, err
	}
	if o.compileCache == "" {
		if o.compileCache, err = cacheDirectory(o.cache); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(checkPath("--health-path", o.healthPath), checkPath("--ready-path", o.readyPath)); err != nil {
		return nil, usageError{err}
	}
	if !cgi.ValidHost(o.hostname) {
		return nil, usageError{fmt.Errorf("--hostname %q: want NAME or NAME:PORT", o.hostname)}
	}
	if cfg.ModuleCache, err = moduleCache(o.moduleCache); err != nil {
		return nil, err
	}
	cfg.Hostname = o.hostname
	cfg.CompileCache = o.compileCache
	cfg.Compiler = os.Getenv("WAGI_COMPILER")
	cfg.HealthPath = o.healthPath
	cfg.ReadyPath = o.readyPath
	cfg.LogDir = o.logDir
	cfg.TempDir = tempDir()
	return cfg, nil
}

func checkPath(flag, path string) error {
	if path == "off" || strings.HasPrefix(path, "/") {
		return nil
	}
	return fmt.Errorf("%s %q: want a path that begins with /, or off", flag, path)
}

// environment is what all guests get: later entries win.
func (o *options) environment() ([]string, error) {
	var env []string
	if inContainer() {
		env = containerEnv()
	}
	for _, file := range o.envFiles {
		lines, err := readEnvFile(file)
		if err != nil {
			return nil, err
		}
		env = append(env, lines...)
	}
	for _, e := range o.env {
		parsed, err := parseEnv(e)
		if err != nil {
			return nil, err
		}
		env = append(env, parsed)
	}
	return env, nil
}

// cacheDirectory is the directory in WAGI's file of compile cache settings. A missing file is none.
func cacheDirectory(file string) (string, error) {
	data, err := cgi.ReadConfigFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("--cache: %w", err)
	}
	var settings struct {
		Cache struct {
			Enabled   bool
			Directory string
		}
	}
	if err := toml.Unmarshal(data, &settings); err != nil {
		return "", fmt.Errorf("--cache %s: %w", file, err)
	}
	if !settings.Cache.Enabled {
		return "", nil
	}
	return settings.Cache.Directory, nil
}

// moduleCache is the directory for modules from registries that the user named, made with its parents, or the default one.
func moduleCache(named string) (string, error) {
	if named != "" {
		if err := os.MkdirAll(named, 0o700); err != nil {
			return "", fmt.Errorf("--module-cache: %w", err)
		}
		return named, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", nil // nobody's home, as in most containers: modules are pulled at each start
	}
	return filepath.Join(dir, "wagi", "modules"), nil
}

// tempDir is where long bodies are spooled. Images from scratch have no /tmp, but their root may be writable, as long as the
// container is not read-only. Its /dev/shm is memory, and small.
func tempDir() string {
	dirs := []string{os.TempDir()}
	if inContainer() {
		dirs = append(dirs, "/", ".")
	}
	if runtime.GOOS == "linux" {
		dirs = append(dirs, "/dev/shm")
	}
	return firstWritable(dirs)
}

// firstWritable is the first directory that takes a file, else the first of all.
func firstWritable(dirs []string) string {
	for _, dir := range dirs {
		if f, err := os.CreateTemp(dir, "wagi-body-"); err == nil {
			f.Close()
			os.Remove(f.Name())
			return dir
		}
	}
	return dirs[0]
}

// expandValues lets --env and --env-file take several values each, as WAGI does, while args serve: -e A=1 B=2 becomes -e A=1 -e B=2.
func expandValues(root *cobra.Command, args []string) []string {
	if cmd, _, err := root.Find(args); err != nil || cmd != root && cmd.Name() != "serve" {
		return args
	}
	var expanded []string
	flag := "" // that takes the values which follow
	for i, arg := range args {
		switch {
		case strings.HasPrefix(arg, "-"):
			flag = ""
			if slices.Contains([]string{"-e", "--env", "--env-file"}, arg) {
				flag = arg
			}
		case flag != "" && args[i-1] != flag:
			expanded = append(expanded, flag)
		}
		expanded = append(expanded, arg)
	}
	return expanded
}
