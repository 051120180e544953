package command

import (
	"context"
	"errors"
	"net/http"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"containerd-shim-wagi-v1/cgi"
)

// observeOptions are the flags that say who sees what the gateway does.
type observeOptions struct {
	accessLog       string
	accessLogFormat string
	adminListen     string
	pprof           bool
}

func (o *observeOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.accessLog, "access-log", "", "`FILE` that gets a line for each request, or - for standard output; when it is renamed a new one is begun")
	flags.StringVar(&o.accessLogFormat, "access-log-format", "common", "common, combined or json")
	flags.StringVar(&o.adminListen, "admin-listen", "", "`ADDRESS` that serves /metrics for Prometheus, /healthz and /readyz: IP:PORT or unix:PATH")
	flags.BoolVar(&o.pprof, "pprof", false, "serve profiles of the process at /debug/pprof/ of --admin-listen")
}

// observers see what the gateway does. All but metrics, which wagi status asks for, are nil unless somebody wants them.
type observers struct {
	metrics *cgi.Metrics // never nil
	access  *accessLog
	traces  *tracer
	admin   *admin
}

// observe makes the observers. The caller closes them.
func (o *observeOptions) observe(ctx context.Context) (seen *observers, err error) {
	if o.pprof && o.adminListen == "" {
		return nil, usageError{errors.New("--pprof needs --admin-listen")}
	}
	seen = &observers{metrics: cgi.NewMetrics()}
	defer func() {
		if err != nil {
			seen.close()
		}
	}()
	if o.accessLog != "" {
		if seen.access, err = openAccessLog(o.accessLog, o.accessLogFormat); err != nil {
			return seen, err
		}
	}
	var noTraces error
	if seen.traces, noTraces = openTracer(ctx); noTraces != nil {
		log.G(ctx).WithError(noTraces).Warn("no traces") // which may be asked for where nobody thought of wagi
	}
	if o.adminListen != "" {
		seen.admin, err = openAdmin(o.adminListen, o.pprof, seen.metrics, seen.droppedLines())
	}
	return seen, err
}

func (o *observers) droppedLines() prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "wagi", Name: "access_log_lines_dropped_total", Help: "Lines of the access log that were not written.",
	}, func() float64 {
		if o.access == nil {
			return 0
		}
		return float64(o.access.dropped.Load())
	})
}

// configure makes a gateway of cfg tell the observers.
func (o *observers) configure(cfg *cgi.Config) {
	cfg.Metrics = o.metrics
	switch {
	case o.access != nil && o.traces != nil:
		cfg.Done = func(r *cgi.Record) {
			o.access.add(r)
			o.traces.add(r)
		}
	case o.access != nil:
		cfg.Done = o.access.add
	case o.traces != nil:
		cfg.Done = o.traces.add
	}
}

// handler is the gateway as the observers want to see it.
func (o *observers) handler(gateway http.Handler, healthPaths ...string) http.Handler {
	if o.traces == nil {
		return gateway
	}
	return o.traces.handler(gateway, healthPaths...)
}

// ready says that the gateway serves, or no longer wants to.
func (o *observers) ready(ready bool) {
	if o.admin != nil {
		o.admin.ready.Store(ready)
	}
}

func (o *observers) close() {
	if o.access != nil {
		o.access.close()
	}
	if o.traces != nil {
		o.traces.close()
	}
	if o.admin != nil {
		o.admin.close()
	}
}
