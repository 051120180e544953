package instrument

// editor reads a part of the module and copies it, with changes.
type editor struct {
	reader
	out    []byte
	copied int // up to where the part is copied, or dropped
}

func edit(r reader) editor {
	return editor{reader: r, copied: r.at}
}

// copy copies what is read and not yet copied, up to a position.
func (e *editor) copy(to int) {
	e.out = append(e.out, e.data[e.copied:to]...)
	e.copied = to
}

// drop leaves out what is read and not yet copied.
func (e *editor) drop() {
	e.copied = e.at
}

// done copies the rest of what is read.
func (e *editor) done() []byte {
	e.copy(e.at)
	return e.out
}
