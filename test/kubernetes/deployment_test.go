//go:build linux

package kubernetes

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"containerd-shim-wagi-v1/test/machine"
)

// A Deployment behind a Service is updated again and again while clients send requests. None of them may fail.
func testDeployment(t *testing.T, s *space) {
	s.apply(t, strings.ReplaceAll(read(t, "../../images/hello/kubernetes/hello.yaml"), "example/hello:", "example/wat:"))
	s.wait(t, "rollout", "status", "deployment/hello")
	if got := s.get(t, "deployment/hello", ".status.readyReplicas"); got != "3" {
		t.Errorf("%s replicas are ready, want 3", got)
	}
	url := "http://" + s.get(t, "service/hello", ".spec.clusterIP") + "/"
	want(t, url, greeting)
	clients := startLoad(url, greeting)
	for _, image := range []string{"wat:2", "wat:1", "wat:2", "wat:1"} {
		s.kubectl(t, "set", "image", "deployment/hello", "hello=registry.example/"+image)
		s.wait(t, "rollout", "status", "deployment/hello")
	}
	s.kubectl(t, "scale", "deployment/hello", "--replicas=1")
	s.await(t, "deployment/hello", ".status.replicas", "1")
	sent, err := clients.stop()
	if err != nil || sent < 300 {
		t.Errorf("%d requests, of which failed:\n%v", sent, err)
	}
	t.Logf("%d requests during four rollouts and a scale down", sent)
	s.kubectl(t, "delete", "deployment", "hello")
	s.kubectl(t, "wait", "--for=delete", "pod", "-l", "app=hello", "--timeout=20s") // they have 30
}

// A request that is under way when its pod is deleted gets its answer, and the pod goes as soon as that is sent.
func testEnding(t *testing.T, s *space) {
	s.makeModules(t, "slow", map[string]string{
		"modules.toml": strings.Replace(module, "/hello.wat", "slow.wat", 1),
		"slow.wat":     strings.Replace(read(t, "../testdata/image/slow.wat"), "1000000000", "10000000000", 1), // ns
	})
	s.apply(t, configured("slow", readiness))
	s.ready(t, "slow")
	url := s.url(t, "slow", 3000)
	answer := make(chan string, 1)
	go func() {
		text, err := client.Get(url)
		answer <- fmt.Sprint(text, err)
	}()
	machine.Await(t, func() error {
		if log := s.try("logs", "slow").Out; !strings.Contains(log, "started") {
			return fmt.Errorf("the request has not started:\n%s", log)
		}
		return nil
	})
	s.kubectl(t, "delete", "pod", "slow", "--wait=false")
	if got, want := <-answer, "slow\n<nil>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.kubectl(t, "wait", "--for=delete", "pod/slow", "--timeout=15s")
}

// A load is clients that send one request after the other.
type load struct {
	clients sync.WaitGroup
	end     chan struct{}
	mu      sync.Mutex
	sent    int     // guarded by mu
	failed  []error // guarded by mu
}

// startLoad starts clients of two kinds: those that keep their connection, and those that make one for each request. They send what
// an HTTP client must not repeat by itself when a connection breaks off, and want the answer.
func startLoad(url, answer string) *load {
	l := &load{end: make(chan struct{})}
	for _, fresh := range []bool{true, true, false, false} {
		client := &machine.Client{Client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: fresh}}}
		l.clients.Go(func() {
			for {
				err := post(client, url, answer)
				l.mu.Lock()
				l.sent++
				if err != nil {
					l.failed = append(l.failed, fmt.Errorf("%s: %w", time.Now().Format(time.StampMilli), err))
				}
				l.mu.Unlock()
				select {
				case <-l.end:
					client.CloseIdleConnections()
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return l
}

func post(client *machine.Client, url, answer string) error {
	text, err := client.Send(http.MethodPost, url, strings.NewReader("body"))
	if err == nil && text != answer {
		err = fmt.Errorf("got %q", text)
	}
	return err
}

// stop ends the clients. It returns the number of requests, and what failed.
func (l *load) stop() (int, error) {
	close(l.end)
	l.clients.Wait()
	return l.sent, errors.Join(l.failed...)
}
