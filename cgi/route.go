package cgi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/guest"
)

// Route is a row of the routing table: what [Gateway.Routes] shows.
type Route struct {
	Route      string `json:"route"`
	Module     string `json:"module"`     // as configured
	Entrypoint string `json:"entrypoint"` // exported function
	Position   string `json:"position"`   // where it is configured
}

// route sends the paths that it matches to a function of a module.
type route struct {
	text       string // as configured, with /...
	script     string // SCRIPT_NAME: text without /..., RFC 3875 §4.1.13
	entrypoint string
	module     *module
	metrics    *routeMetrics // nil: none
	stderrFile string        // keeps what guests print on their standard error; empty: none

	environment guest.Environment // the part that all requests of it have in common
}

const wildcard = "/..."

func newRoute(text, entrypoint string, m *module) *route {
	r := &route{
		text:       text,
		script:     strings.TrimSuffix(text, wildcard),
		entrypoint: entrypoint,
		module:     m,
		stderrFile: stderrFile(m.logDir, text),

		environment: *guest.NewEnvironment(m.env...),
	}
	r.environment.Add("AUTH_TYPE=")
	r.environment.Add("GATEWAY_INTERFACE=CGI/1.1")
	r.environment.Add("REMOTE_USER=")
	r.environment.Add("SCRIPT_NAME=", r.script)
	r.environment.Add("SERVER_SOFTWARE=WAGI/1")
	r.environment.Add("X_MATCHED_ROUTE=", text)
	return r
}

func (r *route) public() Route {
	return Route{Route: r.text, Module: r.module.name(), Entrypoint: r.entrypoint, Position: r.module.Position}
}

// match says whether the route serves a raw path and what of it is PATH_INFO, still encoded.
func (r *route) match(path string) (pathInfo string, ok bool) {
	if r.script == r.text {
		return "", path == r.text
	}
	rest, ok := strings.CutPrefix(path, r.script)
	if !ok || r.script != "" && rest != "" && rest[0] != '/' {
		return "", false
	}
	return rest, true
}

// mayHaveMore says whether the module, which is not ready, may have routes of its own below its configured one.
func (r *route) mayHaveMore() bool {
	return r.module.mayRoute && r == r.module.own && !r.module.ready.Load()
}

// hides says whether every path of other matches r as well.
func (r *route) hides(other *route) bool {
	if r.script == r.text {
		return r.text == other.text
	}
	_, ok := r.match(other.script)
	return ok
}

var errRoutesTimeout = fmt.Errorf("did not return within %v", routesTimeout)

const (
	routesExport    = "_routes"
	routesTimeout   = time.Minute // as a module may take before that
	maxRoutesOutput = 1 << 20
)

// findRoutes asks a module for its routes: those that its export _routes prints, the last one first.
func (m *module) findRoutes(ctx context.Context) ([]*route, error) {
	if !m.code.Exports(routesExport) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, routesTimeout, errRoutesTimeout)
	defer cancel()
	var out bytes.Buffer
	diagnostics := newStderr(func() *log.Entry {
		return log.G(ctx).WithFields(log.Fields{"route": m.Route, "module": m.name()})
	}, m.own.stderrFile)
	defer diagnostics.close()
	err := m.code.Run(ctx, &guest.Call{
		Entrypoint: routesExport,
		Stdin:      strings.NewReader(""),
		Stdout:     &limitedWriter{w: &out, left: maxRoutesOutput, cancel: cancel},
		Stderr:     diagnostics,
		NoVolumes:  true, // as in WAGI
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", routesExport, err)
	}
	routes, err := parseRoutes(out.String(), m.own)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", routesExport, err)
	}
	return routes, nil
}

// parseRoutes reads the lines PATH FUNCTION of _routes.
func parseRoutes(out string, own *route) ([]*route, error) {
	var routes []*route
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		words := strings.Fields(line)
		if len(words) != 2 {
			return nil, fmt.Errorf("line %.80q is not PATH FUNCTION", line)
		}
		path := strings.TrimRight(own.script, "/") + "/" + strings.TrimLeft(words[0], "/")
		routes = append(routes, newRoute(path, words[1], own.module))
	}
	if routes == nil {
		return nil, errors.New("printed nothing")
	}
	slices.Reverse(routes)
	return routes, nil
}

// limitedWriter passes on so many bytes and then cancels the guest that writes.
type limitedWriter struct {
	w      io.Writer
	left   int
	cancel func()
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		l.cancel()
		return 0, errOutput
	}
	return l.w.Write(p)
}
