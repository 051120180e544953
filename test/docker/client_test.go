//go:build linux

package docker

import "containerd-shim-wagi-v1/test/machine"

// home is where a published container answers.
const home = "http://127.0.0.1:8080"

var (
	client = machine.NewClient(nil)
	send   = client.Send
	get    = client.Get
	want   = client.Want
)
