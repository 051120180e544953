//go:build !linux

package codecache

import (
	"context"
	"errors"
	"os"
)

// Ask fails: containers are on Linux.
func Ask(context.Context, string, []byte) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
