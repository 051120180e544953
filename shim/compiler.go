//go:build linux

package shim

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/codecache"
)

const (
	// The node's compiled code is configured by the environment of containerd, which shims inherit: not all clients send options.
	cacheVariable     = "WAGI_CODE_CACHE"      // directory, or "off"
	cacheSizeVariable = "WAGI_CODE_CACHE_SIZE" // bytes
	defaultCache      = "/var/lib/wagi/code"

	// compilerSocket in a bundle is where its container asks for compiled code.
	compilerSocket = "compiler"
)

// compilers are the sockets at which containers ask for compiled code.
type compilers struct {
	node      *codecache.Node // nil: the node keeps no compiled code
	mu        sync.Mutex
	listeners map[string]net.Listener // by container; guarded by mu
}

// cacheDirectory is where the node keeps compiled code, if it keeps any; the gateway is beside it in any case.
func cacheDirectory() string {
	if dir := os.Getenv(cacheVariable); dir != "" && dir != "off" {
		return dir
	}
	return defaultCache
}

func newCompilers(target string) (*compilers, error) {
	dir, size := cacheDirectory(), int64(codecache.DefaultSize)
	if text := os.Getenv(cacheSizeVariable); text != "" {
		var err error
		if size, err = strconv.ParseInt(text, 10, 64); err != nil || size <= 0 {
			return nil, fmt.Errorf("%s=%q: want a number of bytes", cacheSizeVariable, text)
		}
	}
	switch {
	case os.Getenv(cacheVariable) == "off":
		return &compilers{}, nil
	case !filepath.IsAbs(dir):
		return nil, fmt.Errorf(`%s=%q: want an absolute path, or "off"`, cacheVariable, dir)
	}
	return &compilers{
		listeners: map[string]net.Listener{},
		node: &codecache.Node{
			Cache:  codecache.Cache{Dir: dir, Size: size},
			Target: target,
			Compile: func(ctx context.Context, module *os.File, code io.Writer) error {
				return runCompiler(ctx, dir, module, code)
			},
		},
	}, nil
}

// open makes the socket of a container in its bundle, and serves it until close. It returns the path, empty where nothing is kept.
func (c *compilers) open(id, bundle string) (string, error) {
	if c.node == nil {
		return "", nil
	}
	path := filepath.Join(bundle, compilerSocket)
	l, err := listen(bundle)
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // a container has any user
		l.Close()
		return "", err
	}
	c.mu.Lock()
	c.listeners[id] = l
	c.mu.Unlock()
	ctx := log.WithLogger(context.Background(), log.L.WithField("container_id", id))
	go c.node.Serve(ctx, l, func(err error) {
		log.G(ctx).WithError(err).Warn("module is not compiled by the node")
	})
	return path, nil
}

// listen makes the socket. Its path may be longer than the address of a socket, so it goes by way of the directory's descriptor.
func listen(bundle string) (net.Listener, error) {
	dir, err := os.Open(bundle)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), compilerSocket)
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: name, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the bundle goes as a whole
	return l, nil
}

// close ends what the container has asked for.
func (c *compilers) close(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.listeners[id]; l != nil {
		l.Close()
		delete(c.listeners, id)
	}
}
