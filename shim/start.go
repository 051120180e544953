//go:build linux

package shim

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	// maxBootstrap bounds what start reads from standard input, in bytes; the library's own bound.
	maxBootstrap = 10 << 20
	// addressFile in a bundle holds the socket of the shim that serves it. containerd 1.6 and 1.7 find a running
	// shim by it after a restart; 1.7 wants it in the bundle of every container of a pod.
	addressFile = "address"
)

// start is the start command: it starts a shim for the bundle in the working directory, or finds the one of its pod,
// and answers in the form its caller understands. containerd 2.3 and later send BootstrapParams and are left to the
// library: start then gives back standard input unread and answered is false. Older ones send the runtime options
// or nothing, and all of them take the plain address of the socket as "task API version 2 over ttrpc".
func (inv invocation) start(ctx context.Context, lc lifecycle) (answered bool, err error) {
	input, err := io.ReadAll(io.LimitReader(os.Stdin, maxBootstrap))
	if err != nil {
		return false, fmt.Errorf("read standard input: %w", err)
	}
	if inv.bootstraps(input) {
		os.Stdin, err = replay(input)
		return false, err
	}
	params, err := inv.params(input)
	if err != nil {
		return false, err
	}
	result, err := lc.Start(namespaces.WithNamespace(ctx, inv.namespace), params)
	if err != nil {
		return false, err
	}
	_, err = io.WriteString(os.Stdout, result.Address)
	return true, err
}

// bootstraps tells whether input is a BootstrapParams. Options can decode as one by chance, so the identity in it
// must be that of the command line.
func (inv invocation) bootstraps(input []byte) bool {
	var params bootapi.BootstrapParams
	err := proto.Unmarshal(input, &params)
	return len(input) > 0 && err == nil && params.InstanceID == inv.id && params.Namespace == inv.namespace
}

// params makes of the command line and the options what a newer containerd would have sent.
func (inv invocation) params(input []byte) (*bootapi.BootstrapParams, error) {
	params := &bootapi.BootstrapParams{
		InstanceID:             inv.id,
		Namespace:              inv.namespace,
		ContainerdGrpcAddress:  inv.address,
		ContainerdTtrpcAddress: os.Getenv("TTRPC_ADDRESS"),
	}
	if inv.debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	if len(input) == 0 {
		return params, nil
	}
	var options anypb.Any
	if err := proto.Unmarshal(input, &options); err != nil {
		return nil, fmt.Errorf("decode runtime options from standard input: %w", err)
	}
	return params, params.AddExtension(&options)
}

// replay gives a file that reads as input.
func replay(input []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer w.Close()
		_, _ = w.Write(input)
	}()
	return r, nil
}

// Start starts the shim process of the bundle in the working directory, unless the shim of its pod runs already
// (annotations io.containerd.runc.v2.group and io.kubernetes.cri.sandbox-id).
func (lc lifecycle) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	for _, ext := range params.GetExtensions() {
		options, err := translateOptions(ext.GetValue())
		if err != nil {
			return nil, err
		}
		ext.Value = options
	}
	// This process ends at once; the shim would keep the pages of the gateway that it reads. It does so, and says why, if this fails.
	_, _ = lc.gateway.install(cacheDirectory())
	result, err := lc.Shim.Start(ctx, params)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(addressFile, []byte(result.Address), 0o600); err != nil {
		return nil, err
	}
	return result, nil
}

// removeDeadSocket removes the socket of the shim that served the container id, unless it still answers: in a pod
// the other containers go on. The working directory is a bundle beside that of id.
func removeDeadSocket(id string) {
	wd, err := os.Getwd()
	if err != nil {
		return
	}
	address, err := os.ReadFile(filepath.Join(filepath.Dir(wd), id, addressFile))
	if err != nil || !strings.HasPrefix(string(address), "unix://") {
		return
	}
	if !shim.CanConnect(string(address)) {
		_ = shim.RemoveSocket(string(address))
	}
}
