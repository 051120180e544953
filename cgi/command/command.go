// Package command is the wagi command: the gateway, and the tools around it.
package command

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/containerd/log"
	"github.com/spf13/cobra"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

// memoryShare is the part of the container's memory that is Go's (GOMEMLIMIT): compiled code is not.
const memoryShare = 0.7

// exitStatus ends the process with that status; there is nothing to say.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is an error in what the user typed.
type usageError struct{ error }

// hintError is an error whose remedy is known.
type hintError struct {
	error
	hint string
}

func (e hintError) Unwrap() error { return e.error }

// Main runs the command line in os.Args and ends the process: with status 0, 1 for a failure, 2 for wrong usage,
// and that of the guest for wagi run.
func Main() {
	if os.Getpid() == 1 {
		reapOrphans()
	}
	// Without a limit, or without cgroups, Go has none.
	_, _ = memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, limitFromShim)))
	// A guest that computes keeps a processor of Go's; requests and health checks need another. Go itself keeps to a container's CPU limit
	// and its changes, but no longer once it is told a number.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	root := rootCommand()
	root.SetArgs(expandValues(root, os.Args[1:]))
	os.Exit(report(root.Execute()))
}

// limitFromShim is the container's memory limit, in bytes, where the container does not see its cgroup.
func limitFromShim() (uint64, error) {
	return strconv.ParseUint(os.Getenv("WAGI_MEMORY_LIMIT"), 10, 64)
}

// report tells the user about err and returns the exit status for it.
func report(err error) int {
	var status exitStatus
	if err == nil {
		return 0
	}
	if errors.As(err, &status) {
		return int(status)
	}
	fmt.Fprintf(os.Stderr, "wagi: error: %v\n", err)
	if os.Getpid() == 1 {
		leaveMessage(err)
	}
	var hint hintError
	var usage usageError
	switch {
	case errors.As(err, &hint):
		fmt.Fprintf(os.Stderr, "wagi: hint: %s\n", hint.hint)
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "wagi: hint: wagi --help lists commands and flags")
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// terminationLog is where Kubernetes looks for the reason of a container's end (terminationMessagePath), which
// kubectl describe pod shows. Where the kubelet has not made the file, nobody asks.
const terminationLog = "/dev/termination-log"

// leaveMessage writes err there.
func leaveMessage(err error) {
	if file, openErr := os.OpenFile(terminationLog, os.O_WRONLY, 0); openErr == nil {
		fmt.Fprintln(file, err)
		file.Close()
	}
}

func rootCommand() *cobra.Command {
	root := serveCommand("wagi")
	root.Long = `wagi serves HTTP by WebAssembly modules: a CGI gateway (RFC 3875) in the dialect of WAGI.

A modules.toml names routes and the modules that serve them:

    [[module]]
    route = "/hello"
    module = "hello.wasm"

    $ wagi -c modules.toml
    Ready: serving on http://127.0.0.1:3000`
	addVersionFlag(root)
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	logging := loggingFlags{}
	root.PersistentFlags().StringVar(&logging.format, "log-format", string(log.TextFormat), "text or json")
	root.PersistentFlags().StringVar(&logging.level, "log-level", "info", "error, warning, info, debug")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return logging.apply() }
	root.Args = knownCommand
	root.AddCommand(serveCommand("serve"), runCommand(), routesCommand(), checkCommand(), callCommand(), compileCommand(), generateCommand(), imageCommand(), statusCommand(), healthCommand(), versionCommand())
	addCompletion(root)
	return root
}

// knownCommand is the check of the arguments of the root, which are no command.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usageError{fmt.Errorf("unknown command %q for %q", args[0], root.Name())}
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return hintError{err, "did you mean wagi " + strings.Join(near, " or ") + "?"}
	}
	return err
}

// addCompletion completes the flags that have but some values, and makes an unknown shell an error.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, _ := root.Find([]string{"completion"}) // it is there
	completion.Args = usageArgs(cobra.NoArgs)
	completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	for flag, values := range map[string][]string{
		"log-format":        {"text", "json"},
		"log-level":         {"error", "warning", "info", "debug"},
		"access-log-format": {"common", "combined", "json"},
	} {
		for _, cmd := range append(root.Commands(), root) {
			if cmd.Flag(flag) != nil {
				_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // once for each
			}
		}
	}
}

// usageArgs makes a failing check of the arguments an error of usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

type loggingFlags struct {
	format, level string
}

func (l loggingFlags) apply() error {
	if err := log.SetLevel(l.level); err != nil {
		return usageError{fmt.Errorf("--log-level %q: want error, warning, info or debug", l.level)}
	}
	if err := log.SetFormat(log.OutputFormat(l.format)); err != nil {
		return usageError{fmt.Errorf("--log-format %q: want text or json", l.format)}
	}
	return nil
}
