package main

import (
	"os"
	"strings"
)

// escape tries to get out of the first volume, where the host has put links out. Its parent has the files secret and the directory outside.
// Each attempt must fail; that nothing changed outside, the host looks at itself.
func escape() {
	links := os.Args[2:] // each leads to the parent of the volume
	for _, link := range links {
		escapeBy(link)
	}
	for _, path := range []string{"..", "../secret", "/", "/secret", "a/../../secret", "./../secret", "..//secret", "../volume/../secret"} {
		attack(path, "../outside")
	}
	// Links of the guest's own.
	expectErr("mkdir", preopen.mkdir("a"), "ok")
	expectErr("mkdir", preopen.mkdir("a/b"), "ok")
	for _, target := range []string{"..", "../secret", "/", "/etc/passwd", "a/../..", "./../.."} {
		refuse("symlink to "+target, preopen.symlink(target, "own"))
	}
	// A link that stays inside until it is moved.
	expectErr("symlink", preopen.symlink("..", "a/up"), "ok")
	expectErr("symlink", preopen.symlink("../..", "a/b/up"), "ok")
	expectErr("rename", preopen.rename("a/up", preopen, "up"), "ok")
	expectErr("rename", preopen.rename("a/b/up", preopen, "upup"), "ok")
	escapeBy("up")
	escapeBy("upup/volume/up")
	// A directory that is moved while it is open.
	fd, e := preopen.open(follow, "a/b", directory, read, 0)
	expectErr("open", e, "ok")
	expectErr("rename", preopen.rename("a/b", preopen, "b"), "ok")
	_, e = dir(fd).open(follow, "../../secret", 0, read, 0)
	refuse("from a moved directory", e)
	// A hard link to a link, read through both.
	if preopen.link(0, "up", "hard") == 0 {
		escapeBy("hard")
	}
}

// escapeBy attacks through a link.
func escapeBy(link string) {
	attack(link+"/secret", link+"/outside")
	attack(link+"/./secret", link+"/outside/../outside")
	_, e := preopen.open(follow, link, directory, read, 0)
	refuse("open "+link, e)
	_, e = preopen.open(follow, link+"/", directory, read, 0)
	refuse("open "+link+"/", e)
	refuse("create by "+link, preopen.writeFile(link, "x", creat))
}

// attack tries every call on a file and a directory outside.
func attack(file, directory string) {
	fresh := file + "new"
	if !strings.HasSuffix(file, "secret") {
		fresh = file + "/new"
	}
	for _, oflags := range []int32{0, trunc, creat, creat | trunc, creat | excl} {
		_, e := preopen.open(follow, file, oflags, read|write, 0)
		refuse("open "+file, e)
		_, e = preopen.open(0, fresh, oflags, read|write, appending)
		refuse("open "+fresh, e)
	}
	if content, e := preopen.readFile(file); e == 0 || strings.Contains(content, "secret") {
		refuse("read "+file, 0)
	}
	for _, lookup := range []int32{0, follow} {
		_, e := preopen.stat(lookup, file)
		refuse("stat "+file, e)
		refuse("set times of "+file, preopen.times(lookup, file))
		refuse("link "+file, preopen.link(lookup, file, "linked"))
		refuse("link to "+file, preopen.link(lookup, "own", fresh))
	}
	_, e := preopen.readlink(directory+"/link", make([]byte, 100))
	refuse("readlink "+directory, e)
	refuse("mkdir "+directory, preopen.mkdir(directory+"/new"))
	refuse("rmdir "+directory, preopen.rmdir(directory))
	refuse("unlink "+file, preopen.unlink(file))
	refuse("rename "+file, preopen.rename(file, preopen, "renamed"))
	refuse("rename to "+file, preopen.rename("own", preopen, file))
	refuse("rename to new "+file, preopen.rename("own", preopen, fresh))
	refuse("symlink at "+file, preopen.symlink("x", fresh))
}

// swap exchanges a directory and a link to the volume's parent, again and again, while another guest peeks.
func swap() {
	for range 2000 {
		expectErr("directory away", preopen.rename("place", preopen, "directory"), "ok")
		expectErr("link there", preopen.rename("up", preopen, "place"), "ok")
		expectErr("link away", preopen.rename("place", preopen, "up"), "ok")
		expectErr("directory there", preopen.rename("directory", preopen, "place"), "ok")
	}
}

func peek() {
	inside := 0
	for range 4000 {
		if content, e := preopen.readFile("place/secret"); e == 0 {
			expect("content", content, "inside")
			inside++
		}
		preopen.writeFile("place/new", "x", creat)
		preopen.link(0, "place/secret", "place/linked")
		preopen.rename("place/linked", preopen, "place/renamed")
		preopen.unlink("place/renamed")
		preopen.mkdir("place/outside")
		preopen.rmdir("place/outside")
	}
	expect("read the file inside", inside > 0, true)
}

func refuse(name string, e uint32) {
	switch errno(e) {
	case "Operation not permitted", "Too many symbolic links", "Not supported":
	default:
		expectErr(name, e, "Operation not permitted")
	}
}

// readOnly tries to change the first volume, which has a file f and a directory d.
func readOnly() {
	const rofs = "Read-only file system"
	for _, oflags := range []int32{trunc, creat, creat | trunc, creat | excl} {
		_, e := preopen.open(follow, "f", oflags, read, 0)
		expectErr("open", e, rofs)
		_, e = preopen.open(follow, "new", oflags, read|write, 0)
		expectErr("open", e, rofs)
	}
	_, e := preopen.open(follow, "f", 0, write, 0)
	expectErr("open to write", e, rofs)
	_, e = preopen.open(follow, "f", 0, 0, appending)
	expectErr("open to append", e, rofs)
	expectErr("mkdir", preopen.mkdir("new"), rofs)
	expectErr("rmdir", preopen.rmdir("d"), rofs)
	expectErr("unlink", preopen.unlink("f"), rofs)
	expectErr("rename", preopen.rename("f", preopen, "new"), rofs)
	expectErr("link", preopen.link(0, "f", "new"), rofs)
	expectErr("symlink", preopen.symlink("f", "new"), rofs)
	expectErr("times", preopen.times(follow, "f"), rofs)
	expectErr("times of the volume", fd_filestat_set_times(int32(preopen), 0, 0, 1), rofs)

	fd, e := preopen.open(follow, "f", 0, read, 0)
	expectErr("open", e, "ok")
	var n uint32
	v := vector([]byte("x"))
	expectErr("write", fd_write(fd, &v, 1, &n), "Bad file number")
	expectErr("set size", fd_filestat_set_size(fd, 0), "Invalid argument")
	expectErr("allocate", fd_allocate(fd, 0, 100), "Invalid argument")
	expectErr("times", fd_filestat_set_times(fd, 0, 0, 1|4), rofs)
	content, e := preopen.readFile("f")
	expectErr("read", e, "ok")
	expect("content", content, "content")
	names, _, e := preopen.readdir(0, 1000)
	expectErr("list", e, "ok")
	expect("entries", len(names), 4)
}
