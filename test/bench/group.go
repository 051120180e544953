//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A group is the cgroup of a server: it knows what all of its processes have used, those that have ended too.
type group struct {
	dir string
	v2  bool
}

func newGroup(name string) (*group, error) {
	g := &group{dir: "/sys/fs/cgroup/cpuacct"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		g.dir, g.v2 = "/sys/fs/cgroup", true
	}
	g.dir = filepath.Join(g.dir, name)
	return g, os.Mkdir(g.dir, 0o755)
}

// command is a command that will run in the group.
func (g *group) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, g.dir}
	return exec.CommandContext(ctx, "/bin/sh", append(enter, args...)...)
}

// cpu is the CPU time that the group has used.
func (g *group) cpu() (time.Duration, error) {
	if !g.v2 {
		text, err := os.ReadFile(g.dir + "/cpuacct.usage")
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(ns), err
	}
	text, err := os.ReadFile(g.dir + "/cpu.stat")
	if err != nil {
		return 0, err
	}
	var us int64
	_, err = fmt.Sscanf(string(text), "usage_usec %d", &us)
	return time.Duration(us) * time.Microsecond, err
}

func (g *group) pids() ([]int, error) {
	text, err := os.ReadFile(g.dir + "/cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, word := range bytes.Fields(text) {
		pid, err := strconv.Atoi(string(word))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// close ends all processes of the group.
func (g *group) close() error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := os.Remove(g.dir)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		pids, err := g.pids()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
}

// peakMemory is what the one process of a group had in memory at most, in bytes.
func (g *group) peakMemory() (int64, error) {
	return g.status("VmHWM")
}

// memory is what the one process of a group has in memory, in bytes.
func (g *group) memory() (int64, error) {
	return g.status("VmRSS")
}

func (g *group) status(field string) (int64, error) {
	pids, err := g.pids()
	if err != nil || len(pids) != 1 {
		return 0, errors.Join(err, fmt.Errorf("%s has %d processes, want 1", g.dir, len(pids)))
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[0]))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, field+": %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("status of process %d has no %s", pids[0], field)
}
