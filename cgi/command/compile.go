package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
	"containerd-shim-wagi-v1/cgi/guest"
)

func compileCommand() *cobra.Command {
	var opts options
	cmd := &cobra.Command{
		Use:   "compile [FILE...]",
		Short: "Compile modules ahead, into a directory for --compile-cache",
		Long: `compile compiles the modules of a modules.toml, or the FILEs, and keeps their code in --compile-cache, by default wagi/code in the
user's cache directory. What is there already is not compiled again. wagi --compile-cache DIR then starts without compiling.

The code is for this version of wagi and for this processor.`,
		RunE: func(cmd *cobra.Command, files []string) error {
			cfg, err := opts.modulesToCompile(files)
			if err != nil {
				return err
			}
			return compile(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// modulesToCompile is the configuration that the flags name or, if there are files, one of those alone.
func (o *options) modulesToCompile(files []string) (*cgi.Config, error) {
	cfg := &cgi.Config{CompileCache: o.compileCache, TempDir: tempDir()}
	if len(files) == 0 {
		var err error
		if cfg, err = o.load(); err != nil {
			return nil, err
		}
	}
	for _, file := range files {
		cfg.Modules = append(cfg.Modules, cgi.Module{Route: "/", Module: file})
	}
	if cfg.CompileCache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, hintError{errors.New("there is no cache directory"), "name one with --compile-cache DIR"}
		}
		cfg.CompileCache = filepath.Join(dir, "wagi", "code")
	}
	return cfg, nil
}

// compile fills the directory of compiled code, and says so.
func compile(ctx context.Context, cfg *cgi.Config, stdout io.Writer) error {
	compiled, err := cfg.Precompile(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s in %s\n", count(compiled, "module"), cfg.CompileCache)
	return nil
}

// generateCommand is what the shim runs, confined, for a node's cache: see shim/sandbox.go.
func generateCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "generate",
		Short:  "Compile the rewritten module on standard input to standard output",
		Hidden: true,
		Args:   usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			module, err := io.ReadAll(cmd.InOrStdin())
			if err != nil {
				return err
			}
			return guest.Generate(cmd.Context(), module, tempDir(), cmd.OutOrStdout())
		},
	}
}
