package codecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// compiler is a Node whose code is the module itself in capitals. It counts what it compiles.
type compiler struct {
	Node
	socket   string
	compiled atomic.Int32
	mu       sync.Mutex
	log      []string // guarded by mu
}

// newCompiler serves a node's directory at a socket of its own, as another shim of the node would.
func newCompiler(t *testing.T, dir string, compile func(module string) (string, error)) *compiler {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root, who alone makes read-only mounts")
	}
	c := &compiler{socket: filepath.Join(t.TempDir(), "s")}
	c.Node = Node{Cache: Cache{Dir: dir}, Target: "target", Compile: func(_ context.Context, module *os.File, w io.Writer) error {
		c.compiled.Add(1)
		text, err := io.ReadAll(module)
		if err != nil {
			return err
		}
		made, err := compile(string(text))
		_, failed := io.WriteString(w, made)
		return errors.Join(err, failed)
	}}
	l, err := net.Listen(network, c.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c.Serve(context.Background(), l, func(err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.log = append(c.log, err.Error())
		})
	}()
	t.Cleanup(func() {
		l.Close()
		<-served
	})
	return c
}

func capitals(module string) (string, error) { return strings.ToUpper(module), nil }

// ask is the code that a container gets for a module, without its sum.
func (c *compiler) ask(t *testing.T, module string) (string, error) {
	t.Helper()
	f, err := Ask(t.Context(), c.socket, []byte(module))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text[:len(text)-SumSize]), err
}

// awaitLog is what has been logged, which the container does not wait for.
func (c *compiler) awaitLog() []string {
	for range 1000 {
		c.mu.Lock()
		log := slices.Clone(c.log)
		c.mu.Unlock()
		if len(log) > 0 {
			return log
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// Many containers of two shims ask for the same modules at once: each is compiled once.
func TestNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	shims := []*compiler{newCompiler(t, dir, capitals), newCompiler(t, dir, capitals)}
	var wait sync.WaitGroup
	for n := range 40 {
		wait.Go(func() {
			module := fmt.Sprint("module ", n%4)
			if got, err := shims[n/20].ask(t, module); err != nil || got != strings.ToUpper(module) {
				t.Errorf("%s: got %q, %v", module, got, err)
			}
		})
	}
	wait.Wait()
	if got := shims[0].compiled.Load() + shims[1].compiled.Load(); got != 4 {
		t.Errorf("compiled %d times, want 4", got)
	}
}

// What a container gets it can neither write to nor open for writing, be it root; nor can it walk to other entries.
func TestReadOnly(t *testing.T) {
	c := newCompiler(t, filepath.Join(t.TempDir(), "node"), capitals)
	f, err := Ask(t.Context(), c.socket, []byte("module"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, flags := range []int{os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND} {
		if again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags, 0); !errors.Is(err, unix.EROFS) {
			t.Errorf("opened for writing: %v, %v", again, err)
		}
	}
	if err := f.Chmod(0o777); !errors.Is(err, unix.EROFS) {
		t.Errorf("changed the mode: %v", err)
	}
	if err := openAs(1000, fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil {
		t.Errorf("a container of another user cannot read it: %v", err)
	}
	if err := openAs(1000, c.path(key(t, "module"))); !errors.Is(err, unix.EACCES) {
		t.Errorf("another user of the node opens it: %v", err)
	}
	if fd, err := unix.Openat(int(f.Fd()), "..", unix.O_RDONLY, 0); err == nil {
		unix.Close(fd)
		t.Error("walked out of the entry")
	}
}

// openAs opens a file for reading as another user would.
func openAs(uid int, path string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(uid); err != nil {
		return err
	}
	f, err := os.Open(path)
	if back := unix.Setfsuid(os.Getuid()); back != nil {
		panic(back)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// A damaged entry is made again.
func TestNodeRepairs(t *testing.T) {
	c := newCompiler(t, t.TempDir(), capitals)
	for _, damage := range []func(file string) error{
		func(file string) error { return os.Truncate(file, 5) },
		func(file string) error { return os.WriteFile(file, []byte(strings.Repeat("evil", 20)), 0o600) },
		func(file string) error { return os.Chown(file, 1000, 1000) },
		func(file string) error { return os.Chmod(file, 0o666) },
		os.Remove,
	} {
		if _, err := c.ask(t, "module"); err != nil {
			t.Fatal(err)
		}
		if err := damage(c.path(key(t, "module"))); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.ask(t, "module"); err != nil || got != "MODULE" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := c.compiled.Load(); got != 6 {
		t.Errorf("compiled %d times, want 6", got)
	}
}

// What a compiler has to say reaches the container and the log; nothing is kept of its code.
func TestCompilerFails(t *testing.T) {
	c := newCompiler(t, t.TempDir(), func(string) (string, error) { return "half", errors.New("no memory") })
	if _, err := c.ask(t, "module"); err == nil || err.Error() != "no memory" {
		t.Errorf("got error %v", err)
	}
	if log := c.awaitLog(); len(log) != 1 || log[0] != "no memory" {
		t.Errorf("log: %q", log)
	}
	if _, err := c.Open(key(t, "module")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("kept: %v", err)
	}
}

// A node whose disk is full says so and recovers.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	c := newCompiler(t, dir, func(string) (string, error) { return strings.Repeat("code", 100_000), nil })
	if err := unix.Mount("test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.ask(t, "module"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got error %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ask(t, "module"); err != nil {
		t.Error(err)
	}
}

// A container that sends a file that can change, or nothing, gets no code.
func TestUnsealed(t *testing.T) {
	c := newCompiler(t, t.TempDir(), capitals)
	plain, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	fd, err := unix.MemfdCreate("module", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	open := os.NewFile(uintptr(fd), "open")
	defer open.Close()
	for _, file := range []*os.File{plain, open, nil} {
		conn, err := net.Dial(network, c.socket)
		if err != nil {
			t.Fatal(err)
		}
		node := conn.(*net.UnixConn)
		if err := send(node, "compile", file); err != nil {
			t.Fatal(err)
		}
		if reason, code, err := receive(node); code != nil || file != nil && (err != nil || !strings.Contains(reason, "sealed")) {
			t.Errorf("got %q, %v, %v", reason, code, err)
		}
		conn.Close()
	}
	if got := c.compiled.Load(); got != 0 {
		t.Errorf("compiled %d times", got)
	}
}

// The end of a container stops what it has asked for.
func TestServeEnds(t *testing.T) {
	begun := make(chan struct{})
	n := &Node{Cache: Cache{Dir: t.TempDir()}, Compile: func(ctx context.Context, _ *os.File, _ io.Writer) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen(network, socket)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go n.Serve(t.Context(), l, func(err error) { failed <- err })
	asked := make(chan error, 1)
	go func() {
		_, err := Ask(t.Context(), socket, []byte("module"))
		asked <- err
	}()
	<-begun
	l.Close()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
	if err := <-asked; err == nil {
		t.Error("code of a compiler that was stopped")
	}
}
