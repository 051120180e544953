//go:build linux

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-wagi-v1/test/machine"
)

const home = "http://127.0.0.1:3000/"

// container is the ctr command that runs the test image.
func container(runtime, id string, flags []string, args ...string) []string {
	command := append([]string{"run", "--runtime", runtime}, flags...)
	return append(append(command, image, id), args...)
}

var (
	foreground = []string{"--rm"}
	background = []string{"--detach", "--null-io"}
)

// serve runs a gateway in the background and returns its pid and a client that reaches it.
func (d *daemon) serve(t *testing.T, id string, flags ...string) (int, *machine.Client) {
	t.Helper()
	d.ctr(t, container(wagi, id, append(flags, background...))...)
	pid := d.pid(t, id)
	client := browser(network(pid))
	client.Want(t, home, "hello\n")
	return pid, client
}

// task is the pid and the state of a task.
func (d *daemon) task(t *testing.T, id string) (int, string) {
	t.Helper()
	for line := range strings.Lines(d.ctr(t, "task", "ls")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == id {
			pid, _ := strconv.Atoi(f[1])
			return pid, f[2]
		}
	}
	return 0, "GONE"
}

func (d *daemon) pid(t *testing.T, id string) int {
	t.Helper()
	pid, state := d.task(t, id)
	if state != "RUNNING" {
		t.Fatalf("task %s is %s", id, state)
	}
	return pid
}

// state waits until a task is in the state.
func (d *daemon) state(t *testing.T, id, want string) {
	t.Helper()
	machine.Await(t, func() error {
		if _, got := d.task(t, id); got != want {
			return fmt.Errorf("task %s is %s, want %s", id, got, want)
		}
		return nil
	})
}

// expect fails the test unless a command ended with the status and wrote the texts on standard output and standard error.
func expect(t *testing.T, r machine.Result, code int, stdout, stderr string) {
	t.Helper()
	if r.Code != code || r.Out != stdout || !strings.Contains(r.Err, stderr) {
		t.Errorf("got exit status %d, %q, %q, want %d, %q, %q", r.Code, r.Out, r.Err, code, stdout, stderr)
	}
}

func TestRun(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		for _, runtime := range []string{runc, wagi} {
			expect(t, d.try(container(runtime, "native", foreground, "/native", "exit", "7", "bye")...), 7, "out: bye\n", "err: bye")
			machine.Await(t, d.clean)
		}
		expect(t, d.try(container(wagi, "command", foreground, "/command.wat", "a", "b")...), 3, "/command.wat\x00a\x00b\x00", "")
		machine.Await(t, d.clean)
	})
}

// A plain container is the same under our shim as under runc's own.
func TestPlain(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		tests := map[string][]string{
			"default":    nil,
			"flags":      {"--read-only", "--env", "A=b c", "--cwd", "/tmp", "--memory-limit", "67108864", "--cap-add", "CAP_NET_ADMIN", "--mount", "type=bind,src=/etc,dst=/data,options=rbind:ro"},
			"privileged": {"--privileged"},
			"seccomp":    {"--seccomp"},
			"net-host":   {"--net-host"},
			"no cgroup":  {"--cgroup", ""},
		}
		if d.version != "1.6." { // whose ctr has no --user
			tests["user"] = []string{"--user", "1000:1000"}
		}
		for name, flags := range tests {
			flags = append(flags, foreground...)
			want := d.ctr(t, container(runc, "report", flags, "/native", "report", "x")...)
			got := d.ctr(t, container(wagi, "report", flags, "/native", "report", "x")...)
			if got != want {
				t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
			}
		}
	})
}

func TestDetached(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		log := d.dir + "/web.log"
		d.ctr(t, container(wagi, "web", []string{"--detach", "--log-uri", "file://" + log})...)
		pid := d.pid(t, "web")
		client := browser(network(pid))
		client.Want(t, home, "hello\n")
		client.Want(t, home+"slow", "slow\n")
		machine.Await(t, func() error {
			if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "started") {
				return fmt.Errorf("the log lacks what the guest said: %v\n%s", err, text)
			}
			return nil
		})
		if text := d.ctr(t, "task", "ps", "web"); !strings.Contains(text, strconv.Itoa(pid)) {
			t.Errorf("task ps lacks %d:\n%s", pid, text)
		}
		d.ctr(t, "task", "kill", "web")
		d.state(t, "web", "STOPPED")
		d.ctr(t, "task", "delete", "web")
		d.ctr(t, "container", "delete", "web")
		machine.Await(t, d.clean)
	})
}

func TestKill(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		for _, test := range []struct {
			signal string
			code   int
		}{{"SIGTERM", 0}, {"SIGKILL", 137}} {
			native := d.session(t, container(wagi, "native", foreground, "/native", "pause")...)
			native.until(t, "ready")
			d.ctr(t, "task", "kill", "--signal", test.signal, "native")
			if got := native.code(); got != test.code {
				t.Errorf("native after %s: exit status %d, want %d", test.signal, got, test.code)
			}
			web := d.session(t, container(wagi, "web", foreground)...)
			d.state(t, "web", "RUNNING")
			browser(network(d.pid(t, "web"))).Want(t, home, "hello\n")
			d.ctr(t, "task", "kill", "--signal", test.signal, "web")
			if got := web.code(); got != test.code {
				t.Errorf("gateway after %s: exit status %d, want %d", test.signal, got, test.code)
			}
			machine.Await(t, d.clean)
		}
	})
}

// The request that is under way when SIGTERM comes gets its answer.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		web := d.session(t, container(wagi, "web", foreground)...)
		d.state(t, "web", "RUNNING")
		client := browser(network(d.pid(t, "web")))
		client.Want(t, home, "hello\n")
		answer := make(chan string)
		go func() {
			text, err := client.Get(home + "slow")
			answer <- fmt.Sprint(text, err)
		}()
		web.until(t, "started")
		d.ctr(t, "task", "kill", "web")
		if got, want := <-answer, "slow\n<nil>"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if code := web.code(); code != 0 {
			t.Errorf("exit status %d, want 0", code)
		}
	})
}

func TestExec(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.serve(t, "web")
		exec := func(args ...string) []string { return append([]string{"task", "exec", "--exec-id", "e"}, args...) }
		expect(t, d.try(exec("web", "/native", "exit", "5", "bye")...), 5, "out: bye\n", "err: bye")
		expect(t, d.try(exec("web", "/command.wat", "a")...), 2, "/command.wat\x00a\x00", "")
		if text := d.ctr(t, exec("web", "wagi", "version")...); !strings.Contains(text, "wagi") {
			t.Errorf("wagi version: %q", text)
		}
		if text := d.ctr(t, exec("--user", "1000:1000", "--cwd", "/tmp", "web", "/native", "report")...); !strings.Contains(text, "Uid:\t1000") || !strings.Contains(text, "cwd /tmp\n") {
			t.Errorf("exec as another user:\n%s", text)
		}
		if text, code := d.terminal(t, exec("--tty", "web", "/native", "tty")...); code != 0 || !strings.Contains(text, "terminal: true") {
			t.Errorf("with a terminal: exit status %d\n%s", code, text)
		}
	})
}

// wagi in a container asks the gateway that runs there, wherever it serves, and not that of another container in the same network.
func TestStatus(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		exec := func(id string, args ...string) machine.Result {
			return d.try(append([]string{"task", "exec", "--exec-id", "e", id, "wagi"}, args...)...)
		}
		d.ctr(t, container(wagi, "one", append(background, "--read-only"), "/modules.toml", "--listen", "127.0.0.1:4001", "--ready-path", "/up")...)
		pid := d.pid(t, "one")
		d.ctr(t, container(wagi, "two", append(background, "--with-ns", "network:"+network(pid)), "/modules.toml", "-l", "unix:@two")...)
		browser(network(pid)).Want(t, "http://127.0.0.1:4001/", "hello\n")
		for id, address := range map[string]string{"one": "http://127.0.0.1:4001", "two": "unix:@two"} {
			machine.Await(t, func() error { return exec(id, "health").Error() })
			expect(t, exec(id, "health"), 0, "ready: yes\n", "")
			r := exec(id, "status")
			if r.Code != 0 || !strings.Contains(r.Out, "address   "+address+"\n") || !strings.Contains(r.Out, "\n/slow ") {
				t.Errorf("status of %s: exit status %d\n%s%s", id, r.Code, r.Out, r.Err)
			}
		}
		if r := exec("one", "status"); !strings.Contains(r.Out, ", 1 answered, ") {
			t.Errorf("status after a request:\n%s", r.Out)
		}
	})
}

func TestTerminal(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		text, code := d.terminal(t, container(wagi, "tty", []string{"--rm", "--tty"}, "/native", "tty")...)
		if code != 0 || !strings.Contains(text, "terminal: true") {
			t.Errorf("exit status %d\n%s", code, text)
		}
		machine.Await(t, d.clean)
	})
}

func TestPause(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		_, client := d.serve(t, "web")
		d.ctr(t, "task", "pause", "web")
		d.state(t, "web", "PAUSED")
		hasty := *client
		hasty.Timeout = 100 * time.Millisecond
		if text, err := hasty.Get(home); err == nil {
			t.Errorf("a paused container answers %q", text)
		}
		d.ctr(t, "task", "resume", "web")
		d.state(t, "web", "RUNNING")
		client.Want(t, home, "hello\n")
	})
}

func TestMetrics(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.serve(t, "web", "--memory-limit", "268435456")
		text := d.ctr(t, "task", "metrics", "web")
		used := false
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			used = used || len(f) == 2 && strings.HasPrefix(f[0], "memory.usage") && f[1] > "0"
		}
		if !used || !strings.Contains(text, "268435456") {
			t.Errorf("metrics lack the memory in use or its limit:\n%s", text)
		}
	})
}

// The flags of ctr run mean for a gateway what they mean for any process.
func TestFlags(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		data := d.dir + "/data"
		if err := os.Mkdir(data, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(data+"/file", []byte("from outside\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		flags := []string{"--read-only", "--env", "GREETING=good day", "--mount", "type=bind,src=" + data + ",dst=/data,options=rbind:ro"}
		uid := "0"
		if d.version != "1.6." { // whose ctr has no --user
			flags, uid = append(flags, "--user", "1000:1000"), "1000"
		}
		pid, client := d.serve(t, "web", flags...)
		client.Want(t, home+"file", "from outside\n")
		if text, err := client.Get(home + "env"); err != nil || !strings.Contains(text, "GREETING=good day\n") || strings.Contains(text, "PATH=/usr") {
			t.Errorf("environment: %v\n%s", err, text)
		}
		if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); !strings.Contains(string(text), "\nUid:\t"+uid+"\t") {
			t.Errorf("want uid %s:\n%s", uid, text)
		}
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/new", pid), nil, 0o600); err == nil {
			t.Error("the root file system can be written")
		}
	})
}

func TestNetHost(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		address := freeAddress(t)
		d.ctr(t, container(wagi, "web", append(background, "--net-host"), "/modules.toml", "--listen", address)...)
		machine.NewClient(nil).Want(t, "http://"+address+"/", "hello\n")
	})
}

// Containers have networks of their own, so all can listen on the same port, unless they are given one.
func TestNetwork(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.serve(t, "one")
		d.serve(t, "two")
		netns := newNetwork(t, d.dir+"/netns")
		d.ctr(t, container(wagi, "three", append(background, "--with-ns", "network:"+netns))...)
		browser(netns).Want(t, home, "hello\n")
	})
}

// pod starts a pod: a pause container, and a gateway in its network.
func (d *daemon) pod(t *testing.T) *machine.Client {
	t.Helper()
	d.ctr(t, container(wagi, "pod", member("sandbox", background), "/native", "pause")...)
	netns := network(d.pid(t, "pod"))
	d.ctr(t, container(wagi, "web", member("container", append(background, "--with-ns", "network:"+netns)))...)
	client := browser(netns)
	client.Want(t, home, "hello\n")
	return client
}

// member adds the annotations by which CRI marks the containers of a pod.
func member(kind string, flags []string) []string {
	return append(flags, "--annotation", "io.kubernetes.cri.container-type="+kind, "--annotation", "io.kubernetes.cri.sandbox-id=pod")
}

// The containers of a pod share one shim, which containerd finds again after a restart, and end one by one.
func TestPod(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		client := d.pod(t)
		pod, web := d.pid(t, "pod"), d.pid(t, "web")
		shared := append(foreground, "--with-ns", "network:"+network(pod))
		expect(t, d.try(container(wagi, "sidecar", member("container", shared), "/native", "get", home)...), 0, "hello\n", "")
		for _, pid := range []int{pod, web} {
			if got, want := parent(pid), d.shim(t, "pod"); got != want {
				t.Errorf("process %d belongs to the shim %d, want %d", pid, got, want)
			}
		}
		d.down(t)
		d.up(t)
		if d.pid(t, "pod") != pod || d.pid(t, "web") != web {
			t.Errorf("after the restart other processes: %s", d.ctr(t, "task", "ls"))
		}
		client.Want(t, home, "hello\n")
		if err := d.remove("web"); err != nil {
			t.Error(err)
		}
		d.pid(t, "pod")
	})
}

// The shim of a group outlives the container, and the bundle, that it was started for.
func TestGroup(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		grouped := append(background, "--annotation", "io.containerd.runc.v2.group=g")
		d.ctr(t, container(wagi, "one", grouped, "/native", "pause")...)
		d.serve(t, "two", grouped[len(background):]...)
		if err := d.remove("one"); err != nil {
			t.Fatal(err)
		}
		d.ctr(t, "task", "exec", "--exec-id", "wagi", "two", "wagi", "routes")
		expect(t, d.try("task", "exec", "--exec-id", "native", "two", "/native", "exit", "5"), 5, "out: \n", "")
	})
}

// parent is that of a process, or 0 if it has ended.
func parent(pid int) (ppid int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fmt.Sscanf(string(text[bytes.LastIndexByte(text, ')')+1:]), "%s %d", new(string), &ppid)
	return ppid
}

// reaped fails while a process is there, if only as a zombie.
func reaped(pid int) error {
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		return fmt.Errorf("process %d has not been reaped: %v", pid, err)
	}
	return nil
}

// A containerd that comes back finds the tasks that ran on, and does with those that did not what it does under runc's own
// shim: 1.6 keeps them, later ones clear them away.
func TestRestart(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		pid, client := d.serve(t, "web")
		d.ctr(t, container(wagi, "ours", background, "/native", "pause")...)
		d.ctr(t, container(runc, "theirs", background, "/native", "pause")...)
		dying := []int{d.pid(t, "ours"), d.pid(t, "theirs")}
		d.down(t)
		client.Want(t, home, "hello\n")
		for _, pid := range dying {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			machine.Await(t, func() error { return reaped(pid) })
		}
		d.up(t)
		if got := d.pid(t, "web"); got != pid {
			t.Errorf("pid %d, want %d", got, pid)
		}
		client.Want(t, home, "hello\n")
		expect(t, d.try("task", "exec", "--exec-id", "e", "web", "/native", "exit", "5"), 5, "out: \n", "")
		machine.Await(t, func() error {
			_, ours := d.task(t, "ours")
			_, theirs := d.task(t, "theirs")
			if ours != theirs || ours == "RUNNING" {
				return fmt.Errorf("after their death tasks are %s, under runc's shim %s", ours, theirs)
			}
			return nil
		})
		d.ctr(t, "task", "kill", "--signal", "SIGKILL", "web")
		d.state(t, "web", "STOPPED")
		if r := d.try("task", "delete", "web"); !strings.Contains(r.Err, "137") {
			t.Errorf("exit status 137 is not in %q", r.Err)
		}
	})
}

// When a shim dies, containerd has its delete command clear up: the containers end and nothing stays.
func TestShimKilled(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		d.serve(t, "alone")
		d.pod(t)
		for _, id := range []string{"alone", "pod"} {
			if _, err := os.Stat(d.shimSocket(id)); err != nil {
				t.Error(err)
			}
			if err := unix.Kill(d.shim(t, id), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		machine.Await(t, d.clean)
		for _, id := range []string{"alone", "pod"} {
			if _, err := os.Stat(d.shimSocket(id)); err == nil {
				t.Errorf("the socket of %s stays", id)
			}
		}
	})
}

func TestFifty(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		var wait sync.WaitGroup
		for i := range 50 {
			wait.Go(func() {
				id := fmt.Sprintf("c%d", i)
				if err := d.try(container(wagi, id, background)...).Error(); err != nil {
					t.Errorf("run %s: %v", id, err)
				}
				if err := d.remove(id); err != nil {
					t.Errorf("remove %s: %v", id, err)
				}
			})
		}
		wait.Wait()
		machine.Await(t, d.clean)
	})
}

// What the command of a container makes of it, besides what the other tests show.
func TestDetection(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		for id, args := range map[string][]string{
			"relative":    {"modules.toml"},
			"link":        {"/link.toml"},
			"no-program":  {"serve-what-there-is"},
			"with-a-flag": {"/modules.toml", "--log-format", "json"},
		} {
			d.ctr(t, container(wagi, id, background, args...)...)
			browser(network(d.pid(t, id))).Want(t, home, "hello\n")
		}
		for id, command := range map[string][]string{
			"serve":      {"--serve", "/hello.wat"},
			"annotation": {"/hello.wat", "--grace", "3s"},
		} {
			flags := append(background, "--annotation", "io.containerd.wagi.v1.serve=true")
			d.ctr(t, container(wagi, id, flags, command...)...)
			browser(network(d.pid(t, id))).Want(t, home+"any/path", "hello\n")
			if text := d.ctr(t, "task", "exec", "--exec-id", "e", id, "wagi", "routes"); !strings.Contains(text, "/...") || !strings.Contains(text, "/hello.wat") {
				t.Errorf("routes of %s:\n%s", id, text)
			}
		}
		typo := d.session(t, container(wagi, "typo", foreground, "serv")...)
		typo.until(t, "the command is no program of this image")
		d.remove("typo")
		sandbox := append(foreground, "--annotation", "io.kubernetes.cri.container-type=sandbox")
		expect(t, d.try(container(wagi, "sandbox", sandbox, "/native", "exit", "0", "plain")...), 0, "out: plain\n", "err: plain")
		if r := d.try(container(wagi, "sandbox", sandbox, "/modules.toml")...); r.Code == 0 || !strings.Contains(r.Err, "exec") {
			t.Errorf("a sandbox's /modules.toml is not run as a program: exit status %d, %s", r.Code, r.Err)
		}
	})
}

// Two clients that delete a container at the same time leave no shim behind.
func TestDeletedTwice(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		for i := range 10 {
			id := fmt.Sprintf("web%d", i)
			web := d.session(t, container(wagi, id, foreground, "/modules.toml")...) // deletes it as well
			web.until(t, "Ready")
			d.remove(id)
			machine.Await(t, d.clean)
		}
	})
}

// An image for wasi/wasm runs where ctr is told to take that platform; its one module serves.
func TestWasiPlatform(t *testing.T) {
	each(t, func(t *testing.T, d *daemon) {
		file := d.dir + "/wasi.tar"
		build := exec.Command(machine.Out("wagi"), "image", "build", "--serve", "testdata/image/hello.wat", "--platform", "wasi/wasm", "-o", file)
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		platform := []string{"--platform", "wasi/wasm"}
		if d.version == "2.4." { // which has no snapshotter for other platforms until one is run
			platform = []string{"--all-platforms"}
		}
		d.ctr(t, append(append([]string{"image", "import"}, platform...), file)...)
		run := []string{"run", "--runtime", wagi, "--platform", "wasi/wasm"}
		d.ctr(t, append(append(run, background...), "docker.io/library/hello:latest", "wasi")...)
		browser(network(d.pid(t, "wasi"))).Want(t, home+"any/path", "hello\n")
	})
}

// An image of make images runs: a Go program that takes and gives binary bodies.
func TestImage(t *testing.T) {
	path := machine.Out("images/upload.tar")
	if _, err := os.Stat(path); err != nil {
		machine.Skip(t, "%v", err)
	}
	each(t, func(t *testing.T, d *daemon) {
		d.ctr(t, "image", "import", path)
		d.ctr(t, append(append([]string{"run", "--runtime", wagi}, background...), "docker.io/library/upload:latest", "upload")...)
		client := browser(network(d.pid(t, "upload")))
		ready(t, client)
		body := strings.Repeat("\x00\xffbinary\r\n\r\n", 100_000)
		text, err := client.Send("PUT", home+"files/one", strings.NewReader(body))
		if stored := fmt.Sprintf("stored %d bytes\n", len(body)); err != nil || text != stored {
			t.Errorf("upload: %q, %v", text, err)
		}
		client.Want(t, home+"files/one", body)
	})
}
