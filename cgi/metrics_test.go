package cgi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrape gives the metrics as Prometheus reads them, a line each.
func scrape(t *testing.T, metrics *Metrics) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(metrics); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return strings.Split(w.Body.String(), "\n")
}

func checkMetrics(t *testing.T, metrics *Metrics, want ...string) {
	t.Helper()
	got := scrape(t, metrics)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("want %s, got\n%s", line, strings.Join(got, "\n"))
		}
	}
}

func TestMetrics(t *testing.T) {
	metrics := NewMetrics()
	server := startServer(t, Config{
		Modules: []Module{
			{Route: "/", Module: "testdata/behave.wat", Limits: Limits{Timeout: -1, MaxConcurrency: 1, Queue: 1, MaxBody: 4}},
			{Route: "/spin", Module: "testdata/behave.wat", Limits: Limits{Timeout: 50 * time.Millisecond}},
			{Route: "/none", Module: "testdata/behave.wat", Entrypoint: "main"},
		},
		Metrics: metrics,
	})
	ctx, cancel := context.WithCancel(deadline(t))
	first, err := send(ctx, server.URL+"/?first", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	checkMetrics(t, metrics, `wagi_guests_running{route="/"} 1`)
	second := make(chan struct{})
	go func() {
		defer close(second)
		if response, err := http.Get(server.URL); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%v, %v", response, err)
		}
	}()
	waitFor(t, metrics, `wagi_requests_queued{route="/"} 1`)
	if got := status(t, server.URL); got != http.StatusServiceUnavailable {
		t.Errorf("status %d", got)
	}
	cancel() // which ends the first
	<-second
	for path, want := range map[string]int{"/spin?spin": 504, "/other": 404, "/none": 500, "/?trap": 200, "/healthz": 200} {
		response, err := http.Get(server.URL + path)
		if err != nil || response.StatusCode != want {
			t.Fatalf("%s: %v, %v", path, response, err)
		}
		_, _ = io.Copy(io.Discard, response.Body) // that of ?trap breaks off
		response.Body.Close()
	}
	response, err := send(deadline(t), server.URL, strings.NewReader("12345"), 5)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	checkMetrics(t, metrics,
		`wagi_requests_failed_total{reason="timeout",route="/spin"} 1`,
		`wagi_requests_failed_total{reason="busy",route="/"} 1`,
		`wagi_requests_failed_total{reason="trap",route="/"} 1`,
		`wagi_requests_failed_total{reason="client",route="/"} 2`,
		`wagi_requests_failed_total{reason="other",route="/none"} 1`,
		`wagi_requests_total{route="/none",status="5xx"} 1`,
		`wagi_requests_total{route="/",status="4xx"} 1`,
		`wagi_requests_total{route="unmatched",status="4xx"} 1`,
		`wagi_request_duration_seconds_count{route="/"} 5`,
		`wagi_guests_running{route="/"} 0`,
		`wagi_guest_memory_bytes_count{route="/spin"} 1`,
		`wagi_requests_queued{route="/"} 0`,
	)
}

func waitFor(t *testing.T, metrics *Metrics, line string) {
	t.Helper()
	for ctx := deadline(t); !slices.Contains(scrape(t, metrics), line); {
		if ctx.Err() != nil {
			t.Fatalf("no %s", line)
		}
	}
}

// A guest counts with the memory that it had in the end.
func TestMetricsOfMemory(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "grow.wat"), `(module (memory 1) (func (export "_start") (drop (memory.grow (i32.const 31)))))`)
	metrics := NewMetrics()
	gateway, err := New(t.Context(), Config{Modules: []Module{{Route: "/", Module: filepath.Join(dir, "grow.wat")}}, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	for range 3 { // the later ones in an instance that was put back
		gateway.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	checkMetrics(t, metrics,
		`wagi_guest_memory_bytes_sum{route="/"} 6.291456e+06`,
		`wagi_guest_memory_bytes_bucket{route="/",le="1.048576e+06"} 0`,
		`wagi_guest_memory_bytes_bucket{route="/",le="4.194304e+06"} 3`,
	)
}

// The series of a route live as long as a gateway has the route.
func TestMetricsFollowRoutes(t *testing.T) {
	metrics := NewMetrics()
	var gateways []*Gateway
	for range 2 {
		gateway, err := New(context.Background(), Config{Modules: []Module{{Route: "/", Module: "testdata/behave.wat"}}, Metrics: metrics})
		if err != nil {
			t.Fatal(err)
		}
		gateways = append(gateways, gateway)
		gateway.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	closeGateway := func(g *Gateway) {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	closeGateway(gateways[0])
	checkMetrics(t, metrics, `wagi_requests_total{route="/",status="2xx"} 2`)
	closeGateway(gateways[1])
	if got := strings.Join(scrape(t, metrics), "\n"); strings.Contains(got, `route="/"`) {
		t.Errorf("metrics of a route that is gone:\n%s", got)
	}
}

func TestRecords(t *testing.T) {
	records := make(chan Record, 1)
	server := startServer(t, Config{
		Modules: []Module{{Route: "/", Module: "testdata/behave.wat", Limits: Limits{Timeout: -1}}},
		Done:    func(r *Record) { records <- *r },
	})
	tests := []struct {
		method, path string
		status       int
		bytes        int64
		route        string
		failed       bool
	}{
		{"GET", "/", 200, 6, "/", false},
		{"HEAD", "/", 200, 0, "/", false},
		{"GET", "/other", 404, 0, "", true},
		{"GET", "/?trap", 200, 6 + 64<<10, "/", true},
	}
	for _, test := range tests {
		r, err := http.NewRequest(test.method, server.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body) // that of ?trap breaks off
		response.Body.Close()
		got := <-records
		if got.Status != test.status || got.Bytes != test.bytes || got.Route != test.route || (got.Err != nil) != test.failed ||
			got.Request.RequestURI != test.path || got.Duration < got.Guest || (got.Guest > 0) != (got.Route != "") {
			t.Errorf("%+v: got %+v", test, got)
		}
	}
}

// A client that goes away is not the gateway's failure.
func TestRecordOfClientGone(t *testing.T) {
	records := make(chan Record, 1)
	server := startServer(t, Config{
		Modules: []Module{{Route: "/", Module: "testdata/behave.wat", Limits: Limits{Timeout: -1}}},
		Done:    func(r *Record) { records <- *r },
	})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if response, err := send(ctx, server.URL+"/?spin", nil, 0); err == nil {
		t.Fatalf("answered: %v", response)
	}
	if got := <-records; got.Status != statusClientGone {
		t.Errorf("status %d, want %d", got.Status, statusClientGone)
	}
}
