//go:build linux

package machine

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// A Client sends HTTP requests. Unless its transport is changed, each has a connection of its own.
type Client struct{ http.Client }

// NewClient makes a client that connects by dial; nil: in the network of the tests.
func NewClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: Patience / 2}}
}

// Send is the body of the answer to one request. A status other than 2xx is an error.
func (c *Client) Send(method, url string, body io.Reader) (string, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return "", err
	}
	answer, err := c.Do(r)
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

// Get is the body of the answer to one request.
func (c *Client) Get(url string) (string, error) { return c.Send(http.MethodGet, url, nil) }

// Want asks until the answer is the body.
func (c *Client) Want(t testing.TB, url, body string) {
	t.Helper()
	Await(t, func() error {
		text, err := c.Get(url)
		if err == nil && text != body {
			err = fmt.Errorf("%s: got %q, want %q", url, text, body)
		}
		return err
	})
}
