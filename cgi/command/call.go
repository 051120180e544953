package command

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
)

// callOptions are the flags of wagi call.
type callOptions struct {
	options
	method string
	header []string
	data   string
}

func callCommand() *cobra.Command {
	var opts callOptions
	cmd := &cobra.Command{
		Use:   "call [flags] TARGET",
		Short: "Make one request, without a server",
		Long: `call sends a request for TARGET, a path with or without a query, through the gateway and prints the response;
guests' standard error and the time go to standard error. It fails if the status is 400 or above.`,
		Example: "  wagi call '/hello?name=you'\n  wagi call -d @photo.jpg /upload/photo.jpg",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return opts.call(cmd, args[0]) },
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&opts.method, "request", "X", "", "`METHOD` (default GET, with a body POST)")
	cmd.Flags().StringArrayVarP(&opts.header, "header", "H", nil, "`NAME: VALUE` to send; repeatable")
	cmd.Flags().StringVarP(&opts.data, "data", "d", "", "`BODY` to send, @FILE to take it from a file, @- from standard input")
	return cmd
}

func (o *callOptions) call(cmd *cobra.Command, target string) error {
	request, err := o.newRequest(cmd, target)
	if err != nil {
		return err
	}
	cfg, err := o.load()
	if err != nil {
		return err
	}
	gateway, err := cgi.New(cmd.Context(), *cfg)
	if err != nil {
		return err
	}
	defer gateway.Close()
	begun := time.Now()
	w := &responsePrinter{w: cmd.OutOrStdout(), header: http.Header{}}
	aborted := w.serve(gateway, request)
	fmt.Fprintf(cmd.ErrOrStderr(), "wagi: %s in %s\n", http.StatusText(w.status), time.Since(begun).Round(time.Microsecond))
	if aborted || w.status >= http.StatusBadRequest {
		return exitStatus(exitFailure)
	}
	return nil
}

func (o *callOptions) newRequest(cmd *cobra.Command, target string) (*http.Request, error) {
	if !strings.HasPrefix(target, "/") {
		return nil, usageError{fmt.Errorf("target %q: want a path that begins with /", target)}
	}
	body, err := o.body(cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(cmd.Context(), cmp.Or(o.method, method), "http://localhost"+target, bytes.NewReader(body))
	if err != nil {
		return nil, usageError{err}
	}
	request.RequestURI = target
	request.RemoteAddr = "127.0.0.1:0"
	for _, field := range o.header {
		name, value, ok := strings.Cut(field, ":")
		if !ok {
			return nil, usageError{fmt.Errorf("--header %q: want NAME: VALUE", field)}
		}
		request.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	request.Host = cmp.Or(request.Header.Get("Host"), request.Host)
	request.Header.Del("Host")
	return request, nil
}

// body is what --data means; nil: none.
func (o *callOptions) body(stdin io.Reader) ([]byte, error) {
	file, ok := strings.CutPrefix(o.data, "@")
	switch {
	case o.data == "":
		return nil, nil
	case !ok:
		return []byte(o.data), nil
	case file == "-":
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

// responsePrinter is a ResponseWriter that prints the response as HTTP/1.1 has it.
type responsePrinter struct {
	w      io.Writer
	header http.Header
	status int
}

// serve makes the request and says whether the response broke off.
func (p *responsePrinter) serve(handler http.Handler, r *http.Request) (aborted bool) {
	defer func() {
		if reason := recover(); reason == http.ErrAbortHandler {
			aborted = true
		} else if reason != nil {
			panic(reason)
		}
	}()
	handler.ServeHTTP(p, r)
	return false
}

func (p *responsePrinter) Header() http.Header { return p.header }

func (p *responsePrinter) WriteHeader(status int) {
	p.status = status
	fmt.Fprintf(p.w, "HTTP/1.1 %d %s\n", status, http.StatusText(status))
	for _, name := range slices.Sorted(maps.Keys(p.header)) {
		for _, value := range p.header[name] {
			fmt.Fprintf(p.w, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintln(p.w)
}

func (p *responsePrinter) Write(b []byte) (int, error) {
	return p.w.Write(b)
}
