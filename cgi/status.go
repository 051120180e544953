package cgi

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Status is what a gateway does now and what it has done.
type Status struct {
	Draining  bool          `json:"draining"`
	Loading   bool          `json:"loading"`   // some modules are not ready
	Routes    []RouteStatus `json:"routes"`    // in the order in which they are tried
	Unmatched int64         `json:"unmatched"` // requests that no route matched
}

// RouteStatus is a route with its part in what [Metrics] count; without them it is 0. Routes of the same text share one.
type RouteStatus struct {
	Route
	Ready    bool  `json:"ready"`    // the module is compiled
	Running  int64 `json:"running"`  // guests
	Queued   int64 `json:"queued"`   // requests that wait for a guest to end
	Requests int64 `json:"requests"` // answered, the failed ones included
	Failed   int64 `json:"failed"`
}

// Status tells of the current gateway. It is empty once the Reloader is closed.
func (r *Reloader) Status() Status {
	g := r.acquire()
	if g == nil {
		return Status{Draining: true}
	}
	defer g.release()
	s := Status{Draining: g.draining.Load(), Loading: !g.ready.Load(), Routes: []RouteStatus{}}
	for _, r := range g.table.Load().routes {
		route := r.metrics.status()
		route.Route, route.Ready = r.public(), r.module.ready.Load()
		s.Routes = append(s.Routes, route)
	}
	if g.config.Metrics != nil {
		s.Unmatched = g.config.Metrics.unmatched.status().Requests
	}
	return s
}

func (m *routeMetrics) status() RouteStatus {
	if m == nil {
		return RouteStatus{}
	}
	s := RouteStatus{Running: read(m.running), Queued: read(m.queued)}
	for _, class := range m.classes {
		s.Requests += read(class)
	}
	for _, reason := range m.failures {
		s.Failed += read(reason)
	}
	return s
}

// read is the value of a counter or a gauge.
func read(metric prometheus.Metric) int64 {
	var value dto.Metric
	if metric.Write(&value) != nil { // never, but for metrics that are made to fail
		return 0
	}
	return int64(value.GetCounter().GetValue() + value.GetGauge().GetValue())
}
