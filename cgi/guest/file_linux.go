package guest

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control calls f with the number of an open file.
func control(file *os.File, f func(fd uintptr) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = f(fd) }); err != nil {
		return err
	}
	return result
}

// setAppend turns the append mode of an open file on or off.
func setAppend(file *os.File, on bool) error {
	return control(file, func(fd uintptr) error {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		flags &^= unix.O_APPEND
		if on {
			flags |= unix.O_APPEND
		}
		_, err = unix.FcntlInt(fd, unix.F_SETFL, flags)
		return err
	})
}

// chtimesFile sets the times of an open file, wherever its name went; the zero time leaves one as it is.
func (v *volume) chtimesFile(file *os.File, _ string, atime, mtime time.Time) error {
	if err := v.writable(); err != nil {
		return err
	}
	var times [2]unix.Timespec
	for i, t := range []time.Time{atime, mtime} {
		times[i] = unix.NsecToTimespec(t.UnixNano())
		if t.IsZero() {
			times[i].Nsec = unix.UTIME_OMIT
		}
	}
	return control(file, func(fd uintptr) error {
		// utimensat(2): without a path it means the file itself. x/sys/unix always passes a path.
		if _, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, fd, 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); e != 0 {
			return syscall.Errno(e)
		}
		return nil
	})
}
