// Package wat assembles the WebAssembly text format into the binary format:
// release 2.0 of the specification with the proposals that wazero runs (tail
// calls, extended constants, exceptions, threads, typed function references).
//
// It checks syntax, names, indices and ranges, so that a mistake is told with
// its line and column; types are left to the runtime that compiles the module.
package wat

import "bytes"

const magic = "\x00asm"

// IsText tells by content whether src is the text format rather than a binary
// module, which starts with "\0asm".
func IsText(src []byte) bool {
	return !bytes.HasPrefix(src, []byte(magic))
}

// Assemble translates one module of the text format, with or without
// "(module …)" around it, into the binary format. No name section is written.
// Errors are of type *Error.
func Assemble(src []byte) (binary []byte, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Error:
			err = r
		default:
			panic(r)
		}
	}()
	p := parser{src: string(src)}
	p.tokens = tokenize(p.src)
	return p.module(), nil
}

// module parses the whole source, which holds one module.
func (p *parser) module() []byte {
	if !p.takeOpen("module") {
		return assemble(p, kindEnd)
	}
	p.takeName()
	var binary []byte
	switch {
	case p.takeWord("binary"):
		binary = p.strings()
	case p.takeWord("quote"):
		binary = p.quoted()
	default:
		binary = assemble(p, kindClose)
	}
	p.expect(kindClose)
	p.expect(kindEnd)
	return binary
}

// quoted assembles a module given as strings. Its errors have the place of the
// first string, and their place within the strings in the message.
func (p *parser) quoted() []byte {
	start := p.peek()
	binary, err := Assemble(p.strings())
	if err != nil {
		p.fail(start, "quoted module: %v", err)
	}
	return binary
}
