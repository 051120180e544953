//go:build linux

package shim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/pkg/atomicfile"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// Gateway is the program wagi, which containers run. The shim has it as a file, so that neither process initialises the other's
// libraries. The zero Gateway is this program itself, under the name wagi.
type Gateway struct {
	Binary string
	Sum    string // SHA-256 of Binary, in hexadecimal
}

const (
	gatewaysDirectory = "wagi-gateway" // beside the node's compiled code
	selinuxLabel      = "security.selinux"

	gatewayUsed   = time.Minute // how exactly the time of a file tells when a container was last started with it
	gatewayUnused = time.Hour   // after which a file of another version is removed, when one is made
)

// path is a file to be mounted in containers; cache is where the node keeps compiled code. Where the gateway cannot be put beside that, it is
// this program, which works, but has the gateway once in each container's memory.
func (g Gateway) path(ctx context.Context, cache string) (string, error) {
	file, err := g.install(cache)
	if err != nil {
		log.G(ctx).WithError(err).Warn("containers cannot share the gateway")
		return os.Executable()
	}
	return file, nil
}

// install puts the gateway beside the cache, unless it is there.
func (g Gateway) install(cache string) (string, error) {
	if g.Binary == "" {
		return os.Executable()
	}
	dir := filepath.Join(filepath.Dir(cache), gatewaysDirectory)
	file := filepath.Join(dir, g.Sum)
	if info, err := os.Lstat(file); err != nil || !g.is(info) {
		if err := g.write(dir, file); err != nil {
			return "", err
		}
	} else if now := time.Now(); now.Sub(info.ModTime()) > gatewayUsed {
		_ = os.Chtimes(file, now, now) // it is a hint
	}
	var system unix.Statfs_t
	if err := unix.Statfs(file, &system); err != nil {
		return "", &fs.PathError{Op: "statfs", Path: file, Err: err}
	}
	if system.Flags&unix.ST_NOEXEC != 0 {
		return "", fmt.Errorf("%s is mounted noexec", dir)
	}
	return file, nil
}

// is tells whether a file is what write has made: whoever could change that is root.
func (g Gateway) is(file fs.FileInfo) bool {
	owner := file.Sys().(*syscall.Stat_t).Uid
	return file.Mode() == 0o755 && file.Size() == int64(len(g.Binary)) && owner == uint32(os.Geteuid())
}

func (g Gateway) write(dir, file string) error {
	if sum := sha256.Sum256([]byte(g.Binary)); hex.EncodeToString(sum[:]) != g.Sum {
		return errors.New("the gateway in the shim is damaged: install the shim again")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := atomicfile.New(file, 0o755)
	if err != nil {
		return err
	}
	defer f.Cancel()
	if _, err := io.WriteString(f, g.Binary); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := copyLabel(file); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	removeUnused(dir, g.Sum)
	return nil
}

// copyLabel gives a file the label of this program, which SELinux lets containers execute; that of the directory it may not.
func copyLabel(file string) error {
	label := make([]byte, 256)
	n, err := unix.Getxattr("/proc/self/exe", selinuxLabel, label)
	if err != nil { // there is none
		return nil
	}
	return os.NewSyscallError("setxattr "+selinuxLabel, unix.Setxattr(file, selinuxLabel, label[:n], 0))
}

// removeUnused removes other versions. Containers that run keep theirs; a shim that misses its own makes it again.
func removeUnused(dir, kept string) {
	list, _ := os.ReadDir(dir)
	for _, entry := range list {
		info, err := entry.Info()
		if err == nil && entry.Name() != kept && time.Since(info.ModTime()) > gatewayUnused {
			_ = os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}

// Exec makes this process the gateway, from a file in memory. It returns only errors.
func (g Gateway) Exec() error {
	fd, err := unix.MemfdCreate("wagi", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memory for the gateway: %w", err)
	}
	f := os.NewFile(uintptr(fd), "wagi")
	if _, err := io.WriteString(f, g.Binary); err != nil {
		return fmt.Errorf("memory for the gateway: %w", err)
	}
	program := fmt.Sprintf("/proc/self/fd/%d", fd)
	return &fs.PathError{Op: "exec", Path: program, Err: unix.Exec(program, os.Args, os.Environ())}
}
