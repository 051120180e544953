package command

import (
	"bytes"
	"cmp"
	"errors"
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
	method  string
	header  []string
	data    string
	hasBody bool
	include bool
	verbose bool
}

func callCommand() *cobra.Command {
	var opts callOptions
	cmd := &cobra.Command{
		Use:   "call [flags] TARGET",
		Short: "Make one request, without a server",
		Long: `call sends a request for TARGET, a path with or without a query, through the gateway and prints the body of the response.
Standard error has what guests print there, and the status and the time. It fails if the status is 400 or above.`,
		Example: "  wagi call '/hello?name=you'\n  wagi call -v -d @photo.jpg /upload/photo.jpg",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.hasBody = cmd.Flags().Changed("data")
			return opts.call(cmd, args[0])
		},
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&opts.method, "request", "X", "", "`METHOD` (default GET, with a body POST)")
	cmd.Flags().VarP(list{values: &opts.header}, "header", "H", "`NAME: VALUE` to send; repeatable")
	cmd.Flags().BoolVarP(&opts.include, "include", "i", false, "print the status and the fields of the response too, before the body")
	cmd.Flags().BoolVarP(&opts.verbose, "verbose", "v", false, "print the script's arguments and environment and the head of the response on standard error")
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
	w := &responsePrinter{body: cmd.OutOrStdout(), header: http.Header{}}
	if o.include {
		w.head = append(w.head, headPrinter{cmd.OutOrStdout(), ""})
	}
	if o.verbose {
		w.head = append(w.head, headPrinter{cmd.ErrOrStderr(), "< "})
		cfg.Start = func(args, env []string) { printScript(cmd.ErrOrStderr(), args, env) }
	}
	gateway, err := cgi.New(cmd.Context(), *cfg)
	if err != nil {
		return err
	}
	defer gateway.Close()
	begun := time.Now()
	aborted := w.serve(gateway, request)
	status := strings.TrimSpace(fmt.Sprintf("%d %s", w.status, http.StatusText(w.status))) // some have no text
	fmt.Fprintf(cmd.ErrOrStderr(), "wagi: %s in %s\n", status, time.Since(begun).Round(time.Microsecond))
	if aborted {
		return errors.New("the response broke off")
	}
	if w.status >= http.StatusBadRequest {
		return exitStatus(exitFailure)
	}
	return nil
}

// printScript prints what a script is given.
func printScript(w io.Writer, args, env []string) {
	for i, arg := range args {
		fmt.Fprintf(w, "> argument %d: %q\n", i, arg)
	}
	for _, e := range slices.Sorted(slices.Values(env)) {
		fmt.Fprintf(w, "> %s\n", e)
	}
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
	case !o.hasBody:
		return nil, nil
	case !ok:
		return append([]byte{}, o.data...), nil
	case file == "-":
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

// responsePrinter is a ResponseWriter that prints the response.
type responsePrinter struct {
	head   []headPrinter
	body   io.Writer
	header http.Header
	status int
}

// headPrinter prints a head as HTTP/1.1 has it.
type headPrinter struct {
	w      io.Writer
	prefix string // of each line
}

func (p headPrinter) print(status int, header http.Header) {
	fmt.Fprintf(p.w, "%sHTTP/1.1 %d %s\n", p.prefix, status, http.StatusText(status))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			fmt.Fprintf(p.w, "%s%s: %s\n", p.prefix, name, value)
		}
	}
	fmt.Fprintln(p.w, strings.TrimSpace(p.prefix))
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
	for _, head := range p.head {
		head.print(status, p.header)
	}
}

func (p *responsePrinter) Write(b []byte) (int, error) {
	return p.body.Write(b)
}
