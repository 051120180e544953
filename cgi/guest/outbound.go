package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/log"
	"github.com/tetratelabs/wazero/api"
	"golang.org/x/net/http/httpguts"
)

// experimentalHTTP is the module whose functions let a guest send HTTP requests, in version 0.10.
const experimentalHTTP = "wasi_experimental_http"

const (
	maxRequestHead = 64 << 10 // bytes of a URL, and of the header fields that a guest sends
	maxFailures    = 10       // failed requests of one guest that are logged
	serverSoftware = "WAGI/1"
)

// httpError is an error of wasi_experimental_http: its number is what the guest gets.
type httpError uint32

const (
	httpInvalidHandle httpError = iota + 1
	httpMemoryNotFound
	httpMemoryAccess
	httpBufferTooSmall
	httpHeaderNotFound
	httpUTF8
	httpDestinationNotAllowed
	httpInvalidMethod
	httpInvalidEncoding
	httpInvalidURL
	httpRequestFailed
	httpRuntime
	httpTooManySessions
)

func (e httpError) Error() string {
	return [...]string{
		"success", "invalid handle", "memory not found", "memory access error", "buffer too small", "header not found", "not UTF-8",
		"destination not allowed", "invalid method", "invalid encoding", "invalid URL", "request failed", "runtime error", "too many sessions",
	}[e]
}

// httpFunction is a function of wasi_experimental_http. It is an api.GoModuleFunction.
type httpFunction func(*guest, params) error

var httpFunctions = map[string]struct {
	params string
	call   httpFunction
}{
	"body_read":       {"iiii", (*guest).httpBodyRead},
	"close":           {"i", (*guest).httpClose},
	"header_get":      {"iiiiii", (*guest).httpHeaderGet},
	"headers_get_all": {"iiii", (*guest).httpHeadersGetAll},
	"req":             {"iiiiiiiiii", (*guest).httpReq},
}

// Call runs the function for the guest that ctx carries. A guest whose context ended during the call goes no further.
func (f httpFunction) Call(ctx context.Context, instance api.Module, stack []uint64) {
	g := guestOf(ctx)
	err := error(httpMemoryNotFound)
	if g.memory = instance.ExportedMemory("memory"); g.memory != nil {
		g.beginCall()
		g.meter.pause()
		err = f(g, stack)
		g.meter.resume()
	}
	g.endCall()
	stack[0] = uint64(httpErrorOf(err))
}

func httpErrorOf(err error) httpError {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[httpError](err); ok {
		return e
	}
	return httpRequestFailed
}

// httpSession is what a guest has to do with HTTP.
type httpSession struct {
	*outbound              // nil: no host is allowed
	responses []*response  // by handle; nil: free
	sending   atomic.Int64 // bytes of request bodies on their way
	failures  int
}

func (s *httpSession) close() {
	for _, r := range s.responses {
		if r != nil {
			r.close()
		}
	}
}

// httpReq sends a request, waits for the head of its response and gives a handle to that.
func (g *guest) httpReq(p params) error {
	if g.http.outbound == nil {
		return httpDestinationNotAllowed
	}
	handle, err := g.freeHandle()
	if err != nil {
		return err
	}
	req, err := g.httpRequest(p)
	if err != nil {
		return err
	}
	body, ok := g.memory.Read(p.u32(6), p.u32(7))
	if !ok {
		return httpBufferTooSmall
	}
	status, result := p.u32(8), p.u32(9)
	if !g.memory.WriteUint16Le(status, 0) || !g.memory.WriteUint32Le(result, 0) {
		return httpMemoryAccess
	}
	if err := g.setBody(req, body); err != nil {
		return err
	}
	r, err := g.http.send(req)
	if err != nil {
		return g.httpFailed(req.URL, err)
	}
	g.http.responses[handle] = r
	g.memory.WriteUint16Le(status, uint16(r.StatusCode))
	g.memory.WriteUint32Le(result, uint32(handle))
	return nil
}

// freeHandle is the lowest handle that no response has.
func (g *guest) freeHandle() (int, error) {
	s := &g.http
	handle := slices.Index(s.responses, nil)
	if handle < 0 {
		handle = len(s.responses)
	}
	if handle >= s.maxSessions || s.open.Load() >= maxOpen {
		return 0, httpTooManySessions
	}
	if handle == len(s.responses) {
		s.responses = append(s.responses, nil)
	}
	return handle, nil
}

// httpRequest is the request, but for its body, that the guest describes by URL, method and header fields, each an address and a length.
func (g *guest) httpRequest(p params) (*http.Request, error) {
	text, err := g.httpString(p.u32(0), p.u32(1), maxRequestHead, httpInvalidURL)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil || hostOf(u) == "" {
		return nil, httpInvalidURL
	}
	if !g.http.hosts.allow(u) {
		return nil, g.httpFailed(u, httpDestinationNotAllowed)
	}
	method, err := g.httpString(p.u32(2), p.u32(3), maxRequestHead, httpInvalidMethod)
	if err != nil {
		return nil, err
	}
	if !httpguts.ValidHeaderFieldName(method) || method == http.MethodConnect { // a tunnel could lead anywhere
		return nil, httpInvalidMethod
	}
	fields, err := g.httpString(p.u32(4), p.u32(5), maxRequestHead, httpInvalidEncoding)
	if err != nil {
		return nil, err
	}
	header, err := parseHTTPHeader(fields)
	if err != nil {
		return nil, err
	}
	return (&http.Request{Method: method, URL: u, Header: header}).WithContext(g.ctx), nil
}

// setBody gives the request a copy of the body: the connection may read it after the guest goes on.
func (g *guest) setBody(req *http.Request, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	sending := &g.http.sending
	if sending.Load()+int64(len(body)) > g.http.maxSending {
		return httpTooManySessions
	}
	body = bytes.Clone(body)
	req.ContentLength = int64(len(body))
	req.Body = newUpload(body, sending)
	req.GetBody = func() (io.ReadCloser, error) { return newUpload(body, sending), nil }
	return nil
}

// notForwarded are the fields that are the connection's, RFC 9110 §7.6.1, or follow from the URL and body.
var notForwarded = []string{
	"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// parseHTTPHeader reads lines of the form name:value.
func parseHTTPHeader(lines string) (http.Header, error) {
	header := http.Header{}
	for line := range strings.Lines(lines) {
		name, value, ok := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), ":")
		outside := func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }
		if !ok || !httpguts.ValidHeaderFieldName(name) || strings.ContainsFunc(value, outside) {
			return nil, httpInvalidEncoding
		}
		header.Add(name, value)
	}
	for _, named := range header.Values("Connection") {
		for name := range strings.SplitSeq(named, ",") {
			header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range notForwarded {
		header.Del(name)
	}
	if _, ok := header["User-Agent"]; !ok {
		header.Set("User-Agent", serverSoftware)
	}
	return header, nil
}

// httpFailed logs why a request failed, of which the guest gets only a number, and returns it.
func (g *guest) httpFailed(u *url.URL, err error) error {
	if g.http.failures++; g.http.failures > maxFailures || g.ctx.Err() != nil {
		return err
	}
	log.G(g.ctx).WithError(explain(err)).WithField("module", g.http.module).WithField("host", u.Host).Warn("outbound request failed")
	return err
}

// httpBodyRead reads some bytes of a body: 0 at its end.
func (g *guest) httpBodyRead(p params) error {
	r, err := g.response(p.u32(0))
	if err != nil {
		return err
	}
	buf, ok := g.memory.Read(p.u32(1), p.u32(2))
	if !ok || !g.memory.WriteUint32Le(p.u32(3), 0) {
		return httpMemoryAccess
	}
	n, err := r.Read(buf)
	if n == 0 && err != nil && err != io.EOF {
		return g.httpFailed(r.Request.URL, err)
	}
	g.memory.WriteUint32Le(p.u32(3), uint32(n))
	return nil
}

// httpHeaderGet gives the first value of a field.
func (g *guest) httpHeaderGet(p params) error {
	r, err := g.response(p.u32(0))
	if err != nil {
		return err
	}
	name, err := g.httpString(p.u32(1), p.u32(2), maxRequestHead, httpHeaderNotFound)
	if err != nil {
		return err
	}
	values := r.Header.Values(name)
	if len(values) == 0 {
		return httpHeaderNotFound
	}
	return g.putHTTPString(values[0], p[3:])
}

// httpHeadersGetAll gives all fields as lines of the form name:value, the names in lower case.
func (g *guest) httpHeadersGetAll(p params) error {
	r, err := g.response(p.u32(0))
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
				return httpRuntime
			}
			lines.WriteString(strings.ToLower(name) + ":" + value + "\n")
		}
	}
	return g.putHTTPString(lines.String(), p[1:])
}

// httpClose closes a response. As in WAGI, one that is not open is no error.
func (g *guest) httpClose(p params) error {
	if r, err := g.response(p.u32(0)); err == nil {
		r.close()
		g.http.responses[p.u32(0)] = nil
	}
	return nil
}

func (g *guest) response(handle uint32) (*response, error) {
	if uint64(handle) >= uint64(len(g.http.responses)) || g.http.responses[handle] == nil {
		return nil, httpInvalidHandle
	}
	return g.http.responses[handle], nil
}

// httpString copies text of at most most bytes out of the memory. Longer text is the error tooLong.
func (g *guest) httpString(addr, size, most uint32, tooLong httpError) (string, error) {
	b, ok := g.memory.Read(addr, size)
	switch {
	case !ok:
		return "", httpBufferTooSmall
	case size > most:
		return "", tooLong
	case !utf8.Valid(b):
		return "", httpUTF8
	}
	return string(b), nil
}

// putHTTPString writes s to a buffer, given by address and length, and its length to a third address.
func (g *guest) putHTTPString(s string, p params) error {
	switch {
	case uint64(len(s)) > uint64(p.u32(1)):
		return httpBufferTooSmall
	case !g.memory.WriteString(p.u32(0), s) || !g.memory.WriteUint32Le(p.u32(2), uint32(len(s))):
		return httpMemoryAccess
	}
	return nil
}
