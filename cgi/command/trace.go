package command

import (
	"context"
	"net/http"
	"os"
	"strings"

	"github.com/containerd/log"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"containerd-shim-wagi-v1/cgi"
)

// tracer makes a span of each request, below that of the client if it sent one (W3C Trace Context), and exports it by
// OTLP over HTTP. Guests get the span as HTTP_TRACEPARENT. Without a tracer they get what the client sent.
type tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// openTracer makes a tracer if the usual variables, OTEL_EXPORTER_OTLP_ENDPOINT first, ask for one. The caller closes it.
func openTracer(ctx context.Context) (*tracer, error) {
	if !tracesWanted() {
		return nil, nil
	}
	client, err := newOTLPClient()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, err
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "wagi")),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv()) // OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES: the last one wins
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.G(ctx).WithError(err).Warn("traces are lost")
	}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return &tracer{provider, provider.Tracer("wagi")}, nil
}

func tracesWanted() bool {
	exporter := os.Getenv("OTEL_TRACES_EXPORTER")
	return !strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") &&
		(exporter == "otlp" || exporter == "" && otlpVariable("ENDPOINT") != "")
}

// handler begins the span of a request; paths for health have none.
func (t *tracer) handler(next http.Handler, healthPaths ...string) http.Handler {
	health := map[string]bool{}
	for _, path := range healthPaths {
		health[path] = true
	}
	var propagator propagation.TraceContext
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if health[r.URL.Path] {
			next.ServeHTTP(w, r)
			return
		}
		header := propagation.HeaderCarrier(r.Header)
		ctx, span := t.tracer.Start(propagator.Extract(r.Context(), header), r.Method, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		propagator.Inject(ctx, header)
		ctx = log.WithLogger(ctx, log.G(ctx).WithField("trace_id", span.SpanContext().TraceID()))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// add puts into a request's span what is known at its end, in the words of OpenTelemetry's conventions for HTTP.
func (t *tracer) add(r *cgi.Record) {
	span := trace.SpanFromContext(r.Request.Context())
	if !span.IsRecording() {
		return
	}
	path, _, _ := strings.Cut(r.Request.RequestURI, "?")
	span.SetAttributes(
		attribute.String("http.request.method", r.Request.Method),
		attribute.String("url.path", short(path)),
		attribute.String("client.address", client(r)),
		attribute.String("server.address", short(r.Request.Host)),
		attribute.Int("http.response.status_code", r.Status),
		attribute.Int64("http.response.body.size", r.Bytes),
		attribute.Float64("wagi.guest.duration", r.Guest.Seconds()),
	)
	if r.Route != "" {
		span.SetName(r.Request.Method + " " + r.Route)
		span.SetAttributes(attribute.String("http.route", r.Route), attribute.String("wagi.module", r.Module))
	}
	if r.Err != nil && r.Status/100 != 4 { // the client's errors are not ours
		span.SetStatus(codes.Error, r.Err.Error())
	}
}

// close exports what is left, within stopTime.
func (t *tracer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		log.L.WithError(err).Warn("traces are lost")
	}
}
