package command

import "strings"

// list is a flag that may be repeated. pflag has such flags, each of which prints its default through 4 KiB of buffer when it is defined:
// 90 KiB of each container's memory.
type list struct {
	values    *[]string
	separator string // between values of one flag; empty: there is one
}

func (l list) String() string { return "" } // all defaults are empty

func (l list) Set(text string) error {
	if l.separator == "" {
		*l.values = append(*l.values, text)
	} else {
		*l.values = append(*l.values, strings.Split(text, l.separator)...)
	}
	return nil
}

func (l list) Type() string { return "list" }
