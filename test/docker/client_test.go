//go:build linux

package docker

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"containerd-shim-wagi-v1/test/machine"
)

// home is where a published container answers.
const home = "http://127.0.0.1:8080"

var client = http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// send is the body of the answer to one request.
func send(method, url string, body io.Reader) (string, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return string(text), err
}

func get(url string) (string, error) { return send(http.MethodGet, url, nil) }

// want asks until the answer is the body.
func want(t *testing.T, url, body string) {
	t.Helper()
	machine.Await(t, func() error {
		text, err := get(url)
		if err == nil && text != body {
			err = fmt.Errorf("%s: got %q, want %q", url, text, body)
		}
		return err
	})
}
