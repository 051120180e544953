//go:build linux

// Package machine gives a suite of end-to-end tests a machine of its own: namespaces in which nothing outlives the suite,
// daemons that end with their test, and the commands that make built.
package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// stage tells the processes of a suite apart: the one that go test started has none.
const (
	stage      = "WAGI_TEST_STAGE"
	stageInit  = "init"
	stageTests = "tests"
)

// Main runs the tests of a package in mount, process and network namespaces of their own, with an empty /run and a
// loopback interface. Their first process reaps what daemons leave; when it ends, no process, mount or network
// interface is left. Files elsewhere and cgroups are the tests' to remove.
// The run fails if a file is left that matches one of the patterns.
// Without root the tests run where they are, so that they can say why they skip.
func Main(m *testing.M, patterns ...string) int {
	var code int
	var err error
	switch os.Getenv(stage) {
	case stageInit:
		code, err = initialize()
	case stageTests:
		return max(m.Run(), left(patterns))
	default:
		if os.Geteuid() != 0 {
			return m.Run()
		}
		code, err = enter()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "namespaces of the tests:", err)
		return 1
	}
	return code
}

// left is 1 if there are files that match one of the patterns, which it names, else 0.
func left(patterns []string) (code int) {
	for _, pattern := range patterns {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			fmt.Println("left behind:", path)
			code = 1
		}
	}
	return code
}

// enter starts the first process of the namespaces and waits for it. Should this process die, so does that.
func enter() (int, error) {
	runtime.LockOSThread()
	signal.Ignore(unix.SIGQUIT) // go test sends it when the time is over: the tests themselves answer to it
	cmd := again(stageInit)
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// again is this very command in another stage.
func again(next string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stage+"="+next)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// initialize is the first process: it prepares the namespaces, starts the tests and reaps until they end.
func initialize() (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, fmt.Errorf("make mounts private: %w", err)
	}
	for target, kind := range map[string]string{"/proc": "proc", "/run": "tmpfs"} {
		if err := unix.Mount(kind, target, kind, 0, ""); err != nil {
			return 0, fmt.Errorf("mount %s: %w", target, err)
		}
	}
	if err := UpLoopback(); err != nil {
		return 0, fmt.Errorf("loopback interface: %w", err)
	}
	cmd := again(stageTests)
	cmd.Env = append(cmd.Env, "WAGI_CODE_CACHE=/run/wagi-code") // of the shims, unless a test says otherwise
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return reap(cmd.Process.Pid)
}

// UpLoopback switches on the loopback interface of the thread's network namespace.
func UpLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// reap waits for all processes until that of the tests has ended, and returns its exit status.
func reap(tests int) (int, error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case pid != tests:
		case status.Signaled():
			return 0, fmt.Errorf("the tests were ended by %v", status.Signal())
		default:
			return status.ExitStatus(), nil
		}
	}
}
