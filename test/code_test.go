//go:build linux

package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

// entries are the compiled code of the node, by name.
func (w workspace) entries(t *testing.T) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	paths, _ := filepath.Glob(w.code() + "/[0-9a-f]*")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found[path] = text
	}
	return found
}

// serveAll is serve that waits until all modules are compiled.
func (d *daemon) serveAll(t *testing.T, id string) (pid int) {
	t.Helper()
	pid, client := d.serve(t, id)
	ready(t, client)
	return pid
}

// ready waits until a gateway has compiled all modules.
func ready(t *testing.T, client *machine.Client) {
	t.Helper()
	machine.Await(t, func() error {
		text, err := client.Get(home + "readyz")
		if err == nil && text != "OK" {
			err = fmt.Errorf("not ready: %s", text)
		}
		return err
	})
}

// A module is compiled once on a node. What is damaged is compiled again, and no container sees the directory.
func TestCode(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.serveAll(t, "one")
		made := d.entries(t)
		if len(made) == 0 {
			t.Fatal("no compiled code on the node")
		}
		inodes := map[string]uint64{}
		for path := range made {
			inodes[path] = inode(t, path)
		}
		pid := d.serveAll(t, "two")
		if got := len(d.entries(t)); got != len(made) {
			t.Errorf("%d entries after the second container, want %d", got, len(made))
		}
		for path, want := range inodes {
			if inode(t, path) != want {
				t.Errorf("%s was made again", path)
			}
		}
		if table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)); err != nil || bytes.Contains(table, []byte(d.code())) || !bytes.Contains(table, []byte(" /dev/wagi.compiler ")) {
			t.Errorf("mounts of the container: %v\n%s", err, table)
		}
		for path, content := range made {
			poison := bytes.Clone(content)
			poison[len(poison)/2] ^= 1
			if err := os.WriteFile(path, poison, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d.serveAll(t, "three")
		for path, content := range d.entries(t) {
			if !bytes.Equal(content, made[path]) {
				t.Errorf("%s was not compiled again", path)
			}
		}
		if log, err := os.ReadFile(d.dir + "/log"); err != nil || bytes.Contains(log, []byte("not compiled by the node")) {
			t.Errorf("log of the node: %v\n%s", err, log)
		}
	})
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		t.Fatal(err)
	}
	return info.Ino
}

// large is the ctr command that runs the example hello, which takes a second to compile.
func (d *daemon) large(t *testing.T, id string) []string {
	t.Helper()
	dir := machine.Out("images/hello")
	if _, err := os.Stat(dir + "/hello.wasm"); err != nil {
		machine.Skip(t, "%v", err)
	}
	return container(wagi, id, append(background, "--mount", "type=bind,src="+dir+",dst=/data,options=rbind:ro"), "/data/modules.toml")
}

// hello asks the example for its greeting.
func (d *daemon) hello(t *testing.T, id string) {
	t.Helper()
	client := browser(network(d.pid(t, id)))
	ready(t, client)
	client.Want(t, home, "Hello, world!\n")
}

// compiler waits for the process that compiles for this containerd's containers.
func (d *daemon) compiler(t *testing.T, shim int) (pid int) {
	t.Helper()
	machine.Await(t, func() error {
		paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range paths {
			command, _ := os.ReadFile(path)
			pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if string(command) == "wagi\x00generate\x00" && parent(pid) == shim {
				return nil
			}
		}
		return fmt.Errorf("the shim %d has no compiler", shim)
	})
	return pid
}

// The compiler has nothing that could be taken from it.
func TestCompiler(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.ctr(t, d.large(t, "web")...)
		shim := d.shim(t, "web")
		pid := d.compiler(t, shim)
		proc := fmt.Sprintf("/proc/%d/", pid)
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		status := read(t, proc+"status")
		const uid = 0x77616769
		for _, line := range []string{
			fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d", uid), fmt.Sprintf("Gid:\t%d\t%[1]d\t%[1]d\t%[1]d", uid), "Groups:\t ",
			"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
			"NoNewPrivs:\t1",
		} {
			if !strings.Contains(status, line+"\n") {
				t.Errorf("want %q in the status:\n%s", line, status)
			}
		}
		for _, name := range []string{"net", "mnt", "pid", "ipc", "uts"} {
			if own, of := link(t, proc+"ns/"+name), link(t, fmt.Sprintf("/proc/%d/ns/%s", shim, name)); own == of {
				t.Errorf("the compiler has the namespace %s of the shim", own)
			}
		}
		if files, err := filepath.Glob(proc + "root/*"); err != nil || len(files) != 2 {
			t.Errorf("the compiler sees %q, %v, want its program and a folder", files, err)
		}
		if got := read(t, proc+"oom_score_adj"); got != "1000\n" {
			t.Errorf("oom_score_adj %q", got)
		}
		if limits := read(t, proc+"limits"); !strings.Contains(limits, "Max cpu time              120 ") {
			t.Errorf("limits:\n%s", limits)
		}
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		d.hello(t, "web")
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func link(t *testing.T, path string) string {
	t.Helper()
	to, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// A compiler ends with its container, and with its shim.
func TestCompilerEnds(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.ctr(t, d.large(t, "deleted")...)
		pid := d.compiler(t, d.shim(t, "deleted"))
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := d.remove("deleted"); err != nil {
			t.Error(err)
		}
		ended(t, pid)

		d.ctr(t, d.large(t, "killed")...)
		shim := d.shim(t, "killed")
		pid = d.compiler(t, shim)
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(shim, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		ended(t, pid)
	})
}

// A large module starts in a small container, because the node compiles it, for whatever user the container has.
func TestSmall(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		for _, id := range []string{"cold", "warm", "user"} {
			flags := []string{"run", "--memory-limit", "67108864"}
			if id == "user" && d.version != "1.6." { // whose ctr has no --user
				flags = append(flags, "--user", "1000:1000")
			}
			d.ctr(t, append(flags, d.large(t, id)[1:]...)...)
			d.hello(t, id)
		}
	})
}

// ended waits for the end of a process.
func ended(t *testing.T, pid int) {
	t.Helper()
	machine.Await(t, func() error {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !bytes.Contains(stat, []byte(") Z ")) {
			return fmt.Errorf("process %d lives", pid)
		}
		return nil
	})
}

// A node that cannot keep code, or whose compiler is killed, has containers that compile themselves.
func TestNoCode(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		if err := os.Mkdir(d.code(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("full", d.code(), "tmpfs", 0, "size=4k"); err != nil {
			t.Fatal(err)
		}
		d.serve(t, "full")
		if err := d.remove("full"); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(d.code(), unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		d.ctr(t, d.large(t, "killed")...)
		if err := unix.Kill(d.compiler(t, d.shim(t, "killed")), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		d.hello(t, "killed")
		if left, _ := filepath.Glob(d.code() + "/.new-*"); len(left) > 0 {
			t.Errorf("left of what was not compiled: %q", left)
		}
	})
}
