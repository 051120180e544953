//go:build linux

package shim

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/cgi/codecache"
)

func TestCompilersConfiguration(t *testing.T) {
	tests := []struct {
		name, dir, size string
		wantDir         string // empty: nothing is kept
		wantSize        int64
		fault           string
	}{
		{"nothing said", "", "", defaultCache, codecache.DefaultSize, ""},
		{"a directory", "/srv/code", "1000", "/srv/code", 1000, ""},
		{"off", "off", "", "", 0, ""},
		{"relative", "code", "", "", 0, `WAGI_CODE_CACHE="code": want an absolute path, or "off"`},
		{"no number", "", "1GB", "", 0, `WAGI_CODE_CACHE_SIZE="1GB": want a number of bytes`},
		{"nothing to keep", "", "0", "", 0, `WAGI_CODE_CACHE_SIZE="0": want a number of bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(cacheVariable, tt.dir)
			t.Setenv(cacheSizeVariable, tt.size)
			c, err := newCompilers("target")
			if tt.fault != "" {
				if err == nil || err.Error() != tt.fault {
					t.Errorf("got error %v, want %s", err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var dir string
			var size int64
			if c.node != nil {
				dir, size = c.node.Dir, c.node.Size
			}
			if dir != tt.wantDir || size != tt.wantSize {
				t.Errorf("got %q of %d bytes, want %q of %d", dir, size, tt.wantDir, tt.wantSize)
			}
		})
	}
}

// A bundle's path may be longer than the address of a socket can be.
func TestCompilersOpen(t *testing.T) {
	t.Setenv(cacheVariable, t.TempDir())
	c, err := newCompilers("target")
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	path, err := c.open("id", bundle)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o666 {
		t.Errorf("got %v, %v, want a socket for all", info, err)
	}
	t.Chdir(bundle)
	conn, err := net.Dial("unixpacket", compilerSocket)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	c.close("id")
	c.close("id")
	if conn, err := net.Dial("unixpacket", compilerSocket); err == nil {
		conn.Close()
		t.Error("the socket is still served")
	}
}

// A compiler that complains at length gets to its end.
func TestHead(t *testing.T) {
	h := &head{left: 4}
	for _, text := range []string{"abc", "def", "ghi"} {
		if n, err := h.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("write of %q: %d, %v", text, n, err)
		}
	}
	if h.String() != "abcd" {
		t.Errorf("kept %q", h)
	}
}
