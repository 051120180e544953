package cgi

import (
	"io"
	"net/http"
)

// serveAdmin answers the gateway's own paths and says whether the request is for one.
func (x *exchange) serveAdmin() bool {
	switch path := x.target.path; {
	case path == x.g.config.HealthPath:
		x.writeHealth(http.StatusOK, "OK")
	case path == x.g.config.ReadyPath && x.g.draining.Load():
		x.writeHealth(http.StatusServiceUnavailable, "draining")
	case path == x.g.config.ReadyPath && !x.g.ready.Load():
		x.writeHealth(http.StatusServiceUnavailable, "starting")
	case path == x.g.config.ReadyPath:
		x.writeHealth(http.StatusOK, "OK")
	default:
		return false
	}
	return true
}

func (x *exchange) writeHealth(status int, text string) {
	x.announceLast()
	x.w.Header()["Content-Type"] = nil // as WAGI does: none, and none guessed
	x.w.WriteHeader(status)
	_, _ = io.WriteString(x.w, text) // the client may be gone
}
