package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi/build"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of wagi, of Go and of the engine",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  printVersion,
	}
}

// addVersionFlag makes cmd print the version instead of what it does, where --version says so. cobra's own flag would need a template,
// and a program with templates calls methods by name, so that the linker has to keep them all: 4 MB.
func addVersionFlag(cmd *cobra.Command) {
	run := cmd.RunE
	version := cmd.Flags().BoolP("version", "v", false, "print the version, as wagi version does")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *version {
			return printVersion(cmd, args)
		}
		return run(cmd, args)
	}
}

func printVersion(cmd *cobra.Command, _ []string) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "wagi %s\n", build.Version())
	return err
}
