package command

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/pires/go-proxyproto"
	"github.com/spf13/pflag"
)

// listenOptions are the flags that say where to serve.
type listenOptions struct {
	listen        []string
	socketMode    string
	proxyProtocol []string
}

func (o *listenOptions) addFlags(flags *pflag.FlagSet) {
	flags.VarP(list{&o.listen, ","}, "listen", "l", "`ADDRESS` to serve on: IP:PORT, unix:PATH, unix:@NAME or systemd (its sockets); "+
		"repeatable; default $WAGI_LISTEN, else 0.0.0.0:$PORT, else 127.0.0.1:3000, in a container 0.0.0.0:3000")
	flags.StringVar(&o.socketMode, "socket-mode", "0660", "`MODE` of the files of Unix sockets")
	flags.Var(list{&o.proxyProtocol, ","}, "proxy-protocol", "`PEER` that must begin a connection with a PROXY header, v1 or v2, "+
		"which names the client: an IP address, a network such as 10.0.0.0/8, or unix; repeatable; others are clients themselves")
}

// places are where to serve, and how.
type places struct {
	addresses  []address
	socketMode fs.FileMode
	proxies    proxyPeers
}

func (o *listenOptions) places() (p places, err error) {
	if p.addresses, err = o.addresses(); err != nil {
		return p, err
	}
	mode, err := strconv.ParseUint(o.socketMode, 8, 9)
	if err != nil {
		return p, usageError{fmt.Errorf("--socket-mode %q: want an octal mode, such as 0660", o.socketMode)}
	}
	p.socketMode = fs.FileMode(mode)
	p.proxies, err = parsePeers(o.proxyProtocol)
	return p, err
}

// addresses are where to serve: the first source that names any counts.
func (o *listenOptions) addresses() ([]address, error) {
	from, texts := "--listen", o.listen
	if env := os.Getenv("WAGI_LISTEN"); len(texts) == 0 && env != "" {
		from, texts = "WAGI_LISTEN", strings.Split(env, ",")
	}
	if port := os.Getenv("PORT"); len(texts) == 0 && port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, usageError{fmt.Errorf("PORT %q: want 1 to 65535", port)}
		}
		texts = []string{"0.0.0.0:" + port}
	}
	switch {
	case len(texts) > 0:
	case inContainer():
		texts = []string{"0.0.0.0:3000"}
	default:
		texts = []string{"127.0.0.1:3000"}
	}
	var addresses []address
	for _, text := range texts {
		a, err := parseAddress(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("%s %q: %w", from, text, err)}
		}
		addresses = append(addresses, a)
	}
	return addresses, nil
}

// address is a place to listen: one of its fields is set.
type address struct {
	tcp     netip.AddrPort
	unix    string // path or @NAME of a Unix socket
	systemd bool   // the sockets that systemd has opened
}

const maxSocketPath = 107 // bytes, on Linux

func parseAddress(text string) (address, error) {
	if text == "systemd" {
		return address{systemd: true}, nil
	}
	if name, ok := strings.CutPrefix(text, "unix:"); ok {
		if name == "" || name == "@" || len(name) > maxSocketPath {
			return address{}, fmt.Errorf("want unix:PATH or unix:@NAME of 1 to %d bytes", maxSocketPath)
		}
		return address{unix: name}, nil
	}
	tcp, err := netip.ParseAddrPort(text)
	if err != nil {
		return address{}, errors.New("want IP:PORT, such as 127.0.0.1:3000 or [::1]:3000, or unix:PATH, or systemd")
	}
	return address{tcp: tcp}, nil
}

func (a address) String() string {
	switch {
	case a.systemd:
		return "systemd"
	case a.unix != "":
		return "unix:" + a.unix
	}
	return a.tcp.String()
}

// listener is a listener that knows what to call itself.
type listener struct {
	net.Listener
	address address
}

// url is where clients find the listener: the port is the real one, even if 0 was asked for.
func (l listener) url(scheme string) string {
	host, port := l.address.tcp.Addr(), l.address.tcp.Port()
	switch real := l.Addr().(type) {
	case *net.UnixAddr:
		return "unix:" + real.Name
	case *net.TCPAddr:
		port = uint16(real.Port)
		if l.address.systemd {
			host = real.AddrPort().Addr()
		}
	}
	return scheme + "://" + netip.AddrPortFrom(host, port).String()
}

// open opens all listeners or none. The caller closes them.
func (p places) open(headerTimeout time.Duration) ([]listener, error) {
	var listeners []listener
	for _, a := range p.addresses {
		opened, err := a.listen(p.socketMode)
		for _, l := range opened {
			if p.proxies.unix || len(p.proxies.networks) > 0 {
				l = &proxyproto.Listener{Listener: l, ConnPolicy: p.proxies.policy, ReadHeaderTimeout: cmp.Or(headerTimeout, -1)}
			}
			listeners = append(listeners, listener{deadlineListener{l}, a})
		}
		if err != nil {
			closeAll(listeners)
			return nil, listenError(a, err)
		}
	}
	return listeners, nil
}

// systemConn is the system's connection below TLS, deadlines and the PROXY protocol.
func systemConn(conn net.Conn) net.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(*deadlineConn); ok {
		conn = c.Conn
	}
	if c, ok := conn.(*proxyproto.Conn); ok {
		conn = c.Raw()
	}
	return conn
}

func closeAll(listeners []listener) {
	for _, l := range listeners {
		l.Close()
	}
}

func (a address) listen(mode fs.FileMode) ([]net.Listener, error) {
	if a.systemd {
		return systemdListeners()
	}
	var l net.Listener
	var err error
	if a.unix != "" {
		l, err = listenUnix(a.unix, mode)
	} else {
		l, err = net.Listen("tcp", a.tcp.String())
	}
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// listenUnix makes a Unix socket. Its file, if it has one, is removed when the listener closes.
func listenUnix(name string, mode fs.FileMode) (net.Listener, error) {
	abstract := strings.HasPrefix(name, "@")
	if !abstract {
		if err := removeStale(name); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", name)
	if err != nil || abstract {
		return l, err
	}
	if err := os.Chmod(name, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the file of a socket at which nobody answers: that of a process which was killed.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("the file is there and is no socket")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return syscall.EADDRINUSE
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return err
}

// systemdListeners are the sockets that systemd has opened for this process, sd_listen_fds(3). They stay open for the next one.
func systemdListeners() (listeners []net.Listener, err error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, hintError{errors.New("systemd has passed no socket"), "start wagi by the service of a .socket unit"}
	}
	for _, file := range files {
		l, listenErr := net.FileListener(file)
		file.Close()
		if listenErr != nil {
			err = errors.Join(err, fmt.Errorf("%s takes no connections: %w", file.Name(), listenErr))
		} else {
			listeners = append(listeners, l)
		}
	}
	return listeners, err
}

// listenError says in one sentence why an address cannot be listened on.
func listenError(a address, err error) error {
	var hint hintError
	var system *os.SyscallError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return hintError{fmt.Errorf("listen on %s: the address is in use", a), "another process serves there; choose another address with --listen ADDRESS"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: this machine has no such address", a)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: not permitted", a)
	case errors.As(err, &hint):
		return hintError{fmt.Errorf("listen on %s: %w", a, hint.error), hint.hint}
	case errors.As(err, &system):
		return fmt.Errorf("listen on %s: %w", a, system.Err)
	}
	return fmt.Errorf("listen on %s: %w", a, err)
}

// proxyPeers are whose PROXY headers are believed, and required: a receiver must not guess whether there is one
// (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt, section 2).
type proxyPeers struct {
	networks []netip.Prefix
	unix     bool // all at Unix sockets
}

func parsePeers(texts []string) (proxyPeers, error) {
	var peers proxyPeers
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		switch {
		case text == "unix":
			peers.unix = true
		case err != nil:
			return peers, usageError{fmt.Errorf("--proxy-protocol %q: want an IP address, a network such as 10.0.0.0/8, or unix", text)}
		default:
			peers.networks = append(peers.networks, network)
		}
	}
	return peers, nil
}

func (p proxyPeers) policy(conn proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
	believed := p.unix
	if peer, ok := conn.Upstream.(*net.TCPAddr); ok {
		ip := peer.AddrPort().Addr().Unmap().WithZone("")
		believed = slices.ContainsFunc(p.networks, func(n netip.Prefix) bool { return n.Contains(ip) })
	}
	if believed {
		return proxyproto.REQUIRE, nil
	}
	return proxyproto.SKIP, nil
}
