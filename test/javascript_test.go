//go:build linux

package test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// javascriptQuery has an answer with lines of all documents.
const javascriptQuery = "?the%20guest"

// An interpreter that goes on from its resume point answers as one that starts for each request, and no request sees what
// another has left in it.
func TestJavaScript(t *testing.T) {
	path := machine.Out("images/javascript.tar")
	if _, err := os.Stat(path); err != nil {
		machine.Skip(t, "%v", err)
	}
	answer := startedJavaScript(t)
	each(t, func(t *testing.T, d *daemon) {
		d.ctr(t, "image", "import", path)
		d.ctr(t, append(append([]string{"run", "--runtime", wagi}, background...), "docker.io/library/javascript:latest", "javascript")...)
		client := browser(network(d.pid(t, "javascript")))
		ready(t, client)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 10 {
					if got, err := client.Get(home + javascriptQuery); err != nil || got != answer {
						t.Errorf("got %q, %v, want %q", got, err, answer)
					}
				}
			})
		}
		all.Wait()
	})
}

// startedJavaScript is the answer of the example without its resume point.
func startedJavaScript(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(machine.Out("images/javascript"))); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(dir + "/modules.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "resume = true\n", "", 1)
	if text == string(config) {
		t.Fatal("modules.toml has no resume point")
	}
	if err := os.WriteFile(dir+"/modules.toml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	call := exec.Command(machine.Out("wagi"), "call", "/"+javascriptQuery)
	call.Dir = dir
	answer, err := call.Output()
	if err != nil || !strings.Contains(string(answer), "search 1 of this copy\n") {
		t.Fatalf("got %q, %v", answer, err)
	}
	return string(answer)
}
