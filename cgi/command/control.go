package command

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi"
	"containerd-shim-wagi-v1/cgi/build"
)

// controlTimeout is how long one who asks a gateway for its state may take, and how long the answer may.
const controlTimeout = 2 * time.Second

// state is what a gateway tells wagi status and wagi health of itself.
type state struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Config    string    `json:"config"`
	Addresses []string  `json:"addresses"` // URLs, or unix:PATH; none before it serves
	TLS       bool      `json:"tls"`
	Proxied   bool      `json:"proxied"` // some of its clients must send a PROXY header
	ReadyPath string    `json:"ready_path"`
	Ready     bool      `json:"ready"`
	cgi.Status
}

// control is where a gateway answers those on this machine who ask for its state.
type control struct {
	listener net.Listener // nil: nobody can ask
	state    state        // what does not change
	serving  atomic.Pointer[serving]
}

// serving is a gateway that has begun to serve.
type serving struct {
	gateway   *cgi.Reloader
	addresses []string
}

// openControl listens and answers. A gateway serves without it as well. The caller closes it.
func openControl(o *serveOptions) *control {
	c := &control{state: state{
		Version: build.Version(), PID: os.Getpid(), Started: time.Now(),
		Config: o.config, TLS: o.tlsCert != "", Proxied: len(o.proxyProtocol) > 0, ReadyPath: o.readyPath,
	}}
	var err error
	if c.listener, err = listenControl(); err != nil {
		log.L.WithError(err).Debug("wagi status cannot ask this gateway")
		return c
	}
	go c.answer()
	return c
}

func (c *control) answer() {
	for {
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files: others need them more
			time.Sleep(controlTimeout)
			continue
		}
		if trusted(conn) {
			_ = conn.SetDeadline(time.Now().Add(controlTimeout)) // what fails here fails below
			_ = json.NewEncoder(conn).Encode(c.now())            // who asked may be gone
		}
		conn.Close()
	}
}

func (c *control) now() state {
	s := c.state
	if serving := c.serving.Load(); serving != nil {
		s.Addresses, s.Status = serving.addresses, serving.gateway.Status()
		s.Ready = !s.Draining && !s.Loading
	}
	return s
}

func (c *control) close() {
	if c.listener != nil {
		c.listener.Close()
	}
}

// runningGateways asks all gateways of this pid namespace for their state. Those that do not answer, as those of another user, are left out.
func runningGateways() []state {
	var states []state
	for _, name := range controlNames() {
		if s, err := askControl(name); err == nil {
			states = append(states, s)
		}
	}
	return states
}

func askControl(name string) (s state, err error) {
	conn, err := net.DialTimeout("unix", name, controlTimeout)
	if err != nil {
		return s, err
	}
	defer conn.Close()
	if os.Geteuid() != 0 && !trusted(conn) {
		return s, errors.New("a gateway of another user")
	}
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return s, err
	}
	return s, json.NewDecoder(conn).Decode(&s)
}
