package guest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	connectTimeout  = 10 * time.Second
	outboundTimeout = 30 * time.Second // for the head of a response, and while no byte of a body moves
	maxResponseHead = 64 << 10         // bytes
	maxRedirects    = 10
	maxIdle         = 32   // connections of a module
	defaultSessions = 64   // responses that a guest may have open
	maxOpen         = 1024 // responses that all guests of a module may have open
)

// outbound sends the HTTP requests of a module's guests. They share idle connections, nothing else.
//
// It speaks HTTP/1.1 only: there a response that a guest does not read waits in the network, not in memory,
// and holds up no other guest.
type outbound struct {
	module      string // for the log
	hosts       allowedHosts
	maxSessions int          // responses that a guest may have open
	maxSending  int64        // bytes of request bodies that a guest may have on their way
	open        atomic.Int64 // responses that all guests have open
	timeout     time.Duration
	dialer      net.Dialer
	client      http.Client
}

// newOutbound returns nil when no host is allowed.
func newOutbound(cfg Config, timeout time.Duration) (*outbound, error) {
	hosts, err := parseAllowedHosts(cfg.AllowedHosts)
	if err != nil || len(cfg.AllowedHosts) == 0 {
		return nil, err
	}
	o := &outbound{
		module:      cfg.Name,
		hosts:       hosts,
		maxSessions: cmp.Or(cfg.HTTPMaxConcurrency, defaultSessions),
		maxSending:  int64(cfg.Memory),
		timeout:     timeout,
		dialer:      net.Dialer{Timeout: connectTimeout},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	o.client = http.Client{
		CheckRedirect: o.checkRedirect,
		Transport: &http.Transport{ // without Proxy: what the gateway's environment names is not for guests
			DialContext:            o.dial,
			Protocols:              protocols,
			TLSHandshakeTimeout:    connectTimeout,
			ResponseHeaderTimeout:  timeout,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: maxResponseHead,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdle,
			IdleConnTimeout:        outboundTimeout,
			DisableCompression:     true, // the guest gets the bytes that were sent
		},
	}
	return o, nil
}

func (o *outbound) checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case !o.hosts.allow(req.URL):
		return fmt.Errorf("%w: redirect to %s", httpDestinationNotAllowed, req.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

// dial connects to an address that the host may lead to, judging each one that its name resolves to when it is dialled.
func (o *outbound) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := o.dialer
	dialer.Control = func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !o.hosts.reach(host, to.Addr()) {
			return fmt.Errorf("%w: %s is not a public address", httpDestinationNotAllowed, to.Addr())
		}
		return nil
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &connection{conn, o.timeout}, nil
}

// connection ends when its peer does not take what is written.
type connection struct {
	net.Conn
	timeout time.Duration
}

func (c *connection) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// response is a response that a guest has open.
type response struct {
	*http.Response
	outbound *outbound
	cancel   context.CancelCauseFunc
}

// send sends a request. The caller closes the response.
func (o *outbound) send(req *http.Request) (*response, error) {
	o.open.Add(1)
	ctx, cancel := context.WithCancelCause(req.Context())
	r := &response{outbound: o, cancel: cancel}
	var err error
	r.Response, err = o.client.Do(req.WithContext(ctx))
	if err == nil && r.StatusCode == http.StatusSwitchingProtocols { // no context ends such a connection
		err = errors.New("the server switches to another protocol")
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// explain says for the log why a request failed, without its URL, which may hold secrets.
func explain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if roots, rerr := x509.SystemCertPool(); rerr != nil || roots.Equal(x509.NewCertPool()) {
			return fmt.Errorf("%w (there are no CA certificates here: put them into the image as /etc/ssl/certs/ca-certificates.crt, or name a file by SSL_CERT_FILE)", err)
		}
	}
	return err
}

var errStalled = errors.New("the server sends nothing more")

// Read reads from the body. It waits until there are some bytes.
func (r *response) Read(p []byte) (n int, err error) {
	timer := time.AfterFunc(r.outbound.timeout, func() { r.cancel(errStalled) })
	defer timer.Stop()
	for n == 0 && err == nil && len(p) > 0 {
		n, err = r.Body.Read(p)
	}
	return n, err
}

func (r *response) close() {
	r.cancel(nil)
	if r.Response != nil {
		r.Body.Close()
	}
	r.outbound.open.Add(-1)
}

// upload is a request body on its way. The connection reads and closes it, also after the guest, answered early, has gone on.
type upload struct {
	bytes.Reader
	done func()
}

func (u *upload) Close() error {
	u.done()
	return nil
}

// newUpload adds to sending as many bytes as the body has, until it is closed.
func newUpload(body []byte, sending *atomic.Int64) io.ReadCloser {
	sending.Add(int64(len(body)))
	u := &upload{done: sync.OnceFunc(func() { sending.Add(-int64(len(body))) })}
	u.Reset(body)
	return u
}
