// Story is a guest that tries its system calls. What it gets is compared here; it exits with status 1 when anything differs.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
	"unsafe"
)

// preopen is the descriptor of the first volume.
const preopen = dir(3)

var failed bool

func main() {
	stories := map[string]func(){
		"streams":   streams,
		"calls":     calls,
		"clocks":    clocks,
		"hoard":     hoard,
		"files":     files,
		"raw-files": rawFiles,
		"escape":    escape,
		"read-only": readOnly,
		"unstable":  unstable,
		"volumes":   volumes,
		"fifo":      fifo,
		"swap":      swap,
		"peek":      peek,
	}
	stories[os.Args[1]]()
	if failed {
		os.Exit(1)
	}
}

func expect[T comparable](name string, got, want T) {
	if got != want {
		failed = true
		_, _, line, _ := runtime.Caller(1)
		fmt.Fprintf(os.Stderr, "line %d: %s: got %v, want %v\n", line, name, got, want)
	}
}

func expectErr(name string, e uint32, want string) {
	if errno(e) != want {
		failed = true
		_, _, line, _ := runtime.Caller(1)
		fmt.Fprintf(os.Stderr, "line %d: %s: got %q, want %q\n", line, name, errno(e), want)
	}
}

func expectNil(name string, err error) {
	if err != nil {
		failed = true
		_, _, line, _ := runtime.Caller(1)
		fmt.Fprintf(os.Stderr, "line %d: %s: %v\n", line, name, err)
	}
}

func streams() {
	fmt.Printf("args %q\n", os.Args)
	fmt.Printf("env %q\n", os.Environ())
	body, err := io.ReadAll(os.Stdin)
	expectNil("stdin", err)
	fmt.Printf("stdin %q\n", body)
	fmt.Fprintln(os.Stderr, "to stderr")
}

func calls() {
	var n uint32
	var v iovec
	buf := make([]byte, 64)
	for fd := range int32(3) {
		var st fdstat
		expectErr("fdstat", fd_fdstat_get(fd, unsafe.Pointer(&st)), "ok")
		expect("type of a stream that is no terminal", st.filetype, 0)
		expect("readable", st.rights&read != 0, fd == 0)
		expect("writable", st.rights&write != 0, fd != 0)
		var fst filestat
		expectErr("filestat", fd_filestat_get(fd, unsafe.Pointer(&fst)), "ok")
		expectErr("seek", fd_seek(fd, 0, 1, new(uint64)), "Illegal seek")
		expectErr("nonblock", fd_fdstat_set_flags(fd, nonblocking), "Not supported")
		expectErr("recv", sock_recv(fd, &v, 1, 0, &n, &n), "Socket operation on non-socket")
		expectErr("readdir", fd_readdir(fd, unsafe.Pointer(&buf[0]), 64, 0, &n), "Not a directory")
	}
	_, e := dir(0).open(follow, "x", 0, read, 0)
	expectErr("open below a stream", e, "Not a directory")
	expectErr("no such descriptor", fd_close(99), "Bad file number")
	expectErr("no such descriptor", fd_close(-1), "Bad file number")
	v = vector(buf)
	expectErr("write to stdin", fd_write(0, &v, 1, &n), "Bad file number")
	expectErr("read from stdout", fd_read(1, &v, 1, &n), "Bad file number")
	expectErr("read at the end", fd_read(0, &v, 1, &n), "ok")
	expect("read at the end", n, 0)
	expectErr("yield", sched_yield(), "ok")
	expectErr("rights", fd_fdstat_set_rights(0, read, 0), "ok")
	expectErr("raise", proc_raise(6), "Not implemented on wasip1")

	random := make([]byte, 3<<20)
	expectErr("random", random_get(unsafe.Pointer(&random[0]), int32(len(random))), "ok")
	expect("random", [8]byte(random[len(random)-8:]) != [8]byte{}, true)
	expectErr("renumber", fd_renumber(2, 0), "ok")
	expectErr("stdin is gone", fd_write(2, &v, 0, &n), "Bad file number")
	expectErr("stderr is 0", fd_write(0, &v, 0, &n), "ok")
}

func clocks() {
	var wall, mono, before, after, res uint64
	for clock := range int32(4) {
		expectErr("clock", clock_time_get(clock, 1, &before), "ok")
		for begin := time.Now(); time.Since(begin) < time.Millisecond; {
		}
		expectErr("clock", clock_time_get(clock, 1, &after), "ok")
		expect("clock runs", after > before, true)
		expectErr("resolution", clock_res_get(clock, &res), "ok")
	}
	expectErr("no such clock", clock_time_get(4, 1, &wall), "Invalid argument")
	expectErr("no such clock", clock_res_get(4, &wall), "Invalid argument")
	clock_time_get(0, 1, &wall)
	expect("wall clock", time.Unix(0, int64(wall)).Year() >= 2024, true)

	const pause = 30e6
	clock_time_get(1, 1, &mono)
	subs := [3]clockSubscription{
		{userdata: 7, clock: 1, timeout: 1 << 63},
		{userdata: 8, clock: 1, timeout: pause},
		{userdata: 9, clock: 1, timeout: mono + pause, flags: 1},
	}
	var events [3]event
	var n uint32
	for i, sub := range subs[1:] {
		begin := time.Now()
		expectErr("poll", poll_oneoff(unsafe.Pointer(&sub), unsafe.Pointer(&events), 1, &n), "ok")
		expect("events", n, 1)
		expect("event", events[0], event{userdata: uint64(8 + i)})
		if i == 0 {
			expect("slept", time.Since(begin) >= pause, true)
		}
	}
	expectErr("poll", poll_oneoff(unsafe.Pointer(&subs), unsafe.Pointer(&events), 2, &n), "ok")
	expect("events", n, 1)
	expect("event", events[0].userdata, 8)
	fd := clockSubscription{userdata: 5, kind: 1, clock: 0} // reading descriptor 0
	expectErr("poll", poll_oneoff(unsafe.Pointer(&fd), unsafe.Pointer(&events), 1, &n), "ok")
	expect("event", events[0], event{userdata: 5, kind: 1, nbytes: 1})
	fd = clockSubscription{userdata: 5, kind: 2, clock: 77}
	expectErr("poll", poll_oneoff(unsafe.Pointer(&fd), unsafe.Pointer(&events), 1, &n), "ok")
	expect("event of a bad descriptor", events[0].errno, 8)
	expectErr("poll nothing", poll_oneoff(unsafe.Pointer(&subs), unsafe.Pointer(&events), 0, &n), "Invalid argument")
	fd.kind = 3
	expectErr("poll unknown", poll_oneoff(unsafe.Pointer(&fd), unsafe.Pointer(&events), 1, &n), "Invalid argument")

	var old [2]clockSubscriptionUnstable
	old[0] = clockSubscriptionUnstable{userdata: 1, clock: 1, timeout: 1 << 62}
	old[1] = clockSubscriptionUnstable{userdata: 2, clock: 1, timeout: pause}
	expectErr("unstable poll", unstable_poll_oneoff(unsafe.Pointer(&old), unsafe.Pointer(&events), 2, &n), "ok")
	expect("events", n, 1)
	expect("event", events[0].userdata, 2)
}

// hoard opens all it can and leaves it open, directories in the middle of being listed too.
func hoard() {
	fd, e := int32(0), uint32(0)
	for i := 0; e == 0; i++ {
		if i%2 == 0 {
			fd, e = preopen.open(follow, "hoard", creat, read|write, 0)
		} else if fd, e = preopen.open(follow, ".", directory, read, 0); e == 0 {
			dir(fd).readdir(0, 4096)
		}
	}
	expectErr("too many", e, "Too many open files")
}
