package command

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
)

func routesCommand() *cobra.Command {
	var opts options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "Print the routing table as it would be served",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := opts.load()
			if err != nil {
				return err
			}
			gateway, err := cgi.New(cmd.Context(), *cfg)
			if err != nil {
				return err
			}
			defer gateway.Close()
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), gateway.Routes())
			}
			return writeRoutes(cmd.OutOrStdout(), gateway.Routes())
		},
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeRoutes(w io.Writer, routes []cgi.Route) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROUTE\tMODULE\tENTRYPOINT\tCONFIGURED AT")
	for _, r := range routes {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Route, r.Module, r.Entrypoint, r.Position)
	}
	return table.Flush()
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
