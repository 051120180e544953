package command

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"containerd-shim-wagi-v1/cgi"
)

// startCollector takes what is exported by OTLP. The first time it is too busy.
func startCollector(t *testing.T) (url string, exported chan *spans.TracesData) {
	var busy atomic.Bool
	busy.Store(true)
	exported = make(chan *spans.TracesData, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy.CompareAndSwap(true, false) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		request := &spans.TracesData{} // as an ExportTraceServiceRequest
		if err := proto.Unmarshal(body, request); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Api-Key") != "a b" {
			t.Errorf("%s %v: %v", r.URL, r.Header, err)
		}
		exported <- request
	}))
	t.Cleanup(server.Close)
	return server.URL, exported
}

func TestTraces(t *testing.T) {
	url, exported := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
	t.Setenv("OTEL_SERVICE_NAME", "story")
	traces, err := openTracer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := cgi.New(t.Context(), cgi.Config{
		Modules: []cgi.Module{{Route: "/echo/...", Module: "../testdata/echo.wat"}},
		Done:    traces.add,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	handler := traces.handler(gateway, "/healthz")
	const traceID, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	get := func(path string) string {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Traceparent", "00-"+traceID+"-"+parent+"-01")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Body.String()
	}
	get("/healthz")
	echo := get("/echo/you?query")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := traces.provider.ForceFlush(ctx); err != nil {
		t.Error(err)
	}
	traces.close()

	request := <-exported
	if got := request.ResourceSpans[0].Resource.String(); !strings.Contains(got, `"story"`) {
		t.Errorf("resource %s", got)
	}
	if n := len(request.ResourceSpans[0].ScopeSpans[0].Spans); n != 1 {
		t.Fatalf("%d spans", n)
	}
	span := request.ResourceSpans[0].ScopeSpans[0].Spans[0]
	if hex.EncodeToString(span.TraceId) != traceID || hex.EncodeToString(span.ParentSpanId) != parent || span.Name != "GET /echo/..." {
		t.Errorf("span %s", span)
	}
	if want := "HTTP_TRACEPARENT=00-" + traceID + "-" + hex.EncodeToString(span.SpanId) + "-01\n"; !strings.Contains(echo, want) {
		t.Errorf("want %s, got\n%s", want, echo)
	}
	for key, want := range map[string]string{
		"http.route": "/echo/...", "url.path": "/echo/you", "wagi.module": "../testdata/echo.wat", "client.address": "192.0.2.1",
	} {
		if got := attributeOf(span, key); got != want {
			t.Errorf("%s %q, want %q", key, got, want)
		}
	}
}

func attributeOf(span *spans.Span, key string) string {
	for _, a := range span.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

func TestTracesAreOff(t *testing.T) {
	const endpoint = "http://localhost:1"
	for name, env := range map[string]map[string]string{
		"by default":      {},
		"for all":         {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SDK_DISABLED": "true"},
		"for no exporter": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range env {
				t.Setenv(name, value)
			}
			if traces, err := openTracer(t.Context()); traces != nil || err != nil {
				t.Errorf("%v, %v", traces, err)
			}
		})
	}
}

func TestTracesOfWrongVariables(t *testing.T) {
	for name, test := range map[string]struct{ value, want string }{
		"PROTOCOL":    {"grpc", `OTEL_EXPORTER_OTLP_PROTOCOL "grpc": want http/protobuf`},
		"ENDPOINT":    {"collector:4318", `OTEL_EXPORTER_OTLP_ENDPOINT "collector:4318/v1/traces": want a URL such as http://collector:4318`},
		"TIMEOUT":     {"soon", `OTEL_EXPORTER_OTLP_TIMEOUT "soon": want milliseconds`},
		"CERTIFICATE": {"trace_test.go", "OTEL_EXPORTER_OTLP_CERTIFICATE: trace_test.go has no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_"+name, test.value)
			if _, err := newOTLPClient(); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
