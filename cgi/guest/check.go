package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// outline is what of a module the engine does not tell: imports that are not functions, and its memory.
type outline struct {
	imports []foreignImport
	missing error    // a function that is imported and not to be had
	memory  bool     // the module has a memory
	pages   uint64   // that the memory begins with
	exports []string // functions
}

// foreignImport is an import of something that is not a function.
type foreignImport struct {
	kind, module, name string
}

var errTruncated = errors.New("is cut off in the middle")

// inspect reads the outline of a binary module. It errs on what is not a module at all; the engine checks the rest.
func inspect(wasm []byte) (o outline, err error) {
	const core, component = "\x00asm\x01\x00\x00\x00", "\x00asm\x0d\x00\x01\x00"
	switch {
	case len(wasm) == 0:
		return o, errors.New("is empty")
	case len(wasm) < len(core) && strings.HasPrefix(core, string(wasm[:min(4, len(wasm))])):
		return o, errTruncated
	case bytes.HasPrefix(wasm, []byte(component)):
		return o, errors.New("is a component (WASI preview 2), not a core module: build for wasm32-wasip1")
	case !bytes.HasPrefix(wasm, []byte(core[:4])):
		return o, errors.New("is not a WebAssembly module: it does not begin with \\0asm")
	case !bytes.HasPrefix(wasm, []byte(core)):
		return o, fmt.Errorf("has WebAssembly version %x, not 1", wasm[4:8])
	}
	const importSection, memorySection, exportSection = 2, 5, 7
	for b := wasm[len(core):]; len(b) > 0; {
		s := scanner{b[1:]}
		id, content := b[0], s.bytes()
		if content == nil {
			return o, errTruncated
		}
		b = s.rest
		switch section := (&scanner{content}); id {
		case importSection:
			o.readImports(section)
		case memorySection:
			if section.uint() > 0 {
				o.memory, o.pages = true, section.limits()
			}
		case exportSection:
			o.readExports(section)
		}
	}
	return o, nil
}

// readImports stops at what it does not know, which the engine refuses anyway.
func (o *outline) readImports(s *scanner) {
	kinds := [...]string{"function", "table", "memory", "global", "tag"}
	for n := s.uint(); n > 0 && len(s.rest) > 0; n-- {
		module, name, kind := string(s.bytes()), string(s.bytes()), s.byte()
		switch kind {
		case 0: // function: its type
			s.uint()
			if _, _, ok := lookupFunction(module, name); !ok && o.missing == nil {
				o.missing = missingFunction(module, name)
			}
			continue
		case 1: // table: type of its elements, limits
			s.byte()
			s.limits()
		case 2:
			s.limits()
		case 3, 4: // global: type, mutability; tag: attribute, type
			s.byte()
			s.uint()
		default:
			return
		}
		o.imports = append(o.imports, foreignImport{kinds[kind], module, name})
	}
}

func missingFunction(module, name string) error {
	return fmt.Errorf("imports the function %q.%q, which the gateway does not have%s", module, name, importHint(module, name))
}

func (o *outline) readExports(s *scanner) {
	for n := s.uint(); n > 0 && len(s.rest) > 0; n-- {
		name, kind := string(s.bytes()), s.byte()
		s.uint()
		if kind == 0 {
			o.exports = append(o.exports, name)
		}
	}
}

// scanner reads the binary format. Behind the end everything is 0.
type scanner struct {
	rest []byte
}

func (s *scanner) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *scanner) uint() uint64 {
	v, n := binary.Uvarint(s.rest)
	s.rest = s.rest[max(n, 0):]
	if n <= 0 {
		s.rest = nil
	}
	return v
}

// bytes reads a length and as many bytes. It is nil when they are not there.
func (s *scanner) bytes() []byte {
	n := s.uint()
	if n > uint64(len(s.rest)) || s.rest == nil {
		s.rest = nil
		return nil
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

// limits reads the limits of a memory or table and gives the lower one.
func (s *scanner) limits() (least uint64) {
	const hasMost = 1
	flags := s.byte()
	least = s.uint()
	if flags&hasMost != 0 {
		s.uint()
	}
	return least
}

// check says why the module cannot run under a limit of so many pages.
func (o outline) check(limit uint32) error {
	if len(o.imports) > 0 {
		i := o.imports[0]
		return fmt.Errorf("imports the %s %q.%q; the gateway gives functions of WASI only%s", i.kind, i.module, i.name, importHint(i.module, i.name))
	}
	if o.missing != nil {
		return o.missing
	}
	if o.pages > uint64(limit) {
		return fmt.Errorf("begins with %.5g MiB of memory, more than its limit of %.5g MiB: raise the limit", float64(o.pages)/16, float64(limit)/16)
	}
	return nil
}

var importHints = []struct {
	module, name string // beginnings
	hint         string
}{
	{"wasix", "", "it is built for WASIX; the gateway gives no network, threads or processes: build for wasm32-wasip1"},
	{preview1, "sock_", "the gateway gives no network"},
	{"wasi", "thread-spawn", "the gateway gives no threads: build for wasm32-wasip1 without threads"},
	{"env", "memory", "the gateway gives no shared memory or threads: build for wasm32-wasip1 without threads"},
	{"wasi:", "", "it is built for WASI preview 2: build for wasm32-wasip1"},
	{experimentalHTTP, "", "the gateway has version 0.10 of it"},
	{"gojs", "", "it is built for GOOS=js: build with GOOS=wasip1"},
	{"go", "", "it is built for GOOS=js: build with GOOS=wasip1"},
	{"wbg", "", "it is built for a browser: build for wasm32-wasip1"},
	{"__wbindgen", "", "it is built for a browser: build for wasm32-wasip1"},
	{"env", "", "an undefined symbol when it was linked"},
}

func importHint(module, name string) string {
	for _, h := range importHints {
		if strings.HasPrefix(module, h.module) && strings.HasPrefix(name, h.name) {
			return " (" + h.hint + ")"
		}
	}
	return ""
}

// compileHints tell by a part of the message what a module needs.
var compileHints = []struct {
	message, hint string
}{
	{"threads", "build for wasm32-wasip1 without threads"},
	{"limits of the unknown kind 0x4", "64-bit memories are not supported: build for wasm32"},
	{"limits of the unknown kind 0x5", "64-bit memories are not supported: build for wasm32"},
	{"2 memories", "several memories are not supported"},
	{"not 0x60", "types of the garbage collection proposal are not supported"},
}

// compileError adds the fix to what the rewriting or the engine says of a module, where there is one.
func compileError(err error) error {
	for _, h := range compileHints {
		if strings.Contains(err.Error(), h.message) {
			return fmt.Errorf("does not compile: %w (%s)", err, h.hint)
		}
	}
	return fmt.Errorf("does not compile: %w", err)
}
