//go:build !linux

package guest

import (
	"os"
	"time"
)

// setAppend turns the append mode of an open file on or off, which only Linux does here.
func setAppend(*os.File, bool) error {
	return errnoNotsup
}

// chtimesFile sets the times of the file that has the name now; the zero time leaves one as it is.
func (v *volume) chtimesFile(_ *os.File, name string, atime, mtime time.Time) error {
	return v.chtimes(name, atime, mtime)
}
