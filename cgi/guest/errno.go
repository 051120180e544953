package guest

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// errno is an error number of WASI, the same in preview 1 and wasi_unstable.
type errno uint16

const (
	errnoSuccess     errno = 0
	errnoAcces       errno = 2
	errnoBadf        errno = 8
	errnoBusy        errno = 10
	errnoDquot       errno = 19
	errnoExist       errno = 20
	errnoFault       errno = 21
	errnoFbig        errno = 22
	errnoInval       errno = 28
	errnoIo          errno = 29
	errnoIsdir       errno = 31
	errnoLoop        errno = 32
	errnoMfile       errno = 33
	errnoMlink       errno = 34
	errnoNametoolong errno = 37
	errnoNfile       errno = 41
	errnoNoent       errno = 44
	errnoNomem       errno = 48
	errnoNospc       errno = 51
	errnoNosys       errno = 52
	errnoNotdir      errno = 54
	errnoNotempty    errno = 55
	errnoNotsock     errno = 57
	errnoNotsup      errno = 58
	errnoNxio        errno = 60
	errnoPerm        errno = 63
	errnoPipe        errno = 64
	errnoRange       errno = 68
	errnoRofs        errno = 69
	errnoSpipe       errno = 70
	errnoTxtbsy      errno = 74
	errnoXdev        errno = 75
)

func (e errno) Error() string {
	return "WASI errno " + strconv.Itoa(int(e))
}

var hostErrnos = map[syscall.Errno]errno{
	syscall.EACCES:       errnoAcces,
	syscall.EBADF:        errnoBadf,
	syscall.EBUSY:        errnoBusy,
	syscall.EDQUOT:       errnoDquot,
	syscall.EEXIST:       errnoExist,
	syscall.EFBIG:        errnoFbig,
	syscall.EINVAL:       errnoInval,
	syscall.EIO:          errnoIo,
	syscall.EISDIR:       errnoIsdir,
	syscall.ELOOP:        errnoLoop,
	syscall.EMFILE:       errnoMfile,
	syscall.EMLINK:       errnoMlink,
	syscall.ENAMETOOLONG: errnoNametoolong,
	syscall.ENFILE:       errnoNfile,
	syscall.ENOENT:       errnoNoent,
	syscall.ENOMEM:       errnoNomem,
	syscall.ENOSPC:       errnoNospc,
	syscall.ENOSYS:       errnoNosys,
	syscall.ENOTDIR:      errnoNotdir,
	syscall.ENOTEMPTY:    errnoNotempty,
	syscall.ENOTSUP:      errnoNotsup,
	syscall.ENXIO:        errnoNxio,
	syscall.EPERM:        errnoPerm,
	syscall.EPIPE:        errnoPipe,
	syscall.EROFS:        errnoRofs,
	syscall.ESPIPE:       errnoSpipe,
	syscall.ETXTBSY:      errnoTxtbsy,
	syscall.EXDEV:        errnoXdev,
}

// errnoOf gives the number that tells a guest about err.
func errnoOf(err error) errno {
	if err == nil {
		return errnoSuccess
	}
	if e, ok := errors.AsType[errno](err); ok {
		return e
	}
	if host, ok := errors.AsType[syscall.Errno](err); ok {
		if e, ok := hostErrnos[host]; ok {
			return e
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errnoNoent
	case errors.Is(err, fs.ErrExist):
		return errnoExist
	case errors.Is(err, fs.ErrPermission):
		return errnoAcces
	case errors.Is(err, fs.ErrClosed):
		return errnoBadf
	}
	// What is left of the errors about paths is os.Root's "path escapes from parent", which has no name.
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	if path || link {
		return errnoPerm
	}
	return errnoIo
}
