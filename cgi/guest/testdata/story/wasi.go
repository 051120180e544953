package main

import (
	"fmt"
	"structs"
	"syscall"
	"unsafe"
)

// The system calls themselves, for what package os does not ask for.

//go:wasmimport wasi_snapshot_preview1 path_open
func path_open(dir, lookup int32, path unsafe.Pointer, size, oflags int32, rights, inheriting uint64, fdflags int32, fd *int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_filestat_get
func path_filestat_get(dir, lookup int32, path unsafe.Pointer, size int32, stat unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 path_filestat_set_times
func path_filestat_set_times(dir, lookup int32, path unsafe.Pointer, size int32, atim, mtim uint64, flags int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_link
func path_link(olddir, lookup int32, old unsafe.Pointer, oldsize int32, newdir int32, new unsafe.Pointer, newsize int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_symlink
func path_symlink(target unsafe.Pointer, targetsize, dir int32, path unsafe.Pointer, size int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_readlink
func path_readlink(dir int32, path unsafe.Pointer, size int32, buf unsafe.Pointer, bufsize int32, used *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_rename
func path_rename(olddir int32, old unsafe.Pointer, oldsize, newdir int32, new unsafe.Pointer, newsize int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_create_directory
func path_create_directory(dir int32, path unsafe.Pointer, size int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_remove_directory
func path_remove_directory(dir int32, path unsafe.Pointer, size int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_unlink_file
func path_unlink_file(dir int32, path unsafe.Pointer, size int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_close
func fd_close(fd int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_renumber
func fd_renumber(from, to int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_allocate
func fd_allocate(fd int32, offset, size uint64) uint32

//go:wasmimport wasi_snapshot_preview1 fd_advise
func fd_advise(fd int32, offset, size uint64, advice int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_tell
func fd_tell(fd int32, offset *uint64) uint32

//go:wasmimport wasi_snapshot_preview1 fd_seek
func fd_seek(fd int32, offset int64, whence int32, result *uint64) uint32

//go:wasmimport wasi_snapshot_preview1 fd_read
func fd_read(fd int32, vectors *iovec, count int32, n *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_write
func fd_write(fd int32, vectors *iovec, count int32, n *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_readdir
func fd_readdir(fd int32, buf unsafe.Pointer, size int32, cookie uint64, used *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_get
func fd_fdstat_get(fd int32, stat unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_set_flags
func fd_fdstat_set_flags(fd, flags int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_filestat_get
func fd_filestat_get(fd int32, stat unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_filestat_set_size
func fd_filestat_set_size(fd int32, size uint64) uint32

//go:wasmimport wasi_snapshot_preview1 fd_filestat_set_times
func fd_filestat_set_times(fd int32, atim, mtim uint64, flags int32) uint32

//go:wasmimport wasi_snapshot_preview1 clock_time_get
func clock_time_get(clock int32, precision uint64, time *uint64) uint32

//go:wasmimport wasi_snapshot_preview1 clock_res_get
func clock_res_get(clock int32, time *uint64) uint32

//go:wasmimport wasi_snapshot_preview1 poll_oneoff
func poll_oneoff(subscriptions, events unsafe.Pointer, count int32, n *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 random_get
func random_get(buf unsafe.Pointer, size int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_recv
func sock_recv(fd int32, vectors *iovec, count, flags int32, n *uint32, outflags *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 proc_raise
func proc_raise(signal int32) uint32

//go:wasmimport wasi_unstable fd_seek
func unstable_fd_seek(fd int32, offset int64, whence int32, result *uint64) uint32

//go:wasmimport wasi_unstable fd_filestat_get
func unstable_fd_filestat_get(fd int32, stat unsafe.Pointer) uint32

//go:wasmimport wasi_unstable path_filestat_get
func unstable_path_filestat_get(dir, lookup int32, path unsafe.Pointer, size int32, stat unsafe.Pointer) uint32

//go:wasmimport wasi_unstable poll_oneoff
func unstable_poll_oneoff(subscriptions, events unsafe.Pointer, count int32, n *uint32) uint32

//go:wasmimport wasi_unstable fd_tell
func unstable_fd_tell(fd int32, offset *uint64) uint32

//go:wasmimport wasi_snapshot_preview1 sched_yield
func sched_yield() uint32

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_set_rights
func fd_fdstat_set_rights(fd int32, rights, inheriting uint64) uint32

type iovec struct {
	_    structs.HostLayout
	base uint32
	size uint32
}

func vector(b []byte) iovec {
	return iovec{base: uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), size: uint32(len(b))}
}

type filestat struct {
	dev, ino               uint64
	filetype               uint8
	nlink                  uint64
	size, atim, mtim, ctim uint64
}

type filestatUnstable struct {
	dev, ino               uint64
	filetype               uint8
	nlink                  uint32
	size, atim, mtim, ctim uint64
}

type fdstat struct {
	filetype           uint8
	flags              uint16
	rights, inheriting uint64
}

type clockSubscription struct {
	userdata           uint64
	kind               uint8
	_                  [7]byte
	clock              uint32
	_                  uint32
	timeout, precision uint64
	flags              uint16
	_                  [6]byte
}

type clockSubscriptionUnstable struct {
	userdata           uint64
	kind               uint8
	_                  [7]byte
	identifier         uint64
	clock              uint32
	_                  uint32
	timeout, precision uint64
	flags              uint16
	_                  [6]byte
}

type event struct {
	userdata uint64
	errno    uint16
	kind     uint8
	_        [5]byte
	nbytes   uint64
	flags    uint16
	_        [6]byte
}

const (
	follow = 1 // lookup flag

	creat, directory, excl, trunc = 1, 2, 4, 8 // oflags

	read, write = 1 << 1, 1 << 6 // rights

	appending, nonblocking = 1, 4 // fdflags
)

func ptr(s string) (unsafe.Pointer, int32) {
	return unsafe.Pointer(unsafe.StringData(s)), int32(len(s))
}

// dir is the descriptor of a directory.
type dir int32

func (d dir) open(lookup int32, path string, oflags int32, rights uint64, fdflags int32) (int32, uint32) {
	fd := int32(-1)
	p, n := ptr(path)
	e := path_open(int32(d), lookup, p, n, oflags, rights, ^uint64(0), fdflags, &fd)
	return fd, e
}

func (d dir) stat(lookup int32, path string) (st filestat, e uint32) {
	p, n := ptr(path)
	e = path_filestat_get(int32(d), lookup, p, n, unsafe.Pointer(&st))
	return st, e
}

func (d dir) times(lookup int32, path string) uint32 {
	p, n := ptr(path)
	return path_filestat_set_times(int32(d), lookup, p, n, 1e9, 2e9, 1|4)
}

func (d dir) link(lookup int32, old, new string) uint32 {
	p, n := ptr(old)
	q, m := ptr(new)
	return path_link(int32(d), lookup, p, n, int32(d), q, m)
}

func (d dir) symlink(target, path string) uint32 {
	p, n := ptr(target)
	q, m := ptr(path)
	return path_symlink(p, n, int32(d), q, m)
}

func (d dir) readlink(path string, buf []byte) (string, uint32) {
	var used uint32
	p, n := ptr(path)
	e := path_readlink(int32(d), p, n, unsafe.Pointer(unsafe.SliceData(buf)), int32(len(buf)), &used)
	return string(buf[:used]), e
}

func (d dir) rename(old string, to dir, new string) uint32 {
	p, n := ptr(old)
	q, m := ptr(new)
	return path_rename(int32(d), p, n, int32(to), q, m)
}

func (d dir) mkdir(path string) uint32 {
	p, n := ptr(path)
	return path_create_directory(int32(d), p, n)
}

func (d dir) rmdir(path string) uint32 {
	p, n := ptr(path)
	return path_remove_directory(int32(d), p, n)
}

func (d dir) unlink(path string) uint32 {
	p, n := ptr(path)
	return path_unlink_file(int32(d), p, n)
}

// readdir reads entries as NAME:TYPE with a buffer of size bytes from a cookie on, and the cookie after the last whole one.
func (d dir) readdir(cookie uint64, size int) (names []string, next uint64, e uint32) {
	buf := make([]byte, size)
	var used uint32
	if e = fd_readdir(int32(d), unsafe.Pointer(&buf[0]), int32(size), cookie, &used); e != 0 {
		return nil, 0, e
	}
	next = cookie
	for b := buf[:used]; len(b) >= 24; {
		namelen := *(*uint32)(unsafe.Pointer(&b[16]))
		if int(namelen)+24 > len(b) {
			break
		}
		next = *(*uint64)(unsafe.Pointer(&b[0]))
		names = append(names, fmt.Sprintf("%s:%d", b[24:24+namelen], b[20]))
		b = b[24+namelen:]
	}
	return names, next, 0
}

// writeFile and readFile go around package os, which keeps its own idea of paths.
func (d dir) writeFile(path, content string, oflags int32) uint32 {
	fd, e := d.open(follow, path, oflags, write, 0)
	if e != 0 {
		return e
	}
	defer fd_close(fd)
	var n uint32
	v := vector([]byte(content))
	return fd_write(fd, &v, 1, &n)
}

func (d dir) readFile(path string) (string, uint32) {
	fd, e := d.open(follow, path, 0, read, 0)
	if e != 0 {
		return "", e
	}
	defer fd_close(fd)
	buf := make([]byte, 4096)
	var n uint32
	v := vector(buf)
	e = fd_read(fd, &v, 1, &n)
	return string(buf[:n]), e
}

func errno(e uint32) string {
	if e == 0 {
		return "ok"
	}
	return syscall.Errno(e).Error()
}
