package command

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"os/signal"
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
	listenOptions
	observeOptions
	observers       *observers // made by run
	tlsCert, tlsKey string
	timeouts        timeouts
	drainDelay      time.Duration
	grace           time.Duration
	watch           bool
	bindle          map[string]*string // flags of WAGI for a technology that is gone
}

// timeouts bound what a client may take; that of a whole request is the module's. 0: none.
type timeouts struct {
	header, body, idle time.Duration
}

func serveCommand(name string) *cobra.Command {
	opts := serveOptions{bindle: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   name,
		Short: "Serve the modules of a modules.toml (the default command)",
		Long: `serve answers HTTP requests by the modules of a modules.toml until SIGTERM or SIGINT.

When modules.toml or a module changes, and on SIGHUP, it reads everything again. Requests that run end as they began.
If anything is wrong with the new configuration, the old one goes on and the log says why.

At its end it reports 503 on its ready path, goes on for --drain-delay, stops accepting, lets requests finish, and after --grace
in all stops their guests and exits with status 0. A second signal ends it at once.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return opts.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	flags := cmd.Flags()
	opts.options.addFlags(flags)
	opts.listenOptions.addFlags(flags)
	opts.observeOptions.addFlags(flags)
	flags.StringVar(&opts.tlsCert, "tls-cert", os.Getenv("WAGI_TLS_CERT"), "PEM `FILE` with the certificate chain, read again when it changes; needs --tls-key")
	flags.StringVar(&opts.tlsKey, "tls-key", os.Getenv("WAGI_TLS_KEY"), "PEM `FILE` with the private key; needs --tls-cert")
	flags.DurationVar(&opts.timeouts.header, "header-timeout", 10*time.Second, "how long the head of a request may take, and a TLS handshake; 0: for ever")
	flags.DurationVar(&opts.timeouts.body, "body-timeout", time.Minute, "how long the next bytes of a request's body may take; 0: for ever")
	flags.DurationVar(&opts.timeouts.idle, "idle-timeout", 2*time.Minute, "how long a connection may be idle; 0: for ever")
	delay, grace := ending()
	flags.DurationVar(&opts.drainDelay, "drain-delay", delay, "how long to go on accepting after SIGTERM, so that balancers see it")
	flags.DurationVar(&opts.grace, "grace", grace, "how long requests may take to finish after SIGTERM")
	flags.BoolVar(&opts.watch, "watch", true, "reload when modules.toml or a module changes")
	for _, flag := range []string{"bindle-path", "bindle-url", "bindle-http-user", "bindle-http-password"} {
		opts.bindle[flag] = flags.String(flag, "", "")
	}
	opts.bindle["bindle"] = flags.StringP("bindle", "b", "", "")
	opts.bindle["bindle-insecure"] = flags.StringP("bindle-insecure", "k", "", "")
	flags.Lookup("bindle-insecure").NoOptDefVal = "true"
	for flag := range opts.bindle {
		_ = flags.MarkHidden(flag) // it exists
	}
	return cmd
}

// ending is how long the gateway goes on accepting after SIGTERM, and how long it takes in all. Kubernetes needs the longest delay,
// because the news reaches the nodes' kube-proxies by way of two controllers, and kills after 30 s, Docker after 10. On a laptop
// nobody balances.
func ending() (delay, grace time.Duration) {
	switch {
	case !inContainer():
		return 0, 8 * time.Second
	case os.Getenv("KUBERNETES_SERVICE_HOST") != "":
		return 4 * time.Second, 25 * time.Second
	}
	return time.Second, 8 * time.Second
}

// run serves until a signal ends it.
func (o *serveOptions) run(ctx context.Context, stdout io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	places, err := o.places()
	if err != nil {
		return err
	}
	certificate, err := o.certificate()
	if err != nil {
		return err
	}
	if o.observers, err = o.observe(ctx); err != nil {
		return err
	}
	defer o.observers.close()
	if command := os.Getenv("WAGI_COMMAND"); command != "" {
		log.G(ctx).WithFields(log.Fields{"command": command, "file": o.config}).Warn("the command is no program of this image: the gateway runs instead")
	}
	control := openControl(o)
	defer control.close()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	watch := &fileWatch{}
	if o.watch {
		watch = newFileWatch()
	}
	gateway, err := o.start(ctx, watch, signals)
	if err != nil {
		return err
	}
	listeners, err := places.open(o.timeouts.header)
	if err != nil {
		return err
	}
	s := newServer(ctx, gateway, o.timeouts, certificate)
	s.http.Handler = o.observers.handler(gateway, o.healthPath, o.readyPath)
	reloading, stopReloading := context.WithCancel(ctx)
	defer stopReloading()
	go o.keepUp(reloading, gateway, watch, hangups)
	served := make(chan error, len(listeners))
	serving := &serving{gateway: gateway}
	for _, l := range listeners {
		go func() { served <- s.serve(l) }()
		serving.addresses = append(serving.addresses, l.url(s.scheme()))
	}
	control.serving.Store(serving)
	if err := o.attend(ctx, stdout, s, serving, served, signals); err != nil {
		return err
	}
	stopReloading()
	o.observers.ready(false)
	return s.drain(o.drainDelay, o.grace, signals)
}

// attend becomes ready when all modules are, and returns at the first signal, or with what made serving impossible.
func (o *serveOptions) attend(ctx context.Context, stdout io.Writer, s *server, serving *serving, served <-chan error, signals <-chan os.Signal) error {
	loaded := make(chan error, 1)
	go func() { loaded <- serving.gateway.Wait(ctx) }()
	var quiet <-chan time.Time // after the modules are loaded
	for {
		select {
		case err := <-loaded:
			if err != nil {
				return err
			}
			o.observers.ready(true)
			for _, url := range serving.addresses {
				fmt.Fprintf(stdout, "Ready: serving on %s\n", url)
			}
			quiet = time.After(settleDelay)
		case <-quiet:
			settleHeap()
		case err := <-served:
			return fmt.Errorf("serve: %w", errors.Join(err, s.http.Close()))
		case <-signals:
			return nil
		}
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
	if min(o.timeouts.header, o.timeouts.body, o.timeouts.idle, o.drainDelay, o.grace) < 0 {
		return usageError{errors.New("--header-timeout, --body-timeout, --idle-timeout, --drain-delay and --grace cannot be negative")}
	}
	if o.grace < o.drainDelay {
		return usageError{fmt.Errorf("--grace %s is shorter than --drain-delay %s", o.grace, o.drainDelay)}
	}
	return nil
}

// certificate is nil without TLS.
func (o *serveOptions) certificate() (*certificate, error) {
	if o.tlsCert == "" {
		return nil, nil
	}
	return loadCertificate(o.tlsCert, o.tlsKey)
}

// load reads the configuration that the flags name.
func (o *serveOptions) load() (*cgi.Config, error) {
	cfg, err := o.options.load()
	if err != nil {
		return nil, err
	}
	cfg.BodyTimeout = cmp.Or(o.timeouts.body, -1)
	o.observers.configure(cfg)
	return cfg, nil
}

// start makes the gateway, whose modules may still be compiled then. A signal ends the process meanwhile: reading may take long and
// cannot be interrupted.
func (o *serveOptions) start(ctx context.Context, watch *fileWatch, signals <-chan os.Signal) (*cgi.Reloader, error) {
	var gateway *cgi.Reloader
	started := make(chan error, 1)
	go func() {
		var err error
		gateway, err = o.newGateway(ctx, watch)
		started <- err
	}()
	select {
	case err := <-started:
		if err != nil {
			return nil, err
		}
	case <-signals:
		return nil, errors.New("ended by a signal while starting")
	}
	return gateway, nil
}

// newGateway makes the gateway and watches its files.
func (o *serveOptions) newGateway(ctx context.Context, watch *fileWatch) (*cgi.Reloader, error) {
	watch.watch([]string{o.config})
	cfg, err := o.load()
	if err != nil {
		return nil, err
	}
	watch.watch(cfg.Files())
	return cgi.NewReloader(ctx, *cfg)
}

// errShutdown is the cause for which guests are stopped when the time to drain is over.
var errShutdown = errors.New("gateway is shutting down")

// stopTime is how long stopped guests may take to give way.
const stopTime = time.Second

// server is a gateway at its listeners.
type server struct {
	gateway *cgi.Reloader
	http    *http.Server
	tls     bool
	stop    context.CancelCauseFunc // stops all guests
}

func newServer(ctx context.Context, gateway *cgi.Reloader, limits timeouts, certificate *certificate) *server {
	ctx, stop := context.WithCancelCause(ctx)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &server{gateway: gateway, tls: certificate != nil, stop: stop, http: &http.Server{
		Handler:                      gateway,
		Protocols:                    protocols,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            limits.header,
		IdleTimeout:                  limits.idle,
		MaxHeaderBytes:               256 << 10,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return cgi.WithConnection(ctx, systemConn(conn))
		},
		ErrorLog: stdlog.New(connectionLog{ctx}, "", 0),
	}}
	if s.tls {
		s.http.TLSConfig = &tls.Config{
			GetCertificate: certificate.forClient,
			NextProtos:     []string{"http/1.0"}, // net/http adds its own; a client that offers only this would be refused
		}
	}
	return s
}

func (s *server) serve(listener net.Listener) error {
	if s.tls {
		return s.http.ServeTLS(listener, "", "")
	}
	return s.http.Serve(listener)
}

func (s *server) scheme() string {
	if s.tls {
		return "https"
	}
	return "http"
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
		s.close(graceful)
		return nil
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

// close frees the modules, unless one is compiled for too long: the process ends anyway.
func (s *server) close(ctx context.Context) {
	closed := make(chan struct{})
	go func() {
		s.gateway.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-ctx.Done():
	}
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
