package cgi

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"containerd-shim-wagi-v1/cgi/guest"
)

// unmatched is the label of requests that no route matches; it begins with no slash, so no route that matches has it.
const unmatched = "unmatched"

// durations are the bounds of the histogram, in seconds: from small guests to the default timeout.
var durations = []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10, 30}

// memories are the bounds of the histogram, in bytes: from small guests to all that one can address.
var memories = prometheus.ExponentialBuckets(1<<20, 4, 7)

// Metrics counts what gateways do, by route, for Prometheus: it is a [prometheus.Collector]. Health checks do not count.
// One Metrics serves gateways that follow each other, as at a reload: a route keeps its counts while one of them has it.
type Metrics struct {
	requests *prometheus.CounterVec   // by route and class of status
	failures *prometheus.CounterVec   // by route and reason
	duration *prometheus.HistogramVec // by route
	guests   *prometheus.CounterVec   // by route
	memory   *prometheus.HistogramVec // by route
	running  *prometheus.GaugeVec     // by route
	queued   *prometheus.GaugeVec     // by route

	unmatched *routeMetrics

	mu    sync.Mutex
	users map[string]int // guarded by mu: how many routes of gateways have the text
}

// NewMetrics makes a Metrics. The caller registers it and puts it into the Config of gateways.
func NewMetrics() *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "wagi", Name: name, Help: help}
	}
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total",
			"Requests answered, by class of status; 499 is a client that went away first.")), []string{"route", "status"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_failed_total",
			"Requests that failed: the guest trapped, made an exit with another status than 0, ran into its timeout or answered wrongly (response); "+
				"none was free (busy); the client went away or sent a wrong body (client); other.")), []string{"route", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "wagi", Name: "request_duration_seconds",
			Help: "Time from the head of a request to the end of its response.", Buckets: durations}, []string{"route"}),
		guests: prometheus.NewCounterVec(prometheus.CounterOpts(opts("guest_seconds_total", "Time in guests.")), []string{"route"}),
		memory: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "wagi", Name: "guest_memory_bytes",
			Help: "Linear memory that a guest had in the end.", Buckets: memories}, []string{"route"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("guests_running", "Guests that run.")), []string{"route"}),
		queued:  prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("requests_queued", "Requests that wait for a guest to end.")), []string{"route"}),
		users:   map[string]int{},
	}
	m.unmatched = m.route(unmatched)
	return m
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.failures, m.duration, m.guests, m.memory, m.running, m.queued}
}

// Describe is part of [prometheus.Collector].
func (m *Metrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(descriptions)
	}
}

// Collect is part of [prometheus.Collector].
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(metrics)
	}
}

// routeMetrics are the metrics of a route, looked up once. Those of a gateway without Metrics are nil.
type routeMetrics struct {
	classes  [6]prometheus.Counter // by the first digit of the status; 0: all others
	failures map[string]prometheus.Counter
	duration prometheus.Observer
	guests   prometheus.Counter
	memory   prometheus.Observer
	running  prometheus.Gauge
	queued   prometheus.Gauge
}

// route makes or shares the metrics of a route. The caller releases them.
func (m *Metrics) route(text string) *routeMetrics {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	m.users[text]++
	m.mu.Unlock()
	r := &routeMetrics{
		failures: map[string]prometheus.Counter{},
		duration: m.duration.WithLabelValues(text),
		guests:   m.guests.WithLabelValues(text),
		memory:   m.memory.WithLabelValues(text),
		running:  m.running.WithLabelValues(text),
		queued:   m.queued.WithLabelValues(text),
	}
	for class, label := range []string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		r.classes[class] = m.requests.WithLabelValues(text, label)
	}
	for _, reason := range []string{"trap", "exit", "timeout", "response", "busy", "client", "other"} {
		r.failures[reason] = m.failures.WithLabelValues(text, reason)
	}
	return r
}

// release drops the metrics of a route that no gateway has any more.
func (m *Metrics) release(text string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users[text]--; m.users[text] > 0 {
		return
	}
	delete(m.users, text)
	gone := prometheus.Labels{"route": text}
	for _, vec := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.requests, m.failures, m.duration, m.guests, m.memory, m.running, m.queued} {
		vec.DeletePartialMatch(gone)
	}
}

// answered counts a request.
func (m *routeMetrics) answered(status int, duration time.Duration, err error) {
	class := status / 100
	if class >= len(m.classes) {
		class = 0
	}
	m.classes[class].Inc()
	m.duration.Observe(duration.Seconds())
	if err != nil && err != errNoRoute {
		m.failures[reasonOf(err)].Inc()
	}
}

// reasonOf is the class of a failure.
func reasonOf(err error) string {
	var trap *guest.TrapError
	var exit *guest.ExitError
	var f *failure
	switch {
	case errors.As(err, &trap):
		return "trap"
	case errors.As(err, &exit):
		return "exit"
	case errors.Is(err, errTimeout):
		return "timeout"
	case errors.Is(err, errBusy):
		return "busy"
	case errors.Is(err, errEnded), errors.As(err, &f) && f.status < 500:
		return "client"
	case f != nil && f != errNoSpace:
		return "response"
	}
	return "other"
}
