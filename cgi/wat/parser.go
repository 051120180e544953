package wat

import (
	"strings"
	"unicode/utf8"
)

// parser is a position in the tokens of the source.
type parser struct {
	src    string
	tokens []token
	pos    int
}

// fail leaves the assembler with an error at t.
func (p *parser) fail(t token, format string, args ...any) {
	fail(p.src, int(t.start), format, args...)
}

func (p *parser) unexpected(t token, wanted string) {
	found := "the end of the source"
	if t.kind != kindEnd {
		found = excerpt(p.text(t))
	}
	p.fail(t, "unexpected %s, wanted %s", found, wanted)
}

// text is t as it stands in the source.
func (p *parser) text(t token) string { return p.src[t.start:t.end] }

func (p *parser) peek() token { return p.tokens[p.pos] }

// next returns the present token and moves on, but never past the end.
func (p *parser) next() token {
	t := p.tokens[p.pos]
	if t.kind != kindEnd {
		p.pos++
	}
	return t
}

func (p *parser) expect(k kind) token {
	t := p.next()
	if t.kind != k {
		p.unexpected(t, k.String())
	}
	return t
}

func (p *parser) isWord(i int, word string) bool {
	t := p.tokens[i]
	return t.kind == kindWord && p.text(t) == word
}

// isOpen tells whether the list "(keyword …" begins here.
func (p *parser) isOpen(keyword string) bool {
	return p.peek().kind == kindOpen && p.isWord(p.pos+1, keyword)
}

// takeOpen moves over "(keyword" if it is here.
func (p *parser) takeOpen(keyword string) bool {
	if !p.isOpen(keyword) {
		return false
	}
	p.pos += 2
	return true
}

// takeWord moves over the word if it is here.
func (p *parser) takeWord(word string) bool {
	if !p.isWord(p.pos, word) {
		return false
	}
	p.pos++
	return true
}

// takeName moves over a name if one is here.
func (p *parser) takeName() (t token, ok bool) {
	t = p.peek()
	if t.kind != kindName {
		return t, false
	}
	p.pos++
	return t, true
}

// hasChild tells whether the list whose parenthesis is the token i holds
// "(keyword …)" directly.
func (p *parser) hasChild(i int, keyword string) bool {
	for j := i + 1; j < int(p.tokens[i].match); j++ {
		if p.tokens[j].kind != kindOpen {
			continue
		}
		if p.isWord(j+1, keyword) {
			return true
		}
		j = int(p.tokens[j].match)
	}
	return false
}

// name is the identifier of a name token: $"a" and $a are the same.
func (p *parser) name(t token) string {
	t.start++
	if p.src[t.start] != '"' {
		return p.text(t)
	}
	name := p.utf8(t)
	if name == "" {
		p.fail(t, "name is empty")
	}
	return name
}

// strings decodes strings up to the end of the list and joins them.
func (p *parser) strings() []byte {
	var all []byte
	for p.peek().kind != kindClose {
		all = append(all, p.decode(p.expect(kindString))...)
	}
	return all
}

// utf8 decodes a string that is a name in the module.
func (p *parser) utf8(t token) string {
	s := p.decode(t)
	if !utf8.Valid(s) {
		p.fail(t, "%s is not UTF-8", excerpt(p.text(t)))
	}
	return string(s)
}

// decode replaces the escapes of a string token.
func (p *parser) decode(t token) []byte {
	s := make([]byte, 0, t.end-t.start)
	for t.start++; t.start < t.end-1; {
		if c := p.src[t.start]; c != '\\' {
			s = append(s, c)
			t.start++
			continue
		}
		var length int32
		s, length = p.escape(s, t)
		t.start += length
	}
	return s
}

// escape appends what the escape at the start of t stands for to s, and
// returns its length in the source.
func (p *parser) escape(s []byte, t token) ([]byte, int32) {
	const plain, meant = `tnr"'\`, "\t\n\r\"'\\"
	rest := p.src[t.start+1 : t.end-1]
	if i := strings.IndexByte(plain, rest[0]); i >= 0 {
		return append(s, meant[i]), 2
	}
	if strings.HasPrefix(rest, "u{") {
		digits, _, closed := strings.Cut(rest[2:], "}")
		r, err := parseUint("0x"+digits, 32)
		if !closed || err != nil || !utf8.ValidRune(rune(r)) {
			p.fail(t, `bad escape: wanted \u{…} with a Unicode scalar value in hexadecimal`)
		}
		return utf8.AppendRune(s, rune(r)), int32(len(`\u{}`) + len(digits))
	}
	if len(rest) >= 2 && isDigit(rest[0], true) && isDigit(rest[1], true) {
		b, _ := parseUint("0x"+rest[:2], 8)
		return append(s, byte(b)), 3
	}
	r, _ := utf8.DecodeRuneInString(rest)
	p.fail(t, `unknown escape \%c`, r)
	return nil, 0
}

func (p *parser) uint32() uint32 { return uint32(p.uint(32)) }

// uint parses an integer without sign.
func (p *parser) uint(bits int) uint64 {
	return p.unsigned(p.number(), bits)
}

func (p *parser) unsigned(t token, bits int) uint64 {
	n, err := parseUint(p.text(t), bits)
	p.check(t, err)
	return n
}

// int parses an integer that may be signed or unsigned, as two's complement.
func (p *parser) int(bits int) int64 {
	t := p.number()
	n, err := parseInt(p.text(t), bits)
	p.check(t, err)
	return n
}

// float parses a floating-point number into its IEEE 754 bits.
func (p *parser) float(bits int) uint64 {
	t := p.number()
	n, err := parseFloat(p.text(t), bits)
	p.check(t, err)
	return n
}

func (p *parser) number() token {
	t := p.next()
	if t.kind != kindWord {
		p.unexpected(t, "a number")
	}
	return t
}

// check fails if the number t could not be read.
func (p *parser) check(t token, err error) {
	if err != nil {
		p.fail(t, "%v: %s", err, excerpt(p.text(t)))
	}
}
