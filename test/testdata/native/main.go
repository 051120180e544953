//go:build linux

// The native program of the test image: the plain container, pause container and sidecar of the tests. It has no libc and
// needs nothing else in the image.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	commands := map[string]func([]string) error{"exit": exit, "cat": cat, "get": get, "pause": pause, "report": report, "serve": serve, "tty": tty, "write": write}
	run := commands[append(os.Args, "")[1]]
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: native exit|cat|get|pause|report|serve|tty|write")
		os.Exit(2)
	}
	if err := run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "native:", err)
		os.Exit(1)
	}
}

// exit STATUS WORD... says the words on both streams and ends.
func exit(args []string) error {
	status, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	text := strings.Join(args[1:], " ")
	fmt.Fprintln(os.Stdout, "out:", text)
	fmt.Fprintln(os.Stderr, "err:", text)
	os.Exit(status)
	return nil
}

func cat([]string) error {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}

// get URL prints the body of the answer.
func get(args []string) error {
	r, err := http.Get(args[0])
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(os.Stdout, r.Body)
	return err
}

// serve ADDRESS WORD... answers every request with the words.
func serve(args []string) error {
	text := strings.Join(args[1:], " ") + "\n"
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
}

// write FILE WORD... makes a file of the words.
func write(args []string) error {
	return os.WriteFile(args[0], []byte(strings.Join(args[1:], " ")+"\n"), 0o644)
}

// pause says ready and waits for SIGTERM.
func pause([]string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("ready")
	<-stop
	return nil
}

func tty([]string) error {
	_, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	fmt.Println("terminal:", err == nil)
	// ctr complains when the process has ended before it sets the terminal's size.
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

// report prints all that a runtime decides about a process.
func report(args []string) error {
	fmt.Println("args", args)
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println("cwd", cwd)
	fmt.Println("hostname", host)
	fmt.Println("pid", os.Getpid())
	env := os.Environ()
	slices.Sort(env)
	for _, e := range env {
		fmt.Println("env", e)
	}
	for _, name := range []string{"cgroup", "limits", "oom_score_adj", "uid_map", "gid_map"} {
		text, err := os.ReadFile("/proc/self/" + name)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n%s\n", name, text)
	}
	for _, list := range []func() error{status, mounts, namespaces, devices} {
		if err := list(); err != nil {
			return err
		}
	}
	return nil
}

// status prints who the process is and what it may do.
func status() error {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Umask", "SigIgn", "SigBlk"}, name) ||
			strings.HasPrefix(name, "Cap") || strings.HasPrefix(name, "Cpus_allowed") {
			fmt.Print("status ", line)
		}
	}
	return nil
}

// mounts prints each mount less what differs from one container to the next: numbers and the layers' folders.
func mounts() error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		sep := slices.Index(f, "-")
		options := f[sep+3]
		if f[sep+1] == "overlay" {
			options, _, _ = strings.Cut(options, ",")
		}
		fmt.Println("mount", f[4], f[5], f[sep+1], f[sep+2], options)
	}
	return nil
}

// namespaces prints which namespaces there are; their numbers always differ.
func namespaces() error {
	names, err := filepath.Glob("/proc/self/ns/*")
	fmt.Println("namespaces", names)
	return err
}

func devices() error {
	entries, err := os.ReadDir("/dev")
	for _, e := range entries {
		fmt.Println("device", e)
	}
	return err
}
