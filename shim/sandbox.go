//go:build linux

package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"golang.org/x/sys/unix"
)

// confineAction is the action of the command line under which a compiler begins, as root; it ends in an exec as nobody.
const confineAction = "confine"

const (
	// compilerID is the user and the group of compilers. No account has it: it is between the ranges that systemd
	// documents as in use by distributions, so nobody else can send signals to a compiler or trace it.
	compilerID = 0x77616769

	compilerCPU   = 120               // seconds of computing; the largest interpreters need 20
	compilerTime  = 5 * time.Minute   // from start to end
	compilerData  = 2 << 30           // bytes of memory that it may write to
	compilerHeap  = "GOMEMLIMIT=1GiB" // of that, what Go's collector aims at
	compilerFile  = 512 << 20         // bytes of code
	compilerFiles = 64                // open at a time
	compilerNice  = 5                 // requests come first, but a start waits for it
	maxComplaint  = 4 << 10           // bytes of a compiler's standard error
)

var errTooLong = errors.New("compiled code is longer than 512 MiB")

// runCompiler compiles a module in a process of its own: without privileges, network and files, with little of everything
// else. It reads hostile input, so what it writes is good for that module alone. dir is where its root is mounted.
func runCompiler(ctx context.Context, dir string, module *os.File, code io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, compilerTime)
	defer cancel()
	output := &limited{w: code, left: compilerFile}
	complaint := &head{left: maxComplaint}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", confineAction, dir)
	cmd.Env = []string{compilerHeap}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout = module, output
	cmd.Stderr = complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Setsid:     true,
	}
	// The parent's death signal comes when the thread ends that has started the compiler.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exit, err := reaper.Default.Start(cmd)
	if err != nil {
		return fmt.Errorf("start compiler: %w", err)
	}
	status, err := reaper.Default.Wait(cmd, exit)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("compiler was stopped: %w", ctx.Err())
	case err != nil:
		return err
	case output.left < 0:
		return errTooLong
	case status != 0:
		return fmt.Errorf("compiler failed with status %d: %s", status, firstLine(complaint.String()))
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// limited passes on so many bytes and then fails.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errTooLong
	}
	return l.w.Write(p)
}

// head keeps so many bytes and drops the rest.
type head struct {
	bytes.Buffer
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	h.left -= n
	h.Buffer.Write(p[:n])
	return len(p), nil
}

// confine makes this process the compiler: the only process of its namespaces, in a file system in memory that holds nothing but the
// gateway, and nobody. dir is any directory; outside nothing is mounted on it. It returns only errors.
func confine(dir string, gateway Gateway) error {
	runtime.LockOSThread() // what follows is about threads
	program, err := gateway.path(context.Background(), dir)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(dir string) error
	}{
		{"be killed first", killFirst},
		{"change the root", func(dir string) error { return changeRoot(dir, program) }},
		{"set limits", setLimits},
		{"give up privileges", giveUp},
	} {
		if err := step.do(dir); err != nil {
			return fmt.Errorf("confine the compiler: %s: %w", step.what, err)
		}
	}
	return unix.Exec("/wagi", []string{"wagi", "generate"}, os.Environ())
}

// killFirst undoes what protects a shim when the node's memory is used up.
func killFirst(string) error {
	return os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
}

func changeRoot(dir, program string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=0755,nr_inodes=64,size=%d", compilerFile)
	if err := unix.Mount("compiler", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return err
	}
	wagi := filepath.Join(dir, "wagi")
	if err := os.WriteFile(wagi, nil, 0o644); err != nil {
		return err
	}
	if err := unix.Mount(program, wagi, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	temp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.Mkdir(temp, 0o700), os.Chown(temp, compilerID, compilerID)); err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	return errors.Join(unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/"))
}

func setLimits(string) error {
	for resource, most := range map[int]uint64{
		unix.RLIMIT_CPU:    compilerCPU,
		unix.RLIMIT_DATA:   compilerData,
		unix.RLIMIT_FSIZE:  compilerFile,
		unix.RLIMIT_NOFILE: compilerFiles,
		unix.RLIMIT_CORE:   0,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return err
		}
	}
	return unix.Setpriority(unix.PRIO_PROCESS, 0, compilerNice)
}

func giveUp(string) error {
	for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && err != unix.EINVAL { // this kernel has fewer
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(compilerID), syscall.Setuid(compilerID)); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) // a change of the user undoes it
}
