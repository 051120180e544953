package command

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
)

// checked is what wagi check finds.
type checked struct {
	Error    string      `json:"error,omitempty"`
	Warnings []string    `json:"warnings"`
	Routes   []cgi.Route `json:"routes,omitempty"` // nil: they are not known
}

func checkCommand() *cobra.Command {
	var opts options
	var asJSON, strict bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check modules.toml and all that it names",
		Long: `check reads modules.toml, compiles the modules, starts those with a resume point and reports what would keep wagi from serving,
and as warnings what is odd: routes that can never match, entrypoints that cannot be called,
volumes without a directory, keys without effect.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := check(cmd, &opts)
			if strict && err == nil && len(result.Warnings) > 0 {
				err = errors.New("there are warnings")
			}
			if asJSON {
				return result.writeJSON(cmd.OutOrStdout(), err)
			}
			result.write(cmd.OutOrStdout())
			return err
		},
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail if there are warnings")
	return cmd
}

func check(cmd *cobra.Command, opts *options) (checked, error) {
	result := checked{Warnings: []string{}}
	cfg, err := opts.load()
	if err != nil {
		return result, err
	}
	result.Warnings = append(result.Warnings, cfg.Warnings...)
	gateway, err := cgi.New(cmd.Context(), *cfg)
	if err != nil {
		return result, err
	}
	defer gateway.Close()
	result.Warnings = append([]string{}, gateway.Warnings()...)
	result.Routes = gateway.Routes()
	return result, nil
}

// write prints the result; the error goes where errors go.
func (c checked) write(w io.Writer) {
	for _, warning := range c.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	if c.Routes != nil {
		fmt.Fprintf(w, "%s, %s\n", count(len(c.Routes), "route"), count(len(c.Warnings), "warning"))
	}
}

// count is a number of things with their name, which takes an s.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// writeJSON prints the result and the error as one object.
func (c checked) writeJSON(w io.Writer, err error) error {
	if err == nil {
		return writeJSON(w, c)
	}
	c.Error = err.Error()
	return errors.Join(exitStatus(exitFailure), writeJSON(w, c))
}
