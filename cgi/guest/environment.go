package guest

import "iter"

// Environment is a guest's environment as programs get it: NAME=value of each variable and a zero, in one piece of memory.
// The zero Environment is empty.
type Environment struct {
	text []byte
	ends []uint32 // of the variables in text, behind the zero
}

// NewEnvironment has the given variables, NAME=value each.
func NewEnvironment(variables ...string) *Environment {
	e := &Environment{}
	for _, v := range variables {
		e.Add(v)
	}
	return e
}

// Add adds a variable, given as pieces of NAME=value.
func (e *Environment) Add(pieces ...string) {
	for _, piece := range pieces {
		e.text = append(e.text, piece...)
	}
	e.text = append(e.text, 0)
	e.ends = append(e.ends, uint32(len(e.text)))
}

// AddAll adds the variables of another environment.
func (e *Environment) AddAll(other *Environment) {
	start := uint32(len(e.text))
	e.text = append(e.text, other.text...)
	for _, end := range other.ends {
		e.ends = append(e.ends, start+end)
	}
}

// Reset makes e empty. It keeps its memory.
func (e *Environment) Reset() {
	e.text, e.ends = e.text[:0], e.ends[:0]
}

// Len is the number of variables.
func (e *Environment) Len() int { return len(e.ends) }

// From gives the variables from the first on, NAME=value each.
func (e *Environment) From(first int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := first; i < len(e.ends); i++ {
			start := uint32(0)
			if i > 0 {
				start = e.ends[i-1]
			}
			if !yield(string(e.text[start : e.ends[i]-1])) {
				return
			}
		}
	}
}
