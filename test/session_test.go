//go:build linux

package test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

// A session is a ctr command that goes on while the test does other things: a container in the foreground.
type session struct {
	*bufio.Scanner // of what it prints on both streams
	cmd            *exec.Cmd
}

// session starts ctr. It is killed when it outlasts the test's machine.Patience.
func (d *daemon) session(t *testing.T, args ...string) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), machine.Patience)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); r.Close() })
	s := &session{bufio.NewScanner(r), d.command(ctx, args...)}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	err = s.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// until reads lines up to the one that contains the text.
func (s *session) until(t *testing.T, text string) {
	t.Helper()
	var seen bytes.Buffer
	for s.Scan() {
		if bytes.Contains(s.Bytes(), []byte(text)) {
			return
		}
		fmt.Fprintln(&seen, s.Text())
	}
	t.Fatalf("no line with %q in\n%s", text, &seen)
}

// code reads to the end and returns the exit status.
func (s *session) code() int {
	for s.Scan() {
	}
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

// terminal runs ctr on a terminal of its own, answers the first line that appears there with an empty one, and returns
// what appears and the exit status.
func (d *daemon) terminal(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), machine.Patience)
	defer cancel()
	master, slave := openTerminal(t)
	defer master.Close()
	cmd := d.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	err := cmd.Start()
	slave.Close()
	if err != nil {
		t.Fatal(err)
	}
	screen := bufio.NewReader(master)
	first, _ := screen.ReadString('\n')
	if _, err := master.WriteString("\n"); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(screen) // ends with EIO when the last holder of the slave is gone
	cmd.Wait()
	return first + string(rest), cmd.ProcessState.ExitCode()
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
