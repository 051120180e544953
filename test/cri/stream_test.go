//go:build linux

package cri

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"containerd-shim-wagi-v1/test/machine"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var streamCases = []validation{
	{"stream/exec", testStreamExec},
	{"stream/exec-input", testStreamExecInput},
	{"stream/exec-terminal", testStreamExecTerminal},
	{"stream/attach", testAttach},
	{"stream/attach-terminal", testAttachTerminal},
	{"stream/input-once", testInputOnce},
	{"stream/port-forward", testPortForward},
	{"stream/port-forward-host-network", testPortForwardHostNetwork},
}

// stream connects to a URL that CRI has given out, as kubelet does, until the far side ends. The time it may take is limited.
func stream(address string, options remotecommand.StreamOptions) error {
	ctx, cancel := patient()
	defer cancel()
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, u)
	if err != nil {
		return err
	}
	return e.StreamWithContext(ctx, options)
}

// open executes a script in the container and gives the URL of its streams.
func (c *container) open(t *testing.T, terminal, input bool, script string) string {
	t.Helper()
	r, err := c.Exec(t.Context(), &runtimeapi.ExecRequest{
		ContainerId: c.id, Cmd: []string{"sh", "-c", script}, Tty: terminal, Stdin: input, Stdout: true, Stderr: !terminal,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Url
}

func testStreamExec(t *testing.T, h host) {
	c := h.pod(t).run(t)
	var stdout, stderr bytes.Buffer
	err := stream(c.open(t, false, false, "echo out; echo err >&2; exit 3"), remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	if exit, ok := errors.AsType[utilexec.CodeExitError](err); !ok || exit.Code != 3 {
		t.Errorf("got %v", err)
	}
	if stdout.String() != "out\n" || stderr.String() != "err\n" {
		t.Errorf("got %q and %q", &stdout, &stderr)
	}
}

func testStreamExecInput(t *testing.T, h host) {
	const size = 8 << 20
	c := h.pod(t).run(t)
	var stdout, stderr bytes.Buffer
	err := stream(c.open(t, false, true, "wc -c; echo end"), remotecommand.StreamOptions{
		Stdin: io.LimitReader(zeros{}, size), Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil || stdout.String() != fmt.Sprintf("%d\nend\n", size) {
		t.Errorf("got %q and %q, %v", &stdout, &stderr, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// keyboard types the text and then nothing more, until the end of the test.
func keyboard(t *testing.T, text string) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return io.MultiReader(strings.NewReader(text), r)
}

// sizes is a terminal that has one size.
type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}

func newSizes(width, height uint16) sizes {
	s := make(sizes, 1)
	s <- remotecommand.TerminalSize{Width: width, Height: height}
	close(s)
	return s
}

func testStreamExecTerminal(t *testing.T, h host) {
	c := h.pod(t).run(t)
	var screen bytes.Buffer
	err := stream(c.open(t, true, true, `tty; until [ "$(stty size)" = "17 71" ]; do sleep 0.1; done; read -r text; echo "read $text"`), remotecommand.StreamOptions{
		Stdin: keyboard(t, "hello\n"), Stdout: &screen, Tty: true, TerminalSizeQueue: newSizes(71, 17),
	})
	if got := screen.String(); err != nil || !strings.Contains(got, "/dev/pts/") || !strings.Contains(got, "read hello\r\n") {
		t.Errorf("got %q, %v", got, err)
	}
}

// attach gives the URL of the container's own streams.
func (c *container) attach(t *testing.T) string {
	t.Helper()
	r, err := c.Attach(t.Context(), &runtimeapi.AttachRequest{
		ContainerId: c.id, Stdin: c.config.Stdin, Tty: c.config.Tty, Stdout: true, Stderr: !c.config.Tty,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Url
}

// echo is a container that repeats its lines and ends at "end" with status 5.
func echo(once, terminal bool) func(*runtimeapi.ContainerConfig) {
	return func(c *runtimeapi.ContainerConfig) {
		shell(`while read -r text; do echo "out $text"; echo "err $text" >&2; [ "$text" = end ] && exit 5; done; exit 6`)(c)
		c.Stdin, c.StdinOnce, c.Tty = true, once, terminal
	}
}

// testAttach attaches twice: without StdinOnce the end of the first client's input is not the container's.
func testAttach(t *testing.T, h host) {
	c := h.pod(t).run(t, echo(false, false))
	for _, text := range []string{"first", "end"} {
		in, keys := io.Pipe()
		out, screen := io.Pipe()
		go func() {
			fmt.Fprintln(keys, text)
			expect(out, "out "+text) // else the stream lasts until its time is over
			keys.Close()
			io.Copy(io.Discard, out)
		}()
		var stderr bytes.Buffer
		err := stream(c.attach(t), remotecommand.StreamOptions{Stdin: in, Stdout: screen, Stderr: &stderr})
		screen.Close()
		if err != nil {
			t.Error(err)
		}
		c.awaitLog(t, "err "+text)
	}
	if s := c.ended(t); s.ExitCode != 5 {
		t.Errorf("status %v", s)
	}
}

// expect reads until the text has come, or nothing comes any more, and says whether it has.
func expect(r io.Reader, text string) bool {
	var seen []byte
	b := make([]byte, 1)
	for !bytes.Contains(seen, []byte(text)) {
		if _, err := r.Read(b); err != nil {
			return false
		}
		seen = append(seen, b...)
	}
	return true
}

func testAttachTerminal(t *testing.T, h host) {
	c := h.pod(t).run(t, echo(false, true))
	var screen bytes.Buffer
	err := stream(c.attach(t), remotecommand.StreamOptions{
		Stdin: keyboard(t, "hello\nend\n"), Stdout: &screen, Tty: true, TerminalSizeQueue: newSizes(71, 17),
	})
	if got := screen.String(); err != nil || !strings.Contains(got, "out hello\r\n") {
		t.Errorf("got %q, %v", got, err)
	}
	if s := c.ended(t); s.ExitCode != 5 {
		t.Errorf("status %v", s)
	}
}

func testInputOnce(t *testing.T, h host) {
	c := h.pod(t).run(t, echo(true, false))
	var stdout, stderr bytes.Buffer
	err := stream(c.attach(t), remotecommand.StreamOptions{Stdin: strings.NewReader("hello\n"), Stdout: &stdout, Stderr: &stderr})
	if err != nil || stdout.String() != "out hello\n" || stderr.String() != "err hello\n" {
		t.Errorf("got %q and %q, %v", &stdout, &stderr, err)
	}
	if s := c.ended(t); s.ExitCode != 6 { // the first client's end is the input's
		t.Errorf("status %v", s)
	}
}

// forward makes a port of the pod answer on a port of this machine, which it returns, until the end of the test.
func (p *pod) forward(t *testing.T, port int32) uint16 {
	t.Helper()
	r, err := p.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: p.id, Port: []int32{port}})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(r.Url)
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f, err := portforward.NewOnAddresses(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u),
		[]string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- f.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	case <-time.After(machine.Patience):
		t.Fatal("no answer to the port-forward")
	}
	t.Cleanup(func() { close(stop); <-done })
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return ports[0].Local
}

func testPortForward(t *testing.T, h host) {
	p := h.pod(t)
	p.run(t, server(8080))
	get(t, "http://"+p.address(t)+":8080/index.html") // it listens
	port := p.forward(t, 8080)
	for range 3 {
		if got := get(t, fmt.Sprintf("http://127.0.0.1:%d/index.html", port)); got != "hello\n" {
			t.Errorf("got %q", got)
		}
	}
}

func testPortForwardHostNetwork(t *testing.T, h host) {
	p := h.pod(t, namespaceMode(func(o *runtimeapi.NamespaceOption) { o.Network = runtimeapi.NamespaceMode_NODE }))
	listen := 32000 + int(numbers.Add(1))
	p.run(t, server(listen))
	get(t, fmt.Sprintf("http://127.0.0.1:%d/index.html", listen))
	if got := get(t, fmt.Sprintf("http://127.0.0.1:%d/index.html", p.forward(t, int32(listen)))); got != "hello\n" {
		t.Errorf("got %q", got)
	}
}
