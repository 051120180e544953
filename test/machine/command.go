//go:build linux

package machine

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Result is what a command left.
type Result struct {
	Out, Err string
	Code     int // exit status; -1: it did not end by itself
}

// Error is what the command said of its failure, or nil.
func (r Result) Error() error {
	if r.Code != 0 {
		return errors.New(r.Err)
	}
	return nil
}

// Try runs a command, for [Patience] at most, and returns whatever comes of it. Its streams must not be set.
func Try(cmd *exec.Cmd) Result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // a daemon that it has left may hold the streams
	err := cmd.Start()
	if err == nil {
		end := time.AfterFunc(Patience, func() { cmd.Process.Kill() })
		err = cmd.Wait()
		end.Stop()
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return Result{stdout.String(), stderr.String() + err.Error(), -1}
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Run runs a command, which must succeed, and returns what it prints.
func Run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	r := Try(cmd)
	if r.Code != 0 {
		t.Fatalf("%q: exit status %d\n%s%s", cmd.Args, r.Code, r.Out, r.Err)
	}
	return r.Out
}

// A Daemon is a process that goes on until the end of its test.
type Daemon struct {
	*exec.Cmd
	log   string
	ended chan struct{}
}

// Start starts a daemon whose output is appended to a file. At the end of the test it is stopped, and its faults are
// shown if the test has failed.
func Start(t testing.TB, log string, cmd *exec.Cmd) *Daemon {
	t.Helper()
	d := &Daemon{Cmd: cmd, log: log}
	d.start(t)
	t.Cleanup(func() {
		d.Stop(t)
		if t.Failed() {
			text, _ := os.ReadFile(log)
			ShowFaults(d.Args[0], string(text))
		}
	})
	return d
}

func (d *Daemon) start(t testing.TB) {
	t.Helper()
	output, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	d.Stdout, d.Stderr = output, output
	if err := d.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := d.Cmd, make(chan struct{})
	d.ended = ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
}

// Stop ends the daemon, unless it has ended, by SIGTERM or, if it does not obey, by SIGKILL, which fails the test.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	_ = d.Process.Signal(unix.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(Patience):
		t.Errorf("%s goes on after SIGTERM", d.Args[0])
		_ = d.Process.Kill()
		<-d.ended
	}
}

// Restart starts a daemon that was stopped.
func (d *Daemon) Restart(t testing.TB) {
	t.Helper()
	again := exec.Command(d.Path, d.Args[1:]...)
	again.Env, again.Dir, again.SysProcAttr = d.Env, d.Dir, d.SysProcAttr
	d.Cmd = again
	d.start(t)
}

// Ended tells that the daemon has ended, by itself or not.
func (d *Daemon) Ended() <-chan struct{} { return d.ended }
