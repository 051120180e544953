package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
	"unsafe"
)

// files is what programs do with files, by package os.
func files() {
	root := os.Args[2]
	at := func(name string) string { return filepath.Join(root, name) }

	expectNil("mkdir", os.MkdirAll(at("a/b/c"), 0o755))
	expectNil("write", os.WriteFile(at("a/file"), []byte("hello world"), 0o644))
	f, err := os.OpenFile(at("a/file"), os.O_RDWR, 0)
	expectNil("open", err)
	buf := make([]byte, 5)
	_, err = f.ReadAt(buf, 6)
	expectNil("pread", err)
	expect("pread", string(buf), "world")
	_, err = f.WriteAt([]byte("W"), 6)
	expectNil("pwrite", err)
	offset, err := f.Seek(-5, io.SeekEnd)
	expectNil("seek", err)
	expect("seek", offset, 6)
	rest, err := io.ReadAll(f)
	expectNil("read", err)
	expect("read", string(rest), "World")
	_, err = f.Write([]byte("!"))
	expectNil("write at the end", err)
	expectNil("truncate", f.Truncate(8))
	expectNil("sync", f.Sync())
	info, err := f.Stat()
	expectNil("stat", err)
	expect("size", info.Size(), 8)
	expect("regular", info.Mode().IsRegular(), true)
	expectNil("close", f.Close())

	f, err = os.OpenFile(at("a/file"), os.O_WRONLY|os.O_APPEND, 0)
	expectNil("open to append", err)
	f.Seek(0, io.SeekStart)
	f.WriteString("+1")
	f.WriteString("+2")
	f.Close()
	content, _ := os.ReadFile(at("a/file"))
	expect("appended", string(content), "hello Wo+1+2")

	_, err = os.OpenFile(at("a/file"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	expect("exclusive", errors.Is(err, fs.ErrExist), true)
	f, err = os.OpenFile(at("a/file"), os.O_TRUNC|os.O_WRONLY, 0o600)
	expectNil("truncating open", err)
	f.Close()
	info, _ = os.Stat(at("a/file"))
	expect("truncated", info.Size(), 0)

	expectNil("write", os.WriteFile(at("new"), []byte("new"), 0o600))
	expectNil("rename over", os.Rename(at("new"), at("a/file")))
	content, _ = os.ReadFile(at("a/file"))
	expect("renamed", string(content), "new")
	expectNil("hard link", os.Link(at("a/file"), at("a/b/hard")))
	one, _ := os.Stat(at("a/file"))
	two, _ := os.Stat(at("a/b/hard"))
	expect("same file", os.SameFile(one, two), true)
	expectNil("symlink", os.Symlink("../file", at("a/b/soft")))
	expectNil("symlink to a directory", os.Symlink("a/b", at("down")))
	content, err = os.ReadFile(at("down/soft"))
	expectNil("read by two symlinks", err)
	expect("read by two symlinks", string(content), "new")
	target, err := os.Readlink(at("a/b/soft"))
	expectNil("readlink", err)
	expect("readlink", target, "../file")
	info, _ = os.Lstat(at("a/b/soft"))
	expect("lstat", info.Mode().Type(), fs.ModeSymlink)

	when := time.Unix(1e9, 123456789)
	expectNil("chtimes", os.Chtimes(at("a/file"), when, when))
	info, _ = os.Stat(at("a/file"))
	expect("mtime", info.ModTime().Equal(when), true)

	expect("remove a full directory", os.Remove(at("a")) != nil, true)
	_, err = os.Stat(at("absent"))
	expect("absent", errors.Is(err, fs.ErrNotExist), true)

	expectNil("mkdir", os.Mkdir(at("many"), 0o755))
	for i := range 700 {
		expectNil("write", os.WriteFile(at(fmt.Sprintf("many/%03d", i)), nil, 0o600))
	}
	entries, err := os.ReadDir(at("many"))
	expectNil("readdir", err)
	expect("entries", len(entries), 700)
	expect("first entry", entries[0].Name(), "000")
	expect("last entry", entries[699].Name(), "699")
	expectNil("remove all", os.RemoveAll(at("many")))
	_, err = os.Stat(at("many"))
	expect("removed", errors.Is(err, fs.ErrNotExist), true)
}

// rawFiles is what package os does not do, or does not show.
func rawFiles() {
	d := preopen
	var n uint32
	var st fdstat
	expectErr("write", d.writeFile("f", "0123456789", creat|excl), "ok")
	expectErr("fdstat of the volume", fd_fdstat_get(int32(d), unsafe.Pointer(&st)), "ok")
	expect("type", st.filetype, 3)

	fd, e := d.open(follow, "f", 0, read|write, 0)
	expectErr("open", e, "ok")
	fd_fdstat_get(fd, unsafe.Pointer(&st))
	expect("type", st.filetype, 4)
	expect("read and write", st.rights&(read|write), read|write)
	expectErr("append", fd_fdstat_set_flags(fd, appending|nonblocking), "ok")
	v := vector([]byte("+"))
	fd_write(fd, &v, 1, &n)
	expectErr("no append", fd_fdstat_set_flags(fd, 0), "ok")
	var offset uint64
	expectErr("seek", fd_seek(fd, 2, 0, &offset), "ok")
	fd_write(fd, &v, 1, &n)
	expectErr("tell", fd_tell(fd, &offset), "ok")
	expect("tell", offset, 3)
	two := [2]iovec{vector(make([]byte, 3)), vector(make([]byte, 100))}
	expectErr("read", fd_read(fd, &two[0], 2, &n), "ok")
	expect("read into two", n, 8)
	content, _ := d.readFile("f")
	expect("content", content, "01+3456789+")
	expectErr("seek before", fd_seek(fd, -1, 0, &offset), "Invalid argument")
	expectErr("seek somehow", fd_seek(fd, 0, 3, &offset), "Invalid argument")
	expectErr("allocate", fd_allocate(fd, 10, 10), "ok")
	expectErr("allocate nothing", fd_allocate(fd, 0, 0), "Invalid argument")
	expectErr("advise", fd_advise(fd, 0, 0, 0), "ok")
	expectErr("times", fd_filestat_set_times(fd, 3e9, 4e9, 1|4), "ok")
	expectErr("contradicting times", fd_filestat_set_times(fd, 0, 0, 1|2), "Invalid argument")
	var fst filestat
	expectErr("filestat", fd_filestat_get(fd, unsafe.Pointer(&fst)), "ok")
	expect("filestat", filestat{filetype: fst.filetype, nlink: fst.nlink, size: fst.size, atim: fst.atim, mtim: fst.mtim},
		filestat{filetype: 4, nlink: 1, size: 20, atim: 3e9, mtim: 4e9})
	expectErr("mtime only", fd_filestat_set_times(fd, 0, 5e9, 4), "ok")
	fd_filestat_get(fd, unsafe.Pointer(&fst))
	expect("atime stays", fst.atim, 3e9)
	expectErr("set size", fd_filestat_set_size(fd, 4), "ok")
	expectErr("renumber over an open file", fd_renumber(fd, 1), "ok")
	expectErr("old number", fd_close(fd), "Bad file number")
	expectErr("close", fd_close(1), "ok")
	fd, _ = d.open(follow, "f", 0, read, 0)
	expect("lowest number", fd, 1)
	fd_fdstat_get(fd, unsafe.Pointer(&st))
	expect("read only", st.rights&(read|write), read)
	expectErr("write", fd_write(fd, &v, 1, &n), "Bad file number")
	fd_close(fd)

	_, e = d.open(follow, "f", directory, read, 0)
	expectErr("file as directory", e, "Not a directory")
	_, e = d.open(follow, "f", directory|trunc, read, 0)
	expectErr("directory to truncate", e, "Invalid argument")
	_, e = d.open(follow, "absent", directory|creat, read, 0)
	expectErr("directory to create", e, "Invalid argument")
	_, e = d.open(follow, "absent", 0, read, 0)
	expectErr("directory to create", e, "No such file or directory")
	_, e = d.open(follow, "f/", 0, read, 0)
	expectErr("file with a slash", e, "Not a directory")
	_, e = d.open(follow, "f/x", 0, read, 0)
	expectErr("below a file", e, "Not a directory")
	_, e = d.open(follow, "", 0, read, 0)
	expectErr("empty path", e, "No such file or directory")
	_, e = d.open(follow, "a\x00b", creat, read, 0)
	expectErr("zero in a path", e, "Invalid argument")
	_, e = d.open(follow, ".", 0, write, 0)
	expectErr("directory for writing", e, "Is a directory")

	expectErr("mkdir", d.mkdir("dir/"), "ok")
	expectErr("mkdir again", d.mkdir("dir"), "File exists")
	expectErr("unlink a directory", d.unlink("dir"), "Is a directory")
	expectErr("rmdir a file", d.rmdir("f"), "Not a directory")
	expectErr("rename a file over a directory", d.rename("f", d, "dir"), "Is a directory")
	expectErr("rename over itself", d.rename("dir", d, "dir"), "ok")
	expectErr("mkdir", d.mkdir("empty"), "ok")
	expectErr("rename over an empty directory", d.rename("empty", d, "dir"), "ok")
	sub, e := d.open(follow, "dir", directory, read|write, 0)
	expectErr("open a directory", e, "ok")
	expectErr("write below", dir(sub).writeFile("g", "g", creat), "ok")
	expectErr("mkdir", d.mkdir("empty"), "ok")
	expectErr("rename over a full directory", d.rename("empty", d, "dir"), "Directory not empty")
	expectErr("rmdir a full one", d.rmdir("dir"), "Directory not empty")
	expectErr("rename across descriptors", dir(sub).rename("g", d, "g"), "ok")
	expectErr("directory has no offset", fd_seek(sub, 0, 1, &offset), "Is a directory")
	expectErr("read a directory", fd_read(sub, &v, 1, &n), "Is a directory")
	expectErr("directory times", fd_filestat_set_times(sub, 1e9, 1e9, 1|4), "ok")
	expectErr("above a directory", func() uint32 { _, e := dir(sub).open(follow, "../f", 0, read, 0); return e }(), "Operation not permitted")

	expectErr("symlink", d.symlink("f", "soft"), "ok")
	_, e = d.open(0, "soft", 0, read, 0)
	expectErr("no follow", e, "Too many symbolic links")
	expectErr("no follow times", d.times(0, "soft"), "Not supported")
	expectErr("follow times", d.times(follow, "soft"), "ok")
	fst, _ = d.stat(0, "soft")
	expect("lstat", fst.filetype, 7)
	fst, _ = d.stat(follow, "soft")
	expect("stat", fst.filetype, 4)
	target, e := d.readlink("soft", make([]byte, 10))
	expectErr("readlink", e, "ok")
	expect("readlink", target, "f")
	_, e = d.readlink("f", make([]byte, 10))
	expectErr("readlink of a file", e, "Invalid argument")
	expectErr("loop", d.symlink("loop", "loop"), "ok")
	_, e = d.open(follow, "loop", 0, read, 0)
	expectErr("loop", e, "Too many symbolic links")
	expectErr("create by a dangling link", d.symlink("dir/made", "dangling"), "ok")
	expectErr("create by a dangling link", d.writeFile("dangling", "x", creat), "ok")
	content, _ = d.readFile("dir/made")
	expect("made", content, "x")
	listing()
}

// listing reads a directory in every way that cookies allow.
func listing() {
	d := preopen
	expectErr("mkdir", d.mkdir("list"), "ok")
	var want []string
	for i := range 300 {
		expectErr("write", d.writeFile(fmt.Sprintf("list/%03d", i), "", creat), "ok")
		want = append(want, fmt.Sprintf("%03d:4", i))
	}
	want = append(want, ".:3", "..:3")
	sort.Strings(want)
	fd, _ := d.open(follow, "list", directory, read, 0)
	list := dir(fd)
	for _, size := range []int{64, 1000, 1 << 20} {
		var got, again []string
		var cookies []uint64
		for cookie := uint64(0); ; {
			names, next, e := list.readdir(cookie, size)
			expectErr("readdir", e, "ok")
			if len(names) == 0 {
				break
			}
			got = append(got, names...)
			cookies = append(cookies, cookie)
			cookie = next
		}
		sort.Strings(got)
		expect("listing", strings.Join(got, " "), strings.Join(want, " "))
		for i := len(cookies) - 1; i >= 0; i -= 40 {
			names, _, e := list.readdir(cookies[i], size)
			expectErr("readdir", e, "ok")
			again = append(again, names[0])
		}
		expect("an old cookie", len(again) > 0, true)
	}
	_, _, e := list.readdir(99999, 100)
	expectErr("behind the end", e, "ok")
	expectErr("removed", d.unlink("list/000"), "ok")
	names, _, _ := list.readdir(0, 1<<20)
	expect("from the start", len(names), len(want)-1)
}

// unstable compares wasi_unstable with preview 1.
func unstable() {
	d := preopen
	expectErr("write", d.writeFile("f", "0123456789", creat), "ok")
	fd, _ := d.open(follow, "f", 0, read, 0)
	var offset uint64
	for _, seek := range []struct {
		offset int64
		whence int32
		want   uint64
	}{{4, 2, 4}, {1, 0, 5}, {-1, 1, 9}} {
		expectErr("seek", unstable_fd_seek(fd, seek.offset, seek.whence, &offset), "ok")
		expect("seek", offset, seek.want)
		expectErr("tell", unstable_fd_tell(fd, &offset), "ok")
		expect("tell", offset, seek.want)
	}
	var st filestat
	var old filestatUnstable
	fd_filestat_get(fd, unsafe.Pointer(&st))
	want := filestatUnstable{st.dev, st.ino, st.filetype, uint32(st.nlink), st.size, st.atim, st.mtim, st.ctim}
	expectErr("filestat", unstable_fd_filestat_get(fd, unsafe.Pointer(&old)), "ok")
	expect("filestat", old, want)
	old = filestatUnstable{}
	p, n := ptr("f")
	expectErr("filestat", unstable_path_filestat_get(int32(d), follow, p, n, unsafe.Pointer(&old)), "ok")
	expect("filestat", old, want)
}

// fifo opens a fifo that nobody else has open.
func fifo() {
	_, e := preopen.open(follow, "fifo", 0, read, 0)
	expectErr("open to read", e, "Not supported")
	_, e = preopen.open(follow, "fifo", 0, read|write, 0)
	expectErr("open to read and write", e, "Not supported")
	_, e = preopen.open(follow, "fifo", 0, write, 0)
	expectErr("open to write", e, "No such device or address")
}

// volumes writes from one volume to another.
func volumes() {
	for i, root := range os.Args[2:] {
		content, err := os.ReadFile(filepath.Join(root, "name"))
		expectNil("read", err)
		expect("content", string(content), fmt.Sprint(i))
	}
	err := os.Rename(filepath.Join(os.Args[2], "name"), filepath.Join(os.Args[3], "other"))
	expect("rename across volumes", err != nil && strings.Contains(err.Error(), "Cross-device link"), true)
	err = os.Link(filepath.Join(os.Args[2], "name"), filepath.Join(os.Args[3], "other"))
	expect("link across volumes", err != nil && strings.Contains(err.Error(), "Cross-device link"), true)
}
