//go:build !linux

package command

import "net"

// newQuickConn is conn itself.
func newQuickConn(conn net.Conn) net.Conn { return conn }
