//go:build linux

// Command installer puts the shim on a Kubernetes node and makes it a runtime of the node's containerd, or takes both
// away. It runs as root in a pod that sees the node's root directory and processes; daemonset.yaml starts it so.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "installer:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	n := node{}
	root := &cobra.Command{
		Use:           "installer",
		Short:         "Put the WAGI shim on a Kubernetes node",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&n.root, "host", "/host", "the node's root directory")
	flags.StringVar(&n.shim, "shim", "/containerd-shim-wagi-v1", "the file to install")
	flags.StringVar(&n.config, "config", "", "containerd's configuration on the node (default: that of the Kubernetes distribution found there)")
	flags.StringVar(&n.handler, "handler", "wagi", "name of the runtime, as a RuntimeClass names it")
	flags.StringVar(&n.label, "label", "wagi", "label that a node with the runtime has with the value true; empty: none")
	flags.BoolVar(&n.restart, "restart", true, "restart containerd, by systemd, when its configuration has changed")
	root.AddCommand(
		&cobra.Command{
			Use:   "install",
			Short: "Install, and change only what is not so already",
			Args:  cobra.NoArgs,
			RunE:  func(c *cobra.Command, _ []string) error { return n.install(c.Context()) },
		},
		&cobra.Command{
			Use:   "uninstall",
			Short: "Undo install; refuses while containers of the runtime run",
			Args:  cobra.NoArgs,
			RunE:  func(c *cobra.Command, _ []string) error { return n.uninstall(c.Context()) },
		},
		&cobra.Command{
			Use:   "wait",
			Short: "Do nothing until SIGTERM: what a DaemonSet's container is when the work is done",
			Args:  cobra.NoArgs,
			Run:   func(c *cobra.Command, _ []string) { <-c.Context().Done() },
		},
	)
	return root
}
