//go:build linux

package shim

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestRewriteSpec holds config.json as each client wrote it against what runc gets: NAME.json and NAME.golden.json.
func TestRewriteSpec(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, golden := range files {
		name := strings.TrimSuffix(filepath.Base(golden), ".golden.json")
		t.Run(name, func(t *testing.T) {
			config, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var spec specs.Spec
			if err := json.Unmarshal(config, &spec); err != nil {
				t.Fatal(err)
			}
			k, known := classifyCommand(&spec)
			if k != gateway || !known {
				t.Fatalf("classifyCommand(%q) = %v, %v, want a gateway", spec.Process.Args, k, known)
			}
			rewritten, err := rewriteSpec(config, &spec, k, "/usr/local/bin/containerd-shim-wagi-v1", "/bundle/compiler")
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, rewritten, "", " "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("config.json of %s is not %s; see the difference with -update", name, golden)
			}
		})
	}
}

func TestRewriteKeepsUnknownFields(t *testing.T) {
	config := []byte(`{"future":{"big":18446744073709551615},"process":{"args":["/modules.toml"],"future":[1.50]},"mounts":[{"destination":"/x","future":true}]}`)
	var spec specs.Spec
	if err := json.Unmarshal(config, &spec); err != nil {
		t.Fatal(err)
	}
	rewritten, err := rewriteSpec(config, &spec, gateway, "/shim", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"future":{"big":18446744073709551615}`, `"future":[1.50]`, `{"destination":"/x","future":true}`} {
		if !bytes.Contains(rewritten, []byte(want)) {
			t.Errorf("rewritten config.json lacks %s: %s", want, rewritten)
		}
	}
}

func TestGatewayArgs(t *testing.T) {
	tests := []struct {
		name       string
		args, want []string
	}{
		{"modules.toml as entrypoint", []string{"/modules.toml"}, []string{"/dev/wagi", "-c", "/modules.toml"}},
		{"another file", []string{"conf/site.toml"}, []string{"/dev/wagi", "-c", "conf/site.toml"}},
		{"further arguments are flags", []string{"/m.toml", "-l", "0.0.0.0:80"}, []string{"/dev/wagi", "-c", "/m.toml", "-l", "0.0.0.0:80"}},
		{"flags alone", []string{"--log-format", "json"}, []string{"/dev/wagi", "-c", "/modules.toml", "--log-format", "json"}},
		{"a flag that ends in .toml", []string{"--cache=/etc/cache.toml"}, []string{"/dev/wagi", "-c", "/modules.toml", "--cache=/etc/cache.toml"}},
		{"one file", []string{"--serve", "/app.wasm", "-l", "0.0.0.0:80"}, []string{"/dev/wagi", "--serve", "/app.wasm", "-l", "0.0.0.0:80"}},
		{"one file by annotation", []string{"/app.wasm", "--grace", "3s"}, []string{"/dev/wagi", "--serve", "/app.wasm", "--grace", "3s"}},
		{"a command that is nothing", []string{"/", "--grace", "3s"}, []string{"/dev/wagi", "-c", "/modules.toml", "--grace", "3s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := gatewayArgs("/dev/wagi", tt.args); !slices.Equal(got, tt.want) {
				t.Errorf("gatewayArgs(%q) = %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func TestGatewayEnv(t *testing.T) {
	tests := []struct {
		name      string
		args      string
		env, want []string
	}{
		{"nothing said", "/modules.toml", []string{"PATH=/bin"}, []string{"WAGI_CONTAINER=1", "WAGI_LISTEN=0.0.0.0:3000"}},
		{"PORT", "/", []string{"PORT=8080"}, []string{"WAGI_CONTAINER=1"}},
		{"WAGI_LISTEN", "--grace", []string{"WAGI_LISTEN=127.0.0.1:1"}, []string{"WAGI_CONTAINER=1"}},
		{"an unknown command", "sever", []string{"PORT=1"}, []string{"WAGI_CONTAINER=1", "WAGI_COMMAND=sever"}},
		{"another name", "/app.wasm", []string{"REPORT=1"}, []string{"WAGI_CONTAINER=1", "WAGI_LISTEN=0.0.0.0:3000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := gatewayEnv(tt.env, []string{tt.args}); !slices.Equal(got, tt.want) {
				t.Errorf("gatewayEnv(%q) = %q, want %q", tt.env, got, tt.want)
			}
		})
	}
}

func TestGatewayPath(t *testing.T) {
	tmpfs := specs.Mount{Destination: "/dev", Type: "tmpfs"}
	host := specs.Mount{Destination: "/dev", Type: "bind", Source: "/dev"}
	tests := []struct {
		name   string
		mounts []specs.Mount
		want   string
	}{
		{"a tmpfs on /dev", []specs.Mount{{Destination: "/proc", Type: "proc"}, tmpfs}, gatewayInDev},
		{"no /dev", nil, gatewayInRoot},
		{"the host's /dev", []specs.Mount{tmpfs, host}, gatewayInRoot},
		{"the host's /dev, oddly written", []specs.Mount{tmpfs, {Destination: "//dev/.", Type: "bind", Source: "/dev"}}, gatewayInRoot},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := gatewayPath(tt.mounts); got != tt.want {
				t.Errorf("gatewayPath = %q, want %q", got, tt.want)
			}
		})
	}
}
