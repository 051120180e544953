package cgi

import (
	"io"
	"net/http"
)

// serveAdmin answers the gateway's own paths and says whether path is one.
func (g *Gateway) serveAdmin(w http.ResponseWriter, path string) bool {
	switch {
	case path == g.config.HealthPath:
		writeHealth(w, http.StatusOK, "OK")
	case path == g.config.ReadyPath && g.draining.Load():
		writeHealth(w, http.StatusServiceUnavailable, "draining")
	case path == g.config.ReadyPath:
		writeHealth(w, http.StatusOK, "OK")
	default:
		return false
	}
	return true
}

func writeHealth(w http.ResponseWriter, status int, text string) {
	w.Header()["Content-Type"] = nil // as WAGI does: none, and none guessed
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client may be gone
}
