package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
	"containerd-shim-wagi-v1/cgi/guest"
)

// exitTrap is the status of wagi run after a trap: that of a program killed by SIGABRT, as other runtimes have it.
const exitTrap = 128 + 6

// runOptions are the flags of wagi run.
type runOptions struct {
	dirs         []string
	env          []string
	memory       uint32 // MiB
	entrypoint   string
	compileCache string
}

func runCommand() *cobra.Command {
	var opts runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] FILE [ARG...]",
		Short: "Run a WASI command: a module with this process's streams, environment and arguments",
		Long: `run runs a module, binary or text, as a command: with the standard streams and the environment of this process,
FILE and the ARGs as its arguments, and the directories given by --dir.

The exit status is that of the module, 134 if it traps, 128 and the number of the signal that ends it.`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return opts.run(cmd.Context(), args) },
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().Var(list{values: &opts.dirs}, "dir", "`HOST[:GUEST][:ro]`, a directory that the module sees; repeatable")
	cmd.Flags().VarP(list{values: &opts.env}, "env", "e", "`NAME=VALUE` for the module; repeatable")
	cmd.Flags().Uint32Var(&opts.memory, "memory", 4096, "`MiB` that the module may use")
	cmd.Flags().StringVar(&opts.entrypoint, "entrypoint", "_start", "exported `FUNCTION` to call")
	cmd.Flags().StringVar(&opts.compileCache, "compile-cache", "", "`DIR` that keeps compiled code from one start to the next")
	return cmd
}

func (o *runOptions) run(ctx context.Context, args []string) error {
	exitOnSignal()
	cfg := guest.Config{
		Name: args[0], Entrypoint: o.entrypoint, Memory: uint64(o.memory) << 20,
		CompileCache: o.compileCache, Compiler: os.Getenv("WAGI_COMPILER"), TempDir: tempDir(),
	}
	for _, dir := range o.dirs {
		volume, err := parseDir(dir)
		if err != nil {
			return err
		}
		cfg.Volumes = append(cfg.Volumes, volume)
	}
	env, err := o.environment()
	if err != nil {
		return err
	}
	code, err := cgi.ReadModule(args[0])
	if err != nil {
		return err
	}
	module, err := guest.Compile(ctx, code, cfg)
	if err != nil {
		return err
	}
	defer module.Close(ctx)
	err = module.Run(ctx, &guest.Call{Args: args, Env: guest.NewEnvironment(env...), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	return guestStatus(err)
}

// guestStatus is the error that gives the process the status of a guest.
func guestStatus(err error) error {
	var exit *guest.ExitError
	var trap *guest.TrapError
	switch {
	case errors.As(err, &exit):
		return exitStatus(exit.Code)
	case errors.As(err, &trap):
		fmt.Fprintf(os.Stderr, "wagi: error: %v\n", trap)
		_, _ = io.WriteString(os.Stderr, trap.Trace)
		return exitStatus(exitTrap)
	}
	return err
}

// environment is this process's, less what is meant for wagi, and that of --env.
func (o *runOptions) environment() ([]string, error) {
	merged := map[string]string{}
	add := func(e string) {
		name, value, _ := strings.Cut(e, "=")
		merged[name] = value
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "WAGI_") {
			add(e)
		}
	}
	for _, e := range o.env {
		parsed, err := parseEnv(e)
		if err != nil {
			return nil, err
		}
		add(parsed)
	}
	env := make([]string, 0, len(merged))
	for name, value := range merged {
		env = append(env, name+"="+value)
	}
	return env, nil
}

// parseDir reads HOST[:GUEST][:ro].
func parseDir(dir string) (guest.Volume, error) {
	rest, readOnly := strings.CutSuffix(dir, ":ro")
	host, path, ok := strings.Cut(rest, ":")
	if !ok {
		path = host
	}
	if host == "" || path == "" {
		return guest.Volume{}, usageError{fmt.Errorf("--dir %q: want HOST[:GUEST][:ro]", dir)}
	}
	if info, err := os.Stat(host); err != nil || !info.IsDir() {
		return guest.Volume{}, fmt.Errorf("--dir %q: %s is no directory", dir, host)
	}
	return guest.Volume{Host: host, Guest: path, ReadOnly: readOnly}, nil
}

// exitOnSignal ends the process when it is told to. The first process of a container ignores signals that it does not ask for.
func exitOnSignal() {
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) { // as nohup has it
			signal.Notify(signals, s)
		}
	}
	go func() {
		s := <-signals
		status := exitFailure
		if number, ok := s.(syscall.Signal); ok {
			status = 128 + int(number)
		}
		os.Exit(status)
	}()
}
