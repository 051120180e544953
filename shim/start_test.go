//go:build linux

package shim

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"google.golang.org/protobuf/proto"
)

func marshal(t *testing.T, message proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBootstraps(t *testing.T) {
	inv := parseInvocation([]string{"-namespace", "moby", "-id", "web", "-address", "/c.sock", "-publish-binary", "/c", "-debug", "start"})
	if inv.action != "start" || !inv.debug {
		t.Fatalf("parseInvocation = %+v", inv)
	}
	tests := []struct {
		name  string
		input []byte
		want  bool
	}{
		{"nothing", nil, false},
		{"the parameters of this container", marshal(t, &bootapi.BootstrapParams{InstanceID: "web", Namespace: "moby"}), true},
		{"those of another", marshal(t, &bootapi.BootstrapParams{InstanceID: "db", Namespace: "moby"}), false},
		{"options", marshal(t, pack(t, &options.Options{Root: "/r"})), false},
		{"garbage", []byte("\xff\xff"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := inv.bootstraps(tt.input); got != tt.want {
				t.Errorf("bootstraps = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestParams(t *testing.T) {
	t.Setenv("TTRPC_ADDRESS", "/c.sock.ttrpc")
	inv := invocation{id: "web", namespace: "moby", address: "/c.sock", debug: true}
	params, err := inv.params(marshal(t, pack(t, &options.Options{ShimCgroup: "/shims"})))
	if err != nil {
		t.Fatal(err)
	}
	var opts options.Options
	if found, err := params.FindExtension(&opts); !found || err != nil || opts.ShimCgroup != "/shims" {
		t.Errorf("options = %v, %v, %v", &opts, found, err)
	}
	if params.InstanceID != "web" || params.Namespace != "moby" || params.ContainerdGrpcAddress != "/c.sock" ||
		params.ContainerdTtrpcAddress != "/c.sock.ttrpc" || params.LogLevel != bootapi.LogLevel_LOG_LEVEL_DEBUG {
		t.Errorf("params = %v", params)
	}
	if _, err := inv.params([]byte("\xff")); err == nil {
		t.Error("garbage on standard input is taken for options")
	}
}

func TestReplay(t *testing.T) {
	input := make([]byte, 1<<20)
	input[len(input)-1] = 1
	file, err := replay(input)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || string(got) != string(input) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestRemoveDeadSocket(t *testing.T) {
	state := t.TempDir()
	t.Chdir(state)
	write(t, "web/config.json", nil, 0o600)
	socket := filepath.Join(state, "s")
	write(t, "web/"+addressFile, []byte("unix://"+socket), 0o600)
	t.Chdir("web")

	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	removeDeadSocket("web")
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("the socket of a living shim is gone: %v", err)
	}
	listener.Close()
	removeDeadSocket("web")
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket of a dead shim stays: %v", err)
	}
}
