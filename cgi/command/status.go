package command

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"containerd-shim-wagi-v1/cgi"
)

// probe asks the gateway that runs here, in the same container or on this machine, how it is. Its flags are those of the gateway.
type probe struct {
	gateway    listenOptions
	healthPath string
	readyPath  string
	tls        bool
	timeout    time.Duration
}

func (p *probe) addFlags(flags *pflag.FlagSet) {
	flags.VarP(list{&p.gateway.listen, ","}, "listen", "l", "`ADDRESS` where the gateway serves; default in a container: the one that runs there, else as for wagi serve")
	flags.StringVar(&p.healthPath, "health-path", "/healthz", "`PATH` that answers 200 while the process lives, for a gateway that tells nothing of itself")
	flags.StringVar(&p.readyPath, "ready-path", "/readyz", "`PATH` that answers 200 while the gateway is ready, likewise")
	flags.BoolVar(&p.tls, "tls", os.Getenv("WAGI_TLS_CERT") != "", "the gateway speaks TLS, likewise (default if WAGI_TLS_CERT is set)")
	flags.DurationVar(&p.timeout, "timeout", 5*time.Second, "how long an answer may take")
}

func healthCommand() *cobra.Command {
	var p probe
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether the gateway that runs here is ready: for HEALTHCHECK",
		Long: `health asks the gateway that runs in the same container, or on this machine, for its ready path and prints one line.
The exit status is 0 if it is ready, else 1.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.health(cmd) },
	}
	p.addFlags(cmd.Flags())
	return cmd
}

func statusCommand() *cobra.Command {
	var p probe
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the gateway that runs here does: addresses, routes, guests, requests",
		Long: `status asks the gateway that runs in the same container, or on this machine, what it does. Guests and requests are counted
since it was started. Where a gateway runs as another user, or not on Linux, status shows what its health and ready paths answer.
The exit status is 0 if it is ready, else 1.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.status(cmd, asJSON) },
	}
	p.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *probe) health(cmd *cobra.Command) error {
	running, err := p.find()
	if err != nil {
		return err
	}
	var ready answer
	switch {
	case running == nil:
		ready, err = p.get(cmd, p.readyPath)
	case !running.Ready:
		ready = answer{http.StatusServiceUnavailable, running.why()}
	case running.ReadyPath == "off" || running.Proxied:
		ready = answer{code: http.StatusOK} // it says so itself
	default:
		p.tls, p.gateway.listen = running.TLS, []string{strings.TrimPrefix(running.Addresses[0], running.scheme())}
		ready, err = p.get(cmd, running.ReadyPath)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "ready: %s\n", ready)
	return ready.exitStatus()
}

func (p *probe) status(cmd *cobra.Command, asJSON bool) error {
	running, err := p.find()
	switch {
	case err != nil:
		return err
	case running == nil:
		return p.probed(cmd)
	case asJSON:
		err = writeJSON(cmd.OutOrStdout(), running)
	default:
		err = running.write(cmd.OutOrStdout())
	}
	if err == nil && !running.Ready {
		err = exitStatus(exitFailure)
	}
	return err
}

// probed prints what can be seen of a gateway from outside.
func (p *probe) probed(cmd *cobra.Command) error {
	address, err := p.address()
	if err != nil {
		return err
	}
	alive, err := p.get(cmd, p.healthPath)
	if err != nil {
		return err
	}
	ready, err := p.get(cmd, p.readyPath)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "address  %s\nalive    %s\nready    %s\n", address, alive, ready)
	return cmp.Or(alive.exitStatus(), ready.exitStatus())
}

// find gives the state of the gateway that is meant; nil: none tells of itself. In a container it is the one that runs there,
// elsewhere the one that serves at the address.
func (p *probe) find() (*state, error) {
	if p.timeout < 0 {
		return nil, usageError{errors.New("--timeout cannot be negative")}
	}
	running := runningGateways()
	if !inContainer() || len(p.gateway.listen) > 0 {
		addresses, err := p.gateway.addresses()
		if err != nil {
			return nil, err
		}
		running = slices.DeleteFunc(running, func(s state) bool { return !s.serves(addresses[0]) })
	}
	switch len(running) {
	case 0:
		return nil, nil
	case 1:
		return &running[0], nil
	}
	return nil, usageError{fmt.Errorf("%d gateways run here: name the address of one with --listen", len(running))}
}

// serves says whether the gateway is reached at an address.
func (s *state) serves(where address) bool {
	return slices.ContainsFunc(s.Addresses, func(url string) bool {
		a, err := parseAddress(strings.TrimPrefix(url, s.scheme()))
		return err == nil && (a == where || a.tcp.Addr().IsUnspecified() && a.tcp.Port() == where.tcp.Port())
	})
}

// scheme is what its addresses begin with, but for those of Unix sockets.
func (s *state) scheme() string {
	if s.TLS {
		return "https://"
	}
	return "http://"
}

// why says why the gateway is not ready.
func (s *state) why() string {
	switch {
	case s.Draining:
		return "draining"
	case s.Loading:
		return "compiling modules"
	}
	return "starting"
}

func (s *state) write(w io.Writer) error {
	ready := "yes"
	if !s.Ready {
		ready = "no: " + s.why()
	}
	sum := cgi.RouteStatus{Requests: s.Unmatched}
	for _, r := range s.Routes {
		sum.Running += r.Running
		sum.Queued += r.Queued
		sum.Requests += r.Requests
		sum.Failed += r.Failed
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "ready\t%s\naddress\t%s\nuptime\t%s\nconfig\t%s\nversion\t%s\npid\t%d\n",
		ready, strings.Join(s.Addresses, ", "), time.Since(s.Started).Round(time.Second), s.Config, s.Version, s.PID)
	fmt.Fprintf(table, "guests\t%d running\nrequests\t%d queued, %d answered, %d failed, %d without a route\n\n",
		sum.Running, sum.Queued, sum.Requests, sum.Failed, s.Unmatched)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(table, "ROUTE\tMODULE\tRUNNING\tQUEUED\tREQUESTS\tFAILED")
	for _, r := range s.Routes {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\n", r.Route.Route, r.Module, r.Running, r.Queued, r.Requests, r.Failed)
	}
	return table.Flush()
}

// address is where the gateway is reached that serves where wagi serve would: the first address counts.
func (p *probe) address() (address, error) {
	addresses, err := p.gateway.addresses()
	if err != nil {
		return address{}, err
	}
	a := addresses[0]
	switch ip := a.tcp.Addr(); {
	case a.systemd:
		return a, usageError{errors.New("systemd knows its sockets: name an address with --listen")}
	case ip == netip.IPv4Unspecified():
		a.tcp = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.tcp.Port())
	case ip == netip.IPv6Unspecified():
		a.tcp = netip.AddrPortFrom(netip.IPv6Loopback(), a.tcp.Port())
	}
	return a, nil
}

func (a address) dial(ctx context.Context) (net.Conn, error) {
	if a.unix != "" {
		return new(net.Dialer).DialContext(ctx, "unix", a.unix)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", a.tcp.String())
}

// answer is what the gateway says of itself.
type answer struct {
	code int
	text string
}

func (a answer) String() string {
	if a.code == http.StatusOK {
		return "yes"
	}
	return fmt.Sprintf("no: %d %s", a.code, cmp.Or(a.text, http.StatusText(a.code)))
}

// exitStatus is nil for yes.
func (a answer) exitStatus() error {
	if a.code == http.StatusOK {
		return nil
	}
	return exitStatus(exitFailure)
}

// get asks for one of the gateway's own paths.
func (p *probe) get(cmd *cobra.Command, path string) (answer, error) {
	address, err := p.address()
	if err != nil {
		return answer{}, err
	}
	scheme := "http"
	if p.tls {
		scheme = "https"
	}
	client := http.Client{Timeout: p.timeout, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return address.dial(ctx) },
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it has the name that others know it by
	}}
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, scheme+"://localhost"+path, nil)
	if err != nil {
		return answer{}, usageError{err}
	}
	response, err := client.Do(request)
	var network *net.OpError
	switch {
	case errors.As(err, &network):
		return answer{}, hintError{fmt.Errorf("no gateway on %s: %w", address, network.Err), "name another address with --listen"}
	case err != nil:
		return answer{}, fmt.Errorf("no answer from %s: %w", address, errors.Unwrap(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 100))
	return answer{response.StatusCode, string(bytes.TrimSpace(text))}, err
}
