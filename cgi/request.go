package cgi

import (
	"encoding/binary"
	"encoding/hex"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"containerd-shim-wagi-v1/cgi/guest"
)

// target is the request-target as the client sent it, nothing decoded or normalised.
type target struct {
	path     string // empty: the target has none, as that of CONNECT
	query    string
	hasQuery bool
}

// parseTarget takes apart an origin-form, absolute-form or asterisk-form target, RFC 9112 §3.2.
func parseTarget(s string) target {
	var t target
	t.path, t.query, t.hasQuery = strings.Cut(s, "?")
	if strings.HasPrefix(t.path, "/") || t.path == "*" {
		return t
	}
	_, rest, ok := strings.Cut(t.path, "://")
	switch slash := strings.IndexByte(rest, '/'); {
	case !ok:
		t.path = ""
	case slash < 0:
		t.path = "/"
	default:
		t.path = rest[slash:]
	}
	return t
}

func (t target) String() string {
	if !t.hasQuery {
		return t.path
	}
	return t.path + "?" + t.query
}

const (
	requestIDField = "X-Request-Id"
	maxRequestID   = 128
)

// requestID is what tells a request from others in logs: the name that the client or a proxy in front has given it, or,
// if there is none or it is not fit for logs, a new one.
func requestID(r *http.Request) string {
	if ids := r.Header[requestIDField]; len(ids) == 1 && validRequestID(ids[0]) {
		return ids[0]
	}
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	var text [16]byte
	hex.Encode(text[:], id[:])
	return string(text[:])
}

func validRequestID(id string) bool {
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("-_.:+/=@", rune(c)) {
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}

// server is the host that a request is for, RFC 3875 §4.1.14 and §4.1.15.
type server struct {
	scheme, name, port string
}

// newServer takes name and port, each on its own, from the Host field, from hostname, and from the listener.
func newServer(r *http.Request, hostname string) server {
	s := server{scheme: "http", port: "80"}
	if r.TLS != nil {
		s = server{scheme: "https", port: "443"}
	}
	if _, port := splitHost(r.Host); port == "" {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
			s.port = strconv.Itoa(local.Port)
		}
	}
	s.name = "localhost"
	for _, host := range [...]string{hostname, r.Host} {
		name, port := splitHost(host)
		if name != "" {
			s.name = name
		}
		if port != "" {
			s.port = port
		}
	}
	return s
}

// splitHost splits NAME:PORT, where NAME may be an IPv6 address in brackets and :PORT may be missing.
func splitHost(host string) (name, port string) {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || strings.HasSuffix(host, "]") {
		return host, ""
	}
	return host[:colon], host[colon+1:]
}

// ValidHost says whether host is NAME or NAME:PORT, RFC 9112 §3.2, where NAME is empty, a name or an address, of IPv6 in brackets.
func ValidHost(host string) bool {
	name, port := splitHost(host)
	if _, err := strconv.ParseUint(port, 10, 16); err != nil && port != "" {
		return false
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && address.Is6() && strings.HasSuffix(name, "]")
	}
	return !strings.ContainsAny(name, ":[]") && httpguts.ValidHostHeader(name)
}

// metaVariables are set by the gateway alone: whatever is configured under these names is dropped.
var metaVariables = []string{
	"AUTH_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE", "GATEWAY_INTERFACE", "PATH_INFO", "PATH_TRANSLATED", "QUERY_STRING",
	"REMOTE_ADDR", "REMOTE_HOST", "REMOTE_USER", "REQUEST_METHOD", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT",
	"SERVER_PROTOCOL", "SERVER_SOFTWARE", "X_FULL_URL", "X_MATCHED_ROUTE", "X_RAW_PATH_INFO",
}

// environment adds what a script finds in its environment: the module's own variables, then those of RFC 3875 §4.1 and of WAGI.
func (x *exchange) environment(env *guest.Environment) error {
	decoded := decodePath(x.pathInfo)
	if strings.Contains(decoded, "\x00") { // RFC 3875 §4.1.5: what PATH_INFO cannot hold may be refused
		return errPathInfo
	}
	remote := remoteHost(x.r.RemoteAddr)
	env.AddAll(&x.route.environment)
	env.Add("PATH_INFO=", decoded)
	env.Add("PATH_TRANSLATED=", decoded)
	env.Add("QUERY_STRING=", x.target.query)
	env.Add("REMOTE_ADDR=", remote)
	env.Add("REMOTE_HOST=", remote)
	env.Add("REQUEST_METHOD=", x.method)
	env.Add("SERVER_NAME=", x.server.name)
	env.Add("SERVER_PORT=", x.server.port)
	env.Add("SERVER_PROTOCOL=", x.r.Proto)
	env.Add("X_FULL_URL=", x.server.scheme, "://", x.server.name, ":", x.server.port, x.target.String())
	env.Add("X_RAW_PATH_INFO=", x.pathInfo)
	env.Add("CONTENT_TYPE=", x.contentType())
	if x.body.length > 0 { // RFC 3875 §4.1.2: absent when there is no body
		env.Add("CONTENT_LENGTH=", strconv.FormatInt(x.body.length, 10))
	}
	x.addHeader(env)
	return nil
}

// contentType is the type of the request's body, RFC 3875 §4.1.3. A local redirect has dropped the body.
func (x *exchange) contentType() string {
	if x.redirects > 0 {
		return ""
	}
	return headerValue("CONTENT_TYPE", x.r.Header["Content-Type"])
}

// addHeader adds the HTTP_ variables, RFC 3875 §4.1.18: those of the request, then the configured ones that it lacks.
func (x *exchange) addHeader(env *guest.Environment) {
	first := env.Len()
	if x.r.Host != "" {
		env.Add("HTTP_HOST=", x.r.Host)
	}
	env.Add("HTTP_X_REQUEST_ID=", x.id)
	fields := make([]string, 0, len(x.r.Header))
	for field := range x.r.Header {
		if !strings.Contains(field, "_") { // its variable would be that of a field with hyphens, which a proxy in front may have set
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	for _, field := range fields {
		name := variableName(field)
		if hidden(name) || name == "X_REQUEST_ID" || x.redirects > 0 && strings.HasPrefix(name, "CONTENT_") {
			continue
		}
		env.Add("HTTP_", name, "=", headerValue(name, x.r.Header[field]))
	}
	for _, e := range x.route.module.headerEnv {
		if !has(env.From(first), e) {
			env.Add(e)
		}
	}
}

// has says whether one of the variables has the name of another.
func has(variables iter.Seq[string], other string) bool {
	name := other[:strings.Index(other, "=")+1]
	for v := range variables {
		if strings.HasPrefix(v, name) {
			return true
		}
	}
	return false
}

// variableName is what a field is called behind HTTP_. A field's name is ASCII, RFC 9110 §5.6.2.
func variableName(field string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '-':
			return '_'
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		}
		return c
	}, field)
}

// hidden names the fields that no script sees: credentials, RFC 3875 §9.2, what concerns this connection alone,
// and Proxy, whose variable HTTP_PROXY would make programs send their own requests elsewhere.
func hidden(name string) bool {
	switch name {
	case "AUTHORIZATION", "PROXY_AUTHORIZATION", "CONNECTION", "PROXY":
		return true
	}
	return false
}

// headerValue combines the values of a repeated field, RFC 9110 §5.3. As in WAGI, a value that is not ASCII text is not passed on.
func headerValue(name string, values []string) string {
	separator := ", "
	if name == "COOKIE" {
		separator = "; " // RFC 9113 §8.2.3
	}
	if !slices.ContainsFunc(values, corrupt) {
		return strings.Join(values, separator)
	}
	clean := slices.Clone(values)
	for i := range clean {
		if corrupt(clean[i]) {
			clean[i] = "CORRUPT VALUE"
		}
	}
	return strings.Join(clean, separator)
}

func corrupt(value string) bool {
	for i := range len(value) {
		if c := value[i]; (c < ' ' || c > '~') && c != '\t' {
			return true
		}
	}
	return false
}

// decodePath decodes percent-encoded bytes. What is not properly encoded stays as it is; what is not UTF-8 becomes U+FFFD.
func decodePath(path string) string {
	if decoded, err := url.PathUnescape(path); err == nil {
		return strings.ToValidUTF8(decoded, "\uFFFD")
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if i+2 < len(path) && path[i] == '%' {
			if c, err := strconv.ParseUint(path[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// remoteHost is the client's address without port and zone, RFC 3875 §4.1.8. It must be one of the Internet: a client at a
// Unix socket is on this machine.
func remoteHost(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "127.0.0.1"
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// arguments is a script's command line: the raw path and the pieces of the raw query, or the module's template filled in.
func (m *module) arguments(t target) []string {
	if m.Argv != nil {
		filled := strings.ReplaceAll(*m.Argv, "${SCRIPT_NAME}", t.path)
		filled = strings.ReplaceAll(filled, "${ARGS}", strings.ReplaceAll(t.query, "&", " "))
		return strings.Fields(filled)
	}
	args := make([]string, 1, 2+strings.Count(t.query, "&"))
	args[0] = t.path
	if t.hasQuery {
		args = slices.AppendSeq(args, strings.SplitSeq(t.query, "&"))
	}
	return args
}
