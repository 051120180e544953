package wat

import (
	"fmt"
	"strings"
)

// Error is a mistake in the source.
type Error struct {
	Line   int // from 1
	Column int // from 1, in bytes
	Msg    string
}

// Error is "LINE:COLUMN: message".
func (e *Error) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg)
}

// fail leaves the assembler with an error at an offset of src. It panics with
// the *Error that Assemble recovers and returns: the parser is deeply nested,
// and none of it goes on after a mistake.
func fail(src string, offset int, format string, args ...any) {
	before := src[:offset]
	panic(&Error{
		Line:   1 + strings.Count(before, "\n"),
		Column: offset - strings.LastIndexByte(before, '\n'),
		Msg:    fmt.Sprintf(format, args...),
	})
}

// excerpt shortens s to what fits into a message.
func excerpt(s string) string {
	const most = 40
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
