//go:build linux

package docker

import (
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// In a network of the user's, containers find each other by name. A guest that may send requests needs the address: a name leads to no
// private one.
func TestNetworks(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	e.docker(t, "network", "create", "--subnet", "10.9.0.0/24", "site")
	e.docker(t, "run", "--detach", "--name", "other", "--runtime", wagi, "--network", "site", "--ip", "10.9.0.9", "--network-alias", "second", "guests")
	e.run(t, "web", "guests", "--network", "site")
	want(t, home, "hello\n")
	for _, name := range []string{"other", "second"} {
		machine.Await(t, func() error {
			return e.try("run", "--rm", "--runtime", wagi, "--network", "site", "--entrypoint", "/native", "guests", "get", "http://"+name+":3000/").Error()
		})
	}
	want(t, home+"/fetch?http://10.9.0.9:3000/", "0\n")

	e.docker(t, "network", "create", "elsewhere")
	e.docker(t, "network", "connect", "elsewhere", "other")
	e.docker(t, "network", "disconnect", "site", "other")
	if text, err := get(home + "/fetch?http://10.9.0.9:3000/"); err != nil || text == "0\n" {
		t.Errorf("a guest reached a container that has left the network: %q, %v", text, err)
	}

	e.docker(t, "run", "--detach", "--name", "host", "--runtime", wagi, "--network", "host", "--env", "PORT=9000", "guests")
	want(t, "http://127.0.0.1:9000", "hello\n")
	e.docker(t, "run", "--detach", "--name", "random", "--runtime", wagi, "--publish", "127.0.0.1::3000", "guests")
	want(t, "http://"+e.docker(t, "port", "random", "3000/tcp"), "hello\n")
	e.docker(t, "run", "--detach", "--name", "none", "--runtime", wagi, "--network", "none", "guests")
	machine.Await(t, func() error { return e.try("exec", "none", "wagi", "health").Error() })
}
