package guest

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// A module with a resume point finds the directory /dev/wagi open, after its volumes, and in it one file, the request:
// the guest's variables NAME=value, an empty line, the arguments, one a line.
const (
	devicePath  = "/dev/wagi"
	requestName = "request"
)

func newDevice() *descriptor {
	return &descriptor{device: true, dir: &directory{preopen: devicePath}, path: "."}
}

func (g *guest) isDevice(fd uint32) bool {
	d, err := g.lookup(fd)
	return err == nil && d.device
}

// opensRequest says whether the path_open is going to open the request.
func (g *guest) opensRequest(p params) bool {
	if !g.isDevice(p.u32(0)) || openFlags(p.u32(4), p[5], p.u32(7))&openChanges != 0 {
		return false
	}
	name, err := g.path(p.u32(2), p.u32(3))
	return err == nil && path.Clean(name) == requestName
}

// openDevice opens the directory once more, or the request, which begins anew.
func (g *guest) openDevice(addr, size uint32, flag int) (*descriptor, error) {
	name, err := g.path(addr, size)
	if err != nil {
		return nil, err
	}
	switch name = path.Clean(name); {
	case name != "." && name != requestName:
		return nil, errnoNoent
	case flag&openChanges != 0:
		return nil, errnoRofs
	case name == ".":
		return &descriptor{device: true, dir: &directory{}, path: "."}, nil
	}
	r := bytes.NewReader(g.request())
	return &descriptor{reader: r, request: r}, nil
}

// statInDevice describes what is in the directory. Before it is opened the request has no size.
func (g *guest) statInDevice(addr, size uint32) (sys.Stat_t, error) {
	name, err := g.path(addr, size)
	if err != nil {
		return sys.Stat_t{}, err
	}
	switch path.Clean(name) {
	case ".":
		return statDevice(), nil
	case requestName:
		return statRequest(0), nil
	}
	return sys.Stat_t{}, errnoNoent
}

func statDevice() sys.Stat_t {
	return sys.Stat_t{Mode: fs.ModeDir | 0o555, Ino: 1, Nlink: 1}
}

func statRequest(size int64) sys.Stat_t {
	return sys.Stat_t{Mode: 0o444, Ino: 2, Nlink: 1, Size: size}
}

func deviceEntry(cookie uint64) (dirEntry, error) {
	entries := [...]dirEntry{{".", 1, filetypeDirectory}, {"..", 0, filetypeDirectory}, {requestName, 2, filetypeRegularFile}}
	if cookie >= uint64(len(entries)) {
		return dirEntry{}, io.EOF
	}
	return entries[cookie], nil
}

// request is the content of the request's file.
func (g *guest) request() []byte {
	var b bytes.Buffer
	for e := range g.env.From(0) {
		writeLine(&b, e)
	}
	b.WriteByte('\n')
	for _, arg := range g.call.Args {
		writeLine(&b, arg)
	}
	return b.Bytes()
}

// lineEnds are the characters that some language takes for the end of a line. A client can send them in a path: none may
// make a variable of its own.
var lineEnds = strings.NewReplacer("\n", "\uFFFD", "\r", "\uFFFD", "\v", "\uFFFD", "\f", "\uFFFD", "\x1c", "\uFFFD",
	"\x1d", "\uFFFD", "\x1e", "\uFFFD", "\u0085", "\uFFFD", "\u2028", "\uFFFD", "\u2029", "\uFFFD")

func writeLine(b *bytes.Buffer, s string) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		s = lineEnds.Replace(s)
	}
	b.WriteString(s)
	b.WriteByte('\n')
}
