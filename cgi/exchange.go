package cgi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi/guest"
)

// maxRedirects is how many local redirects a request may go through.
const maxRedirects = 8

// exchange is one HTTP request on its way through the scripts: one, or with local redirects several.
type exchange struct {
	g     *Gateway
	w     http.ResponseWriter
	r     *http.Request
	id    string // tells it from others in the log
	begun time.Time

	server    server
	target    target
	method    string
	body      *body
	redirects int
	route     *route        // the script that serves; nil: none yet
	pathInfo  string        // raw
	incoming  *incoming     // the body as it comes, where the connection may carry what is left of it; nil: it cannot
	sent      bool          // the response has begun
	status    int           // of the response; 0: none yet, or none to speak of
	bytes     int64         // of the response's body
	guest     time.Duration // in guests
	work      guest.Work    // for the script that serves
	slots     *slots        // it has one of these; nil: it has none, or needs none
	script    *script       // that serves, or the next one to do so

	log func() *log.Entry // logger, for all requests that x serves
}

// exchanges are used again: making one costs more than its memory, as a request finds nothing of a new one in the processor's caches.
var exchanges = sync.Pool{New: func() any {
	x := &exchange{script: newScript()}
	x.log = x.logger
	return x
}}

func newExchange(g *Gateway, w http.ResponseWriter, r *http.Request) *exchange {
	uri := r.RequestURI
	if uri == "" { // a request that no server has read
		uri = r.URL.RequestURI()
	}
	x := exchanges.Get().(*exchange)
	x.g, x.w, x.r = g, w, r
	x.id = requestID(r)
	x.begun = time.Now()
	x.server = newServer(r, g.config.Hostname)
	x.target = parseTarget(uri)
	x.method = r.Method
	x.incoming = newIncoming(w, r)
	return x
}

// free keeps the exchange for another request, unless somebody may still know its script.
func (x *exchange) free() {
	if s := x.script; s.quiet() {
		s.env.Reset()
		*s = script{goOn: s.goOn, env: s.env}
		*x = exchange{script: s, log: x.log}
		exchanges.Put(x)
	}
}

// script is one run of a script.
type script struct {
	life        lifetime
	out         response
	diagnostics stderr
	env         guest.Environment
	call        guest.Call
	goOn        func() // of out, for all requests that s serves
}

func newScript() *script {
	s := &script{}
	s.goOn = s.out.goOn
	return s
}

// quiet says whether nobody but the guest has come to know of the script. Who waits for its end, or for the client on its behalf,
// may still do so when it has ended.
func (s *script) quiet() bool {
	return s.life.awaited.Load() == nil && s.out.timer == nil && s.out.unguard == nil
}

// logger has the facts that every entry about the request has.
func (x *exchange) logger() *log.Entry {
	fields := log.Fields{"request": x.id}
	if x.route != nil {
		fields["route"] = x.route.text
		fields["module"] = x.route.module.name()
	}
	return log.G(x.r.Context()).WithFields(fields)
}

// answer sends a response, whatever comes of the scripts.
func (x *exchange) answer() error {
	defer x.endScript()
	err := x.serve()
	if err != nil && !x.sent {
		x.fail(statusOf(err))
	}
	if x.work.Remains() && (err == nil || !x.sent) {
		x.depart()
	}
	x.done(err)
	return err
}

// serve sends the response, or returns why there is none.
func (x *exchange) serve() error {
	switch {
	case !ValidHost(x.r.Host):
		return errHost
	case x.method == http.MethodConnect: // RFC 9110 §9.3.6: it is for proxies, and a success would open a tunnel
		return errConnect
	}
	for ; x.redirects <= maxRedirects; x.redirects++ {
		if x.serveAdmin() {
			return nil
		}
		x.w.Header()[requestIDField] = []string{x.id} // a script that sets it wins
		if x.route, x.pathInfo = x.g.table.Load().match(x.target.path); x.route == nil {
			return x.serveUnrouted()
		}
		redirect, err := "", x.awaitRoute()
		if err == nil {
			redirect, err = x.run()
		}
		if err != nil {
			x.report(err)
			return err
		}
		if redirect == "" {
			return nil
		}
		x.redirect(redirect)
	}
	x.report(errRedirectDepth)
	return errRedirectDepth
}

// serveUnrouted answers what is for no script: OPTIONS * is for the server, RFC 9110 §9.3.7. The methods are those that the gateway
// gives to scripts, which may know more or less.
func (x *exchange) serveUnrouted() error {
	if x.method != http.MethodOptions || x.target.path != "*" {
		return errNoRoute
	}
	x.announceLast()
	x.w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	x.status = http.StatusNoContent
	x.w.WriteHeader(x.status)
	return nil
}

// awaitRoute waits until the route's module is ready. Then the module's own routes are known, and another may match.
func (x *exchange) awaitRoute() error {
	for !x.route.module.ready.Load() {
		if err := x.route.module.await(x.r.Context(), x.begun); err != nil {
			return err
		}
		if x.route, x.pathInfo = x.g.table.Load().match(x.target.path); x.route == nil {
			return errNoRoute
		}
	}
	return nil
}

// redirect makes x the request that a local redirect asks for, RFC 3875 §6.2.2: without a body, and so GET or HEAD.
func (x *exchange) redirect(location string) {
	x.endScript()
	x.target = parseTarget(location)
	if x.method != http.MethodHead {
		x.method = http.MethodGet
	}
}

// report logs a failure. That a client went away is none of the script's.
func (x *exchange) report(err error) {
	entry := x.logger().WithError(err).WithFields(log.Fields{
		"status": statusOf(err), "bytes": x.bytes, "duration": time.Since(x.begun), "guest": x.guest,
	})
	if errors.Is(err, errEnded) || errors.Is(err, errBodyBroken) {
		entry.Debug("request ended early")
	} else {
		entry.Warn("request failed")
	}
	var trap *guest.TrapError
	if errors.As(err, &trap) {
		entry.WithField("trace", trap.Trace).Debug("guest trapped")
	}
}

// run runs one script. It returns the local redirect that the script asks for, if any.
func (x *exchange) run() (redirect string, err error) {
	s := x.begin()
	defer s.life.close()
	defer s.out.release()

	if err := x.openBody(&s.life, &s.out); err != nil {
		return "", err
	}
	defer x.body.Close()
	m := x.route.module
	if err := m.slots.acquire(&s.life, x.route.metrics); err != nil {
		return "", x.cause(&s.life, err)
	}
	x.slots = m.slots
	m.code.Begin(&s.life, &x.work)
	return x.call(s)
}

// endScript ends the work for the script, and gives its slot back.
func (x *exchange) endScript() {
	x.work.End()
	x.slots.release()
	x.slots = nil
}

// depart sends the answer at once. A client that does not receive must not hold up for long what comes after it.
func (x *exchange) depart() {
	client := http.NewResponseController(x.w)
	_ = client.SetWriteDeadline(time.Now().Add(departTime)) // what fails here ends the connection, or is a writer of a test
	_ = client.Flush()
	_ = client.SetWriteDeadline(time.Time{})
}

// begin makes the script ready for the route.
func (x *exchange) begin() *script {
	if x.redirects > 0 {
		x.script = newScript()
	}
	s, m := x.script, x.route.module
	life := &s.life
	life.request, life.begun, life.timeout, life.watches, life.body = x.r.Context(), x.begun, m.Timeout, x.r.ProtoMajor == 1, x.incoming
	out := &s.out
	out.w, out.life, out.work, out.limit, out.incoming = x.w, life, &x.work, m.MaxOutput, x.incoming
	out.reads, out.bare = x.r.ContentLength != 0, x.r.Method == http.MethodHead
	s.diagnostics.logger, s.diagnostics.name, s.diagnostics.left = x.log, x.route.stderrFile, maxStderr
	return s
}

// cause is why life ended or, while it has not, err.
func (x *exchange) cause(life *lifetime, err error) error {
	if life.err() == nil {
		return err
	}
	// Ours, perhaps: net/http ends a request as well when a read from its client fails.
	if cause, ok := errors.AsType[*failure](context.Cause(life)); ok {
		return cause
	}
	if errors.Is(err, errBodyBroken) || x.body != nil && x.body.live != nil && x.body.live.broken.Load() {
		return errBodyBroken
	}
	return errEnded
}

var noBody = &body{}

// openBody prepares the body for the first script; those of local redirects have none.
func (x *exchange) openBody(life *lifetime, out *response) (err error) {
	if x.redirects > 0 || x.r.ContentLength == 0 {
		x.body = noBody
		return nil
	}
	out.guard()
	src := io.Reader(x.r.Body)
	if x.incoming != nil {
		src = x.incoming
	}
	client := newClientBody(life, life.cancel, src, x.g.config.BodyTimeout)
	x.body, err = openBody(client, x.r.ContentLength, x.route.module.MaxBody, x.g.config.TempDir)
	if err != nil || x.body.live == nil {
		client.stop()
	}
	switch {
	case err != nil && context.Cause(life) == errTimeout:
		return errBodySlow
	case err != nil:
		return x.cause(life, err)
	}
	return nil
}

// fail sends a response that no script has given. It says that it has no body: a client that still sends one need not wait
// for the end of linger.
func (x *exchange) fail(status int) {
	x.w.Header().Set("Content-Length", "0")
	if status == http.StatusServiceUnavailable {
		x.w.Header().Set("Retry-After", "1")
	}
	x.announceLast()
	x.status = status
	x.w.WriteHeader(status)
}

// call runs the guest.
func (x *exchange) call(s *script) (redirect string, err error) {
	if err := x.environment(&s.env); err != nil {
		return "", err
	}
	args := x.route.module.arguments(x.target)
	if x.g.config.Start != nil {
		x.g.config.Start(args, slices.Collect(s.env.From(0)))
	}
	defer s.diagnostics.close()
	call := &s.call
	call.Entrypoint, call.Args, call.Env, call.Work = x.route.entrypoint, args, &s.env, &x.work
	call.Stdin, call.Stdout, call.Stderr, call.GoOn = x.body.Reader, &s.out, &s.diagnostics, s.goOn
	err = x.timed(&s.life, call)
	if err = x.cause(&s.life, err); err != nil {
		s.out.abandon()
	} else if redirect, err = s.out.end(); err != nil {
		err = x.cause(&s.life, err)
	}
	x.sent = s.out.sent()
	x.status, x.bytes = s.out.result()
	return redirect, err
}

// timed runs the guest and counts it and its time.
func (x *exchange) timed(ctx context.Context, call *guest.Call) error {
	metrics := x.route.metrics
	if metrics != nil {
		metrics.running.Inc()
		defer metrics.running.Dec()
	}
	err := x.route.module.code.Run(ctx, call)
	x.guest += call.Took
	if metrics != nil {
		metrics.guests.Add(call.Took.Seconds())
		metrics.memory.Observe(float64(call.Memory))
	}
	return err
}
