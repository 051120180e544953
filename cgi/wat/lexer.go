package wat

import (
	"math"
	"strings"
	"unicode/utf8"
)

type kind byte

const (
	kindEnd kind = iota // of the source
	kindOpen
	kindClose
	kindWord   // keyword or number
	kindName   // $name or $"name"
	kindString // "string"
)

func (k kind) String() string {
	return [...]string{"the end", `"("`, `")"`, "a word", "a name", "a string"}[k]
}

// token is src[start:end]. match is the index of the closing token of an
// opening parenthesis.
type token struct {
	kind       kind
	start, end int32
	match      int32
}

// lexer splits the source into tokens and pairs its parentheses. Comments and
// annotations are gone from the tokens.
type lexer struct {
	src         string
	pos         int
	tokens      []token
	open        []int // tokens of the parentheses that are open
	annotations int   // how many of them are annotations
}

// tokenize returns the tokens of src, the last one being of kindEnd.
func tokenize(src string) []token {
	if len(src) > math.MaxInt32 {
		fail(src, 0, "the source is longer than 2 GiB")
	}
	l := lexer{src: src, tokens: make([]token, 0, len(src)/4+1)}
	if !utf8.ValidString(src) {
		l.failEncoding()
	}
	for l.pos < len(src) {
		l.scan()
	}
	if len(l.open) > 0 {
		unclosed := l.tokens[l.open[len(l.open)-1]]
		fail(src, int(unclosed.start), "parenthesis is never closed")
	}
	l.add(kindEnd, l.pos)
	return l.tokens
}

func (l *lexer) failEncoding() {
	for i, r := range l.src {
		if r == utf8.RuneError && !strings.HasPrefix(l.src[i:], "\uFFFD") {
			fail(l.src, i, "malformed UTF-8")
		}
	}
}

// scan moves over one token, comment or space.
func (l *lexer) scan() {
	start, c := l.pos, l.src[l.pos]
	switch rest := l.src[start:]; {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		l.pos++
	case strings.HasPrefix(rest, ";;"):
		l.lineComment()
	case strings.HasPrefix(rest, "(;"):
		l.blockComment()
	case c == '(':
		l.opening()
	case c == ')':
		l.closing()
	case c == '"':
		l.quoted()
		l.add(kindString, start)
	case strings.HasPrefix(rest, `$"`):
		l.pos++
		l.quoted()
		l.add(kindName, start)
	case isWordChar(c):
		l.word()
	case l.annotations > 0 && strings.IndexByte(",;[]{}", c) >= 0:
		l.pos++
	default:
		r, _ := utf8.DecodeRuneInString(rest)
		fail(l.src, start, "unexpected character %q", r)
	}
}

// add appends a token from start to the present position. No word, name or
// string may touch the next.
func (l *lexer) add(k kind, start int) {
	l.tokens = append(l.tokens, token{kind: k, start: int32(start), end: int32(l.pos)})
	if k < kindWord || l.annotations > 0 || l.pos == len(l.src) {
		return
	}
	if c := l.src[l.pos]; c == '"' || isWordChar(c) {
		fail(l.src, l.pos, "space is missing between %s and %s", excerpt(l.src[start:l.pos]), excerpt(l.src[l.pos:l.pos+1]))
	}
}

func (l *lexer) word() {
	start := l.pos
	for l.pos < len(l.src) && isWordChar(l.src[l.pos]) {
		l.pos++
	}
	switch {
	case l.src[start] != '$':
		l.add(kindWord, start)
	case l.pos == start+1:
		fail(l.src, start, "name is empty")
	default:
		l.add(kindName, start)
	}
}

// opening starts a list, or with "(@" an annotation.
func (l *lexer) opening() {
	start := l.pos
	l.open = append(l.open, len(l.tokens))
	l.pos++
	l.add(kindOpen, start)
	if !l.isAnnotation(start) {
		return
	}
	l.annotations++
	l.pos++
	if l.pos == len(l.src) || l.src[l.pos] != '"' && !isWordChar(l.src[l.pos]) {
		fail(l.src, start, "annotation has no name")
	}
}

func (l *lexer) isAnnotation(start int) bool {
	return strings.HasPrefix(l.src[start:], "(@")
}

// closing ends the innermost list. An annotation takes its tokens with it.
func (l *lexer) closing() {
	if len(l.open) == 0 {
		fail(l.src, l.pos, `unexpected ")": nothing is open`)
	}
	innermost := l.open[len(l.open)-1]
	l.open = l.open[:len(l.open)-1]
	l.pos++
	if l.isAnnotation(int(l.tokens[innermost].start)) {
		l.annotations--
		l.tokens = l.tokens[:innermost]
		return
	}
	l.tokens[innermost].match = int32(len(l.tokens))
	l.add(kindClose, l.pos-1)
}

// quoted moves over a string; its escapes are checked when it is decoded.
func (l *lexer) quoted() {
	start := l.pos
	for l.pos++; l.pos < len(l.src); l.pos++ {
		switch c := l.src[l.pos]; {
		case c == '"':
			l.pos++
			return
		case c == '\\':
			l.pos++
		case c == '\n':
			fail(l.src, start, "string is not closed on its line")
		case c < ' ' || c == 0x7f:
			fail(l.src, l.pos, `control character in a string: write it as \%02x`, c)
		}
	}
	fail(l.src, start, "string is never closed")
}

func (l *lexer) lineComment() {
	length := strings.IndexAny(l.src[l.pos:], "\n\r")
	if length < 0 {
		length = len(l.src) - l.pos
	}
	l.pos += length
}

func (l *lexer) blockComment() {
	start, depth := l.pos, 0
	for l.pos < len(l.src) {
		switch rest := l.src[l.pos:]; {
		case strings.HasPrefix(rest, "(;"):
			depth++
			l.pos += 2
		case strings.HasPrefix(rest, ";)"):
			depth--
			l.pos += 2
		default:
			l.pos++
		}
		if depth == 0 {
			return
		}
	}
	fail(l.src, start, "comment is never closed")
}

// isWordChar tells the characters of keywords, numbers and names.
func isWordChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`"(),;[]{}`, c) < 0
}
