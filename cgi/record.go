package cgi

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// statusClientGone is how the status of a response is counted that no client waited for: nobody got it.
const statusClientGone = 499

// Record tells of a request that was answered.
type Record struct {
	Request  *http.Request // as the client sent it
	ID       string        // that of the log and of X-Request-Id
	Route    string        // as configured; empty: none matched
	Module   string        // as configured; empty: none
	Status   int           // of the response; 499: the client went away before it began
	Bytes    int64         // of the response's body
	Begun    time.Time
	Duration time.Duration // to the end of the response
	Guest    time.Duration // in guests
	Err      error         // why the request failed; nil: it did not
}

// done counts the request and tells of it, unless it was a health check.
func (x *exchange) done(err error) {
	metrics := x.metrics()
	if x.status == 0 || metrics == nil && x.g.config.Done == nil {
		return
	}
	if end := context.Cause(x.r.Context()); errors.Is(err, errEnded) && !x.sent && (end == nil || end == context.Canceled) {
		x.status = statusClientGone // net/http has ended the request or, by hungUp, the gateway
	}
	duration := time.Since(x.begun)
	if metrics != nil {
		metrics.answered(x.status, duration, err)
	}
	if x.g.config.Done != nil {
		x.g.config.Done(x.record(duration, err))
	}
}

// metrics are those of the route that answers; nil: none.
func (x *exchange) metrics() *routeMetrics {
	switch {
	case x.route != nil:
		return x.route.metrics
	case x.g.config.Metrics != nil:
		return x.g.config.Metrics.unmatched
	}
	return nil
}

func (x *exchange) record(duration time.Duration, err error) *Record {
	r := &Record{
		Request: x.r, ID: x.id, Status: x.status, Bytes: x.bytes,
		Begun: x.begun, Duration: duration, Guest: x.guest, Err: err,
	}
	if x.route != nil {
		r.Route, r.Module = x.route.text, x.route.module.name()
	}
	if x.method == http.MethodHead {
		r.Bytes = 0
	}
	return r
}
