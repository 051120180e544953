package command

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// controlPrefix begins the names of the sockets of the gateways in this pid namespace. They are abstract ones: a container
// may have no place where a file could be made, and these end with the process. The containers of a pod share a network, and
// with it these names, but not the pid namespace.
func controlPrefix() (string, error) {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	return "@wagi/" + namespace + "/", err
}

func listenControl() (net.Listener, error) {
	prefix, err := controlPrefix()
	if err != nil {
		return nil, err
	}
	return net.Listen("unix", fmt.Sprintf("%s%d", prefix, os.Getpid()))
}

// controlNames are the sockets of the gateways that run here.
func controlNames() []string {
	prefix, err := controlPrefix()
	if err != nil {
		return nil
	}
	table, err := os.Open("/proc/self/net/unix")
	if err != nil {
		return nil
	}
	defer table.Close()
	var names []string
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if name := fields[len(fields)-1]; strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names) // each connection has a line of its own
	return slices.Compact(names)
}

// trusted says whether the process at the other end of conn is of root or of the user of this one: these sockets have no mode.
func trusted(conn net.Conn) bool {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return err == nil && peerErr == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}
