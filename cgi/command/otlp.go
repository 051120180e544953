package command

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpClient sends spans to a collector by OTLP over HTTP, https://opentelemetry.io/docs/specs/otlp/#otlphttp: it is an
// otlptrace.Client, which turns spans into messages. The usual one, otlptracehttp, links gRPC as well.
type otlpClient struct {
	url    string
	header http.Header
	http   http.Client
}

// otlpVariable is a variable for traces or, without one, that for all signals.
func otlpVariable(name string) string {
	return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name))
}

// newOTLPClient reads the variables of https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
func newOTLPClient() (*otlpClient, error) {
	if protocol := otlpVariable("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL %q: want http/protobuf", protocol)
	}
	c := &otlpClient{header: http.Header{"Content-Type": {"application/x-protobuf"}}}
	c.url = os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if c.url == "" {
		c.url = strings.TrimSuffix(cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), "http://localhost:4318"), "/") + "/v1/traces"
	}
	if u, err := url.Parse(c.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT %q: want a URL such as http://collector:4318", c.url)
	}
	for pair := range strings.SplitSeq(otlpVariable("HEADERS"), ",") {
		name, value, ok := strings.Cut(pair, "=")
		if value, err := url.PathUnescape(strings.TrimSpace(value)); ok && err == nil {
			c.header.Set(strings.TrimSpace(name), value)
		}
	}
	timeout, err := strconv.Atoi(cmp.Or(otlpVariable("TIMEOUT"), "10000"))
	if err != nil || timeout < 0 {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT %q: want milliseconds", otlpVariable("TIMEOUT"))
	}
	c.http.Timeout = time.Duration(timeout) * time.Millisecond
	return c, c.trust(otlpVariable("CERTIFICATE"))
}

// trust makes the certificates in a PEM file the ones that a collector's must come from; without a file: those of the system.
func (c *otlpClient) trust(file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	roots := x509.NewCertPool()
	if err == nil && !roots.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s has no certificate", file)
	}
	if err != nil {
		return fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	c.http.Transport = transport
	return nil
}

// Start has nothing to do.
func (c *otlpClient) Start(context.Context) error { return nil }

// Stop closes the connections.
func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces sends spans, and again, less and less often, until ctx ends or the collector says more than "not now".
func (c *otlpClient) UploadTraces(ctx context.Context, batch []*spans.ResourceSpans) error {
	body, err := proto.Marshal(&spans.TracesData{ResourceSpans: batch}) // on the wire an ExportTraceServiceRequest
	if err != nil {
		return err
	}
	for wait := time.Second; ; wait *= 2 {
		again, err := c.post(ctx, body)
		if !again {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// post sends a message. It says whether it is worth sending again.
func (c *otlpClient) post(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header = c.header.Clone()
	response, err := c.http.Do(request)
	if err != nil {
		return true, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // keeps the connection
	switch response.StatusCode {
	case http.StatusOK:
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, fmt.Errorf("%s: %s", c.url, response.Status)
}
