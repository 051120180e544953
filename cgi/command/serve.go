package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/log"
	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
)

// serveOptions are the flags of wagi serve.
type serveOptions struct {
	options
	listen          string
	tlsCert, tlsKey string
	drainDelay      time.Duration
	grace           time.Duration
	bindle          map[string]*string // flags of WAGI for a technology that is gone
}

func serveCommand(name string) *cobra.Command {
	opts := serveOptions{bindle: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   name,
		Short: "Serve the modules of a modules.toml (the default command)",
		Long: `serve answers HTTP requests by the modules of a modules.toml until SIGTERM or SIGINT.
It then reports 503 on its ready path, goes on for --drain-delay, stops accepting, lets requests finish, and after --grace
in all stops their guests and exits with status 0. A second signal ends it at once.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return opts.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	flags := cmd.Flags()
	opts.addFlags(flags)
	flags.StringVarP(&opts.listen, "listen", "l", "",
		"`IP:PORT` to serve on; default $WAGI_LISTEN, else 0.0.0.0:$PORT, else 127.0.0.1:3000, in a container 0.0.0.0:3000")
	flags.StringVar(&opts.tlsCert, "tls-cert", os.Getenv("WAGI_TLS_CERT"), "PEM `FILE` with the certificate chain; needs --tls-key")
	flags.StringVar(&opts.tlsKey, "tls-key", os.Getenv("WAGI_TLS_KEY"), "PEM `FILE` with the private key; needs --tls-cert")
	flags.DurationVar(&opts.drainDelay, "drain-delay", defaultDrainDelay(), "how long to go on accepting after SIGTERM, so that balancers see it")
	flags.DurationVar(&opts.grace, "grace", 8*time.Second, "how long requests may take to finish after SIGTERM")
	for _, flag := range []string{"bindle-path", "bindle-url", "bindle-http-user", "bindle-http-password"} {
		opts.bindle[flag] = flags.String(flag, "", "")
	}
	opts.bindle["bindle"] = flags.StringP("bindle", "b", "", "")
	for flag := range opts.bindle {
		_ = flags.MarkHidden(flag) // it exists
	}
	return cmd
}

// defaultDrainDelay gives a cluster a second to send requests elsewhere. On a laptop nobody balances.
func defaultDrainDelay() time.Duration {
	if inContainer() {
		return time.Second
	}
	return 0
}

// run serves until a signal ends it.
func (o *serveOptions) run(ctx context.Context, stdout io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	address, err := o.address()
	if err != nil {
		return err
	}
	certificates, err := o.certificates()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	gateway, err := o.start(ctx, signals)
	if err != nil {
		return err
	}
	listener, err := listen(address)
	if err != nil {
		return err
	}
	s := newServer(ctx, gateway, certificates)
	served := make(chan error, 1)
	go func() { served <- s.serve(listener) }()
	fmt.Fprintf(stdout, "Ready: serving on %s\n", s.url(address, listener))
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-signals:
		return s.drain(o.drainDelay, o.grace, signals)
	}
}

// check refuses flags that cannot work.
func (o *serveOptions) check() error {
	for flag, value := range o.bindle {
		if *value != "" {
			return hintError{usageError{fmt.Errorf("--%s: Bindle is gone", flag)}, "put the modules beside a modules.toml and name it with -c FILE"}
		}
	}
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return usageError{errors.New("--tls-cert and --tls-key need each other")}
	}
	if o.grace < o.drainDelay {
		return usageError{fmt.Errorf("--grace %s is shorter than --drain-delay %s", o.grace, o.drainDelay)}
	}
	return nil
}

// address is where to serve, an IP address and a port.
func (o *serveOptions) address() (netip.AddrPort, error) {
	from, text := "--listen", o.listen
	if text == "" {
		from, text = "WAGI_LISTEN", os.Getenv("WAGI_LISTEN")
	}
	if port := os.Getenv("PORT"); text == "" && port != "" {
		from, text = "PORT", "0.0.0.0:"+port
	}
	switch {
	case text == "" && inContainer():
		text = "0.0.0.0:3000"
	case text == "":
		text = "127.0.0.1:3000"
	}
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return address, usageError{fmt.Errorf("%s %q: want IP:PORT, such as 127.0.0.1:3000 or [::1]:3000", from, text)}
	}
	return address, nil
}

func (o *serveOptions) certificates() ([]tls.Certificate, error) {
	if o.tlsCert == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", o.tlsCert, o.tlsKey, err)
	}
	return []tls.Certificate{certificate}, nil
}

// start makes the gateway. A signal ends the process meanwhile: compiling takes long and cannot be interrupted.
func (o *serveOptions) start(ctx context.Context, signals <-chan os.Signal) (*cgi.Gateway, error) {
	cfg, err := o.load()
	if err != nil {
		return nil, err
	}
	var gateway *cgi.Gateway
	started := make(chan error, 1)
	go func() {
		var err error
		gateway, err = cgi.New(ctx, *cfg)
		started <- err
	}()
	select {
	case err = <-started:
	case <-signals:
		err = errors.New("ended by a signal while starting")
	}
	if err != nil {
		return nil, err
	}
	for _, warning := range gateway.Warnings() {
		log.G(ctx).WithField("warning", warning).Warn("configuration")
	}
	return gateway, nil
}

func listen(address netip.AddrPort) (net.Listener, error) {
	listener, err := net.Listen("tcp", address.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, hintError{fmt.Errorf("listen on %s: the address is in use", address), "another process serves there; choose another port with --listen IP:PORT"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine has no such address", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: not permitted", address)
	}
	return listener, err
}

// errShutdown is the cause for which guests are stopped when the time to drain is over.
var errShutdown = errors.New("gateway is shutting down")

// stopTime is how long stopped guests may take to give way.
const stopTime = time.Second

// server is a gateway at its listener.
type server struct {
	gateway *cgi.Gateway
	http    *http.Server
	tls     bool
	stop    context.CancelCauseFunc // stops all guests
}

func newServer(ctx context.Context, gateway *cgi.Gateway, certificates []tls.Certificate) *server {
	ctx, stop := context.WithCancelCause(ctx)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &server{gateway: gateway, tls: certificates != nil, stop: stop, http: &http.Server{
		Handler:                      gateway,
		Protocols:                    protocols,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               256 << 10,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ErrorLog:                     stdlog.New(connectionLog{ctx}, "", 0),
	}}
	if s.tls {
		s.http.TLSConfig = &tls.Config{Certificates: certificates}
	}
	return s
}

func (s *server) serve(listener net.Listener) error {
	if s.tls {
		return s.http.ServeTLS(listener, "", "")
	}
	return s.http.Serve(listener)
}

// url is where the server is reached: the port is the real one, even if 0 was asked for.
func (s *server) url(address netip.AddrPort, listener net.Listener) string {
	scheme := "http"
	if s.tls {
		scheme = "https"
	}
	port := address.Port()
	if real, ok := listener.Addr().(*net.TCPAddr); ok {
		port = uint16(real.Port)
	}
	return scheme + "://" + net.JoinHostPort(address.Addr().String(), strconv.Itoa(int(port)))
}

// drain ends the server: all requests that finish within grace do so. Another signal cuts that short.
func (s *server) drain(delay, grace time.Duration, signals <-chan os.Signal) error {
	graceful, hurry := context.WithTimeout(context.Background(), grace)
	defer hurry()
	go func() {
		select {
		case <-signals:
			hurry()
		case <-graceful.Done():
		}
	}()
	s.gateway.Drain()
	select {
	case <-time.After(delay):
	case <-graceful.Done():
	}
	if s.http.Shutdown(graceful) == nil {
		return s.gateway.Close()
	}
	log.L.Info("stopping the guests that still run")
	s.stop(errShutdown)
	stopping, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if s.http.Shutdown(stopping) != nil {
		_ = s.http.Close() // the process ends now: what a connection has to say about it helps nobody
	}
	return nil
}

// connectionLog takes what net/http has to say about single connections: a panic is news, a client's mistake is not.
type connectionLog struct{ ctx context.Context }

func (l connectionLog) Write(p []byte) (int, error) {
	entry := log.G(l.ctx).WithField("reason", strings.TrimSpace(string(p)))
	if strings.Contains(string(p), "panic") {
		entry.Error("connection failed")
	} else {
		entry.Debug("connection failed")
	}
	return len(p), nil
}
