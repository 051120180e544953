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
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// probe asks the gateway that runs here, in the same network namespace, how it is. Its flags are those of the gateway.
type probe struct {
	gateway    listenOptions
	healthPath string
	readyPath  string
	tls        bool
	timeout    time.Duration
}

func (p *probe) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVarP(&p.gateway.listen, "listen", "l", nil, "`ADDRESS` where the gateway serves; default as for wagi serve")
	flags.StringVar(&p.healthPath, "health-path", "/healthz", "`PATH` that answers 200 while the process lives")
	flags.StringVar(&p.readyPath, "ready-path", "/readyz", "`PATH` that answers 200 while the gateway is ready")
	flags.BoolVar(&p.tls, "tls", os.Getenv("WAGI_TLS_CERT") != "", "the gateway speaks TLS (default if WAGI_TLS_CERT is set)")
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
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := p.get(cmd, p.readyPath)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "ready: %s\n", answer)
			return answer.exitStatus()
		},
	}
	p.addFlags(cmd.Flags())
	return cmd
}

func statusCommand() *cobra.Command {
	var p probe
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show where the gateway that runs here serves, and whether it lives and is ready",
		Long: `status asks the gateway that runs in the same container, or on this machine, for its health and ready paths.
The exit status is 0 if it is ready, else 1.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.status(cmd) },
	}
	p.addFlags(cmd.Flags())
	return cmd
}

func (p *probe) status(cmd *cobra.Command) error {
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
