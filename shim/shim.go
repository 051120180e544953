//go:build linux

// Package shim is a containerd runtime v2 shim that runs WAGI images under runc.
//
// It embeds the task service of containerd's own runc shim and changes one thing: Create looks at what the
// container would run and, for a WAGI image, rewrites the bundle's config.json so that the container's init is the
// gateway, this same binary under the name wagi, bind-mounted read-only into the container. All else (namespaces,
// cgroups, exec, tty, stats, restore) is runc's. Any other container runs untouched.
//
// The package knows nothing of WebAssembly. It runs as root on the host and never parses what comes from an image.
package shim

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/pkg/shim"
)

// Runtime is the name users pass as --runtime; containerd finds the binary containerd-shim-wagi-v1 by it.
const Runtime = "io.containerd.wagi.v1"

// Main is the command containerd-shim-wagi-v1: start, delete, -info, -v, and without an action the server of the
// task API. version is what -v prints, target is what the gateway compiles for: engine and processor. It exits with status 1 and
// one sentence on standard error when it fails.
func Main(version, target func() string, gateway Gateway) {
	inv := parseInvocation(os.Args[1:])
	if inv.action == confineAction {
		fmt.Fprintln(os.Stderr, confine(inv.argument, gateway))
		os.Exit(1)
	}
	if inv.version {
		fmt.Println(version())
		return
	}
	lc := lifecycle{Shim: manager.NewShimManager(Runtime), version: version, gateway: gateway}
	if inv.action == "start" {
		answered, err := inv.start(context.Background(), lc)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %s", Runtime, err)
			os.Exit(1)
		}
		if answered {
			return
		}
	}
	registerService(target, gateway)
	shim.RunShim(context.Background(), lc)
}

// An invocation is what containerd says on the command line of every shim (docs/runtime-v2.md, "Flags").
type invocation struct {
	id, namespace, address string
	debug, version         bool
	action, argument       string
}

// parseInvocation reads args without complaint: the library parses them again and reports what is wrong.
func parseInvocation(args []string) invocation {
	var inv invocation
	flags := flag.NewFlagSet(Runtime, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&inv.id, "id", "", "")
	flags.StringVar(&inv.namespace, "namespace", "", "")
	flags.StringVar(&inv.address, "address", "", "")
	flags.BoolVar(&inv.debug, "debug", false, "")
	flags.BoolVar(&inv.version, "v", false, "")
	flags.BoolVar(&inv.version, "version", false, "")
	for _, name := range []string{"bundle", "publish-binary", "socket", "debug-socket"} {
		flags.String(name, "", "")
	}
	flags.Bool("info", false, "")
	_ = flags.Parse(args)
	inv.action, inv.argument = flags.Arg(0), flags.Arg(1)
	return inv
}

// lifecycle starts, cleans up after and describes shim processes as runc's shim does, for our options and sockets.
type lifecycle struct {
	shim.Shim
	version func() string
	gateway Gateway
}

// Stop is the delete command: it cleans up after a shim that died without doing so itself.
func (lc lifecycle) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	status, err := lc.Shim.Stop(ctx, id)
	removeDeadSocket(id)
	return status, err
}

// Info is the -info command: the runc below us, its features, and the options it would get.
func (lc lifecycle) Info(ctx context.Context, stdin io.Reader) (*types.RuntimeInfo, error) {
	input, err := translateInfo(stdin)
	if err != nil {
		return nil, err
	}
	info, err := lc.Shim.Info(ctx, bytes.NewReader(input))
	if err != nil {
		return nil, err
	}
	info.Version = &types.RuntimeVersion{Version: lc.version()}
	return info, nil
}
