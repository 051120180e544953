//go:build unix

package codecache

import (
	"io/fs"
	"os"
	"syscall"
)

// trusted says whether only root and this user can have written the file.
func trusted(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && (owner.Uid == 0 || int(owner.Uid) == os.Geteuid()) && info.Mode()&0o022 == 0
}
