//go:build !linux

package guest

import (
	"errors"
	"io"
	"os"
)

// link gives a copy of an open file the path.
func link(f *os.File, path string) error {
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return errors.Join(err, to.Close())
}
