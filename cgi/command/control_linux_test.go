package command

import (
	"encoding/json"
	"testing"

	"containerd-shim-wagi-v1/cgi"
)

// A gateway tells of itself before it serves, while it does and while it ends.
func TestControl(t *testing.T) {
	c := openControl(&serveOptions{options: options{config: "m.toml", readyPath: "off"}})
	defer c.close()
	gateway, err := cgi.NewReloader(t.Context(), cgi.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	if got := ask(t, c); got.Ready || got.Config != "m.toml" || got.why() != "starting" {
		t.Errorf("before it serves: %+v", got)
	}
	c.serving.Store(&serving{gateway, []string{"http://192.0.2.1:1", "http://0.0.0.0:2", "unix:s"}})
	for _, args := range []string{"health -l 192.0.2.1:1", "health -l 127.0.0.1:2", "health -l 0.0.0.0:2", "health -l unix:s"} {
		if out, err := wagi(args); out != "ready: yes\n" || err != nil {
			t.Errorf("%s: %q, %v", args, out, err)
		}
	}
	gateway.Drain()
	if out, err := wagi("health -l unix:s"); out != "ready: no: 503 draining\n" || err != exitStatus(exitFailure) {
		t.Errorf("while draining: %q, %v", out, err)
	}
	out, err := wagi("status -l unix:s --json")
	var got state
	if json.Unmarshal([]byte(out), &got) != nil || err != exitStatus(exitFailure) || !got.Draining || got.Ready {
		t.Errorf("while draining: %s, %v", out, err)
	}
}

func ask(t *testing.T, c *control) state {
	t.Helper()
	s, err := askControl(c.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
