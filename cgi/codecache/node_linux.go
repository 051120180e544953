package codecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The protocol: a connection of packets. The container sends a packet with a descriptor, a sealed memory file that is its module. The
// node answers with a packet that has a descriptor, the entry, or else holds a sentence that says why there is none.
const (
	network   = "unixpacket"
	maxReason = 512
	maxModule = 1 << 30
	sealed    = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
)

// askTimeout is how long a container waits for its node: longer than the node takes to compile or to give up.
const askTimeout = 10 * time.Minute

// Ask gets the code of a module from the node, which has it or compiles it. Whoever asks need not verify it.
func Ask(ctx context.Context, socket string, module []byte) (*os.File, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(askTimeout)) // sockets have deadlines
	file, err := seal(module)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	node := conn.(*net.UnixConn)
	if err := send(node, "compile", file); err != nil {
		return nil, err
	}
	reason, entry, err := receive(node)
	if err == nil && entry == nil {
		err = errors.New(reason)
	}
	return entry, err
}

// seal makes a file of the module that nobody can change any more.
func seal(module []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("module", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "module")
	if _, err = f.Write(module); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, sealed)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func send(conn *net.UnixConn, text string, file *os.File) error {
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	_, _, err := conn.WriteMsgUnix([]byte(text), rights, nil)
	return err
}

// receive reads a packet and the descriptor that it may have; nil: none.
func receive(conn *net.UnixConn) (text string, file *os.File, err error) {
	packet, control := make([]byte, maxReason), make([]byte, unix.CmsgSpace(4))
	n, c, _, _, err := conn.ReadMsgUnix(packet, control)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:c])
	if err != nil || len(messages) == 0 {
		return string(packet[:n]), nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return string(packet[:n]), nil, err
	}
	return string(packet[:n]), os.NewFile(uintptr(fds[0]), "received"), nil
}

// A Node is the end of the socket that compiles.
type Node struct {
	Cache
	Target string // engine and processor, for [Key]
	// Compile writes the code of a module, which comes from a container: whoever makes it may be hostile.
	Compile func(ctx context.Context, module *os.File, code io.Writer) error
}

// Serve answers a container's connections until the listener is closed. Log is told why a module was not compiled.
func (n *Node) Serve(ctx context.Context, l net.Listener, log func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free := make(chan struct{}, 2*runtime.NumCPU()) // connections of one container
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		free <- struct{}{}
		go func() {
			defer func() { <-free }()
			defer conn.Close()
			if err := n.answer(ctx, conn.(*net.UnixConn)); err != nil {
				log(err)
			}
		}()
	}
}

// requestTimeout is for the packets of a container. It sends its request as soon as it is connected.
const requestTimeout = 10 * time.Second

func (n *Node) answer(ctx context.Context, conn *net.UnixConn) error {
	_ = conn.SetDeadline(time.Now().Add(requestTimeout))
	_, module, err := receive(conn)
	if err != nil || module == nil {
		return nil // a client that does not speak our protocol is no news
	}
	defer module.Close()
	entry, err := n.entry(ctx, module)
	_ = conn.SetDeadline(time.Now().Add(requestTimeout))
	if err != nil {
		reason := err.Error()
		return errors.Join(err, send(conn, reason[:min(len(reason), maxReason)], nil))
	}
	defer entry.Close()
	_ = send(conn, "code", entry) // the container may be gone
	return nil
}

// entry finds the code of a container's module or makes it.
func (n *Node) entry(ctx context.Context, module *os.File) (*os.File, error) {
	module, size, err := reopen(module)
	if err != nil {
		return nil, err
	}
	defer module.Close()
	key, err := Key(n.Target, io.NewSectionReader(module, 0, size))
	if err != nil {
		return nil, err
	}
	entry, err := n.Open(key)
	if err != nil {
		damage := err
		if err := n.compile(ctx, key, module); err != nil {
			return nil, err
		}
		if entry, err = n.Open(key); err != nil {
			return nil, errors.Join(damage, err)
		}
	}
	defer entry.Close()
	return n.readOnly(key, entry)
}

// reopen gives the module a position of its own: the container has one in common with what it sent. Only a file in memory
// that nobody can change is taken: it is the same whenever it is read, and reading it cannot block.
func reopen(module *os.File) (*os.File, int64, error) {
	seals, err := unix.FcntlInt(module.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&sealed != sealed {
		return nil, 0, errors.New("module is not in a sealed file")
	}
	info, err := module.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.Size() > maxModule {
		return nil, 0, fmt.Errorf("module is longer than %d MiB", maxModule>>20)
	}
	own, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(module.Fd())))
	return own, info.Size(), err
}

// compile makes an entry, once for all who ask for it at the same time.
func (n *Node) compile(ctx context.Context, key string, module *os.File) error {
	lock, err := n.lock(ctx, key)
	if err != nil {
		return err
	}
	defer lock.Close()
	if entry, err := n.Open(key); err == nil { // somebody else's, meanwhile
		return entry.Close()
	}
	return n.Put(key, func(w io.Writer) error { return n.Compile(ctx, module, w) })
}

const (
	lockTimeout = 2 * time.Minute // of a container that waits for others' modules
	lockPause   = 20 * time.Millisecond
)

// lock takes one of as many locks as the node has processors: so many modules are compiled at a time on the whole node,
// by all shims, and one module not twice. The end of the process frees it too.
func (n *Node) lock(ctx context.Context, key string) (*os.File, error) {
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(key[:8], 16, 32)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(n.path(fmt.Sprintf("lock-%d", number%uint64(runtime.NumCPU()))), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		select {
		case <-ctx.Done():
			f.Close()
			return nil, errors.New("the node compiles too many modules")
		case <-time.After(lockPause):
		}
	}
	return f, nil
}

// readOnly opens an entry again through a mount that cannot be written to. Else root in a container could: a descriptor
// that is open for reading can be opened for writing by way of /proc.
func (n *Node) readOnly(key string, entry *os.File) (*os.File, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, n.Dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	defer unix.Close(tree)
	attributes := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attributes); err != nil {
		return nil, fmt.Errorf("mount read-only: %w", err)
	}
	fd, err := unix.Openat(tree, key, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: n.path(key), Err: err}
	}
	f := os.NewFile(uintptr(fd), n.path(key))
	if verified, err := entry.Stat(); err != nil || !same(verified, f) {
		f.Close()
		return nil, errors.New("compiled code was replaced meanwhile")
	}
	return f, nil
}

func same(info fs.FileInfo, f *os.File) bool {
	other, err := f.Stat()
	return err == nil && os.SameFile(info, other)
}
