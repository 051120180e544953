package command

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin is the listener for those who run the gateway: metrics, health and, if asked for, profiles.
// It answers from before the first module is compiled until the last request has ended.
type admin struct {
	http  *http.Server
	ready atomic.Bool
}

// openAdmin listens and serves. The caller closes it.
func openAdmin(where string, profiles bool, metrics ...prometheus.Collector) (*admin, error) {
	address, err := parseAddress(where)
	if err == nil && address.systemd {
		err = errors.New("the sockets of systemd are for --listen")
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("--admin-listen %q: %w", where, err)}
	}
	listeners, err := address.listen(0o600)
	if err != nil {
		return nil, listenError(address, err)
	}
	a := &admin{}
	a.http = &http.Server{Handler: a.handler(profiles, metrics), ReadHeaderTimeout: 10 * time.Second}
	go a.serve(listeners[0])
	log.L.WithField("url", listener{listeners[0], address}.url("http")).Info("admin listener is ready")
	return a, nil
}

func (a *admin) serve(l net.Listener) {
	if err := a.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.L.WithError(err).Error("admin listener failed")
	}
}

func (a *admin) handler(profiles bool, metrics []prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(metrics...)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "OK") // the client may be gone
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if a.ready.Load() {
			_, _ = io.WriteString(w, "OK")
		} else {
			http.Error(w, "starting or draining", http.StatusServiceUnavailable)
		}
	})
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// close ends the listener and its connections.
func (a *admin) close() {
	_ = a.http.Close() // the process ends
}
