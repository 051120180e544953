//go:build linux

package shim

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

func pack(t *testing.T, message any) *anypb.Any {
	t.Helper()
	packed, err := typeurl.MarshalAnyToProto(message)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func TestRuncOptions(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "options.toml")
	write(t, file, []byte("Root = \"/run/r\"\nIoUid = 7\n"), 0o600)
	bad := filepath.Join(t.TempDir(), "bad.toml")
	write(t, bad, []byte("\nSystemdCgroup = true\nSystemdCGroups = true\n"), 0o600)
	cri := func(body string) *anypb.Any {
		return pack(t, &runtimeoptions.Options{TypeUrl: "x", ConfigBody: []byte(body)})
	}
	tests := []struct {
		name    string
		options *anypb.Any
		want    *options.Options
		err     string
	}{
		{"none", nil, &options.Options{}, ""},
		{"runc's own", pack(t, &options.Options{Root: "/r"}), &options.Options{Root: "/r"}, ""},
		{"with a host in the type URL", &anypb.Any{TypeUrl: "type.googleapis.com/containerd.runc.v1.Options"}, &options.Options{}, ""},
		{"empty TOML", cri(""), &options.Options{}, ""},
		{"TOML of CRI", cri("BinaryName = \"crun\"\nSystemdCgroup = true\nTypeUrl = \"\"\nConfigPath = \"\""),
			&options.Options{BinaryName: "crun", SystemdCgroup: true}, ""},
		{"every key", cri("NoPivotRoot = true\nNoNewKeyring = true\nShimCgroup = \"/s\"\nIoUid = 1\nIoGid = 2\nRoot = \"/r\"\nCriuImagePath = \"/i\"\nCriuWorkPath = \"/w\""),
			&options.Options{NoPivotRoot: true, NoNewKeyring: true, ShimCgroup: "/s", IoUid: 1, IoGid: 2, Root: "/r", CriuImagePath: "/i", CriuWorkPath: "/w"}, ""},
		{"BinaryName that is ourselves", cri("BinaryName = \"" + self + "\""), &options.Options{}, ""},
		{"path", pack(t, &runtimeoptions.Options{ConfigPath: file}), &options.Options{Root: "/run/r", IoUid: 7}, ""},
		{"path that is missing", pack(t, &runtimeoptions.Options{ConfigPath: "/none/x.toml"}), nil, "runtime options: open /none/x.toml: no such file or directory"},
		{"unknown key", cri("SystemdCgroup = true\nSytemdCgroup = true"), nil, `runtime options:2:1: unknown option "SytemdCgroup": invalid argument`},
		{"unknown key in a file", pack(t, &runtimeoptions.Options{ConfigPath: bad}), nil, bad + `:3:1: unknown option "SystemdCGroups": invalid argument`},
		{"an option that runc's shim no longer has", cri("CriuPath = \"/c\""), nil, `unknown option "CriuPath"`},
		{"unknown table", cri("[options]\nRoot = \"/r\""), nil, `unknown option "options"`},
		{"quoted, as runtime-class-manager writes it", cri("SystemdCgroup = 'true'\nNoPivotRoot = \"false\""), &options.Options{SystemdCgroup: true}, ""},
		{"wrong type", cri("SystemdCgroup = \"yes\""), nil, `runtime options:1:17: option "SystemdCgroup": want a bool: invalid argument`},
		{"not TOML", cri("SystemdCgroup ="), nil, "runtime options:1:"},
		{"another message", pack(t, &emptypb.Empty{}), nil, `runtime options of type "google.protobuf.Empty": not supported`},
		{"garbage", &anypb.Any{TypeUrl: criOptions, Value: []byte{0xff}}, nil, "decode runtime options: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := runcOptions(tt.options)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("error %q, want one line with %q", err, tt.err)
				}
				return
			}
			if err != nil || !proto.Equal(got, tt.want) {
				t.Errorf("runcOptions = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestTranslateInfo(t *testing.T) {
	body, err := proto.Marshal(pack(t, &runtimeoptions.Options{ConfigBody: []byte("SystemdCgroup = true")}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := translateInfo(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var packed anypb.Any
	if err := proto.Unmarshal(got, &packed); err != nil {
		t.Fatal(err)
	}
	var opts options.Options
	if err := typeurl.UnmarshalTo(&packed, &opts); err != nil || !opts.SystemdCgroup {
		t.Errorf("options for runc = %v, %v, want SystemdCgroup", &opts, err)
	}
	if got, err := translateInfo(strings.NewReader("")); got != nil || err != nil {
		t.Errorf("without options: %q, %v", got, err)
	}
}

func TestUsesSystemd(t *testing.T) {
	tests := []struct {
		path string
		want bool
	}{
		{"/default/web", false},
		{"", false},
		{"system.slice:docker:4c1f", true},
		{"kubepods-pod1.slice:cri-containerd:ab", true},
		{"/a:b:c", false},
		{"a:b", false},
	}
	for _, tt := range tests {
		if got := usesSystemd(&specs.Linux{CgroupsPath: tt.path}); got != tt.want {
			t.Errorf("usesSystemd(%q) = %v, want %v", tt.path, got, tt.want)
		}
	}
	if usesSystemd(nil) {
		t.Error("usesSystemd(nil) = true")
	}
}

func TestFindRuntime(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := findRuntime("")
	if err == nil || !strings.HasPrefix(err.Error(), `OCI runtime "runc" not found in PATH`) {
		t.Errorf("error %v", err)
	}
}
