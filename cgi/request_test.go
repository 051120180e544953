package cgi

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"containerd-shim-wagi-v1/cgi/guest"
)

func TestParseTarget(t *testing.T) {
	tests := map[string]target{
		"/a/b":            {path: "/a/b"},
		"/a?b?c":          {path: "/a", query: "b?c", hasQuery: true},
		"/a?":             {path: "/a", hasQuery: true},
		"http://h:1/a?b":  {path: "/a", query: "b", hasQuery: true},
		"http://h":        {path: "/"},
		"http://h?a=/b":   {path: "/", query: "a=/b", hasQuery: true},
		"*":               {path: "*"},
		"host:80":         {},
		"/a?http://h/b":   {path: "/a", query: "http://h/b", hasQuery: true},
		"//h/../a//b/./c": {path: "//h/../a//b/./c"},
	}
	for uri, want := range tests {
		if got := parseTarget(uri); got != want {
			t.Errorf("%s: %+v, want %+v", uri, got, want)
		}
	}
}

func TestSplitHost(t *testing.T) {
	tests := map[string][2]string{
		"":            {"", ""},
		"h":           {"h", ""},
		"h:1":         {"h", "1"},
		"[::1]":       {"[::1]", ""},
		"[::1]:80":    {"[::1]", "80"},
		"192.0.2.1:9": {"192.0.2.1", "9"},
	}
	for host, want := range tests {
		if name, port := splitHost(host); name != want[0] || port != want[1] {
			t.Errorf("%q: %q %q, want %q", host, name, port, want)
		}
	}
}

func TestValidHost(t *testing.T) {
	for host, want := range map[string]bool{
		"": true, "h": true, "h:": true, "h:80": true, ":80": true, "a_b.example": true, "[::1]": true, "[::1]:80": true, "192.0.2.1:9": true,
		"a:b": false, "a:b:c": false, "::1": false, "h:65536": false, "h:-1": false, "[::1": false, "[::1]80": false, "[h]": false, "[192.0.2.1]": false,
		"::1]": false, "a b": false, "a/b": false, "a\x00": false,
	} {
		if got := ValidHost(host); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

func TestDecodePath(t *testing.T) {
	tests := map[string]string{
		"/a+b":     "/a+b",
		"/%41%2f":  "/A/",
		"/%zz%4":   "/%zz%4",
		"/%":       "/%",
		"/%c3%a9":  "/é",
		"/%ff%41":  "/\uFFFDA",
		"/\xff":    "/\uFFFD",
		"/%25%34a": "/%4a",
	}
	for path, want := range tests {
		if got := decodePath(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestRemoteHost(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.1:5": "192.0.2.1", "[::1]:5": "::1", "[fe80::1%eth0]:5": "fe80::1", "@": "127.0.0.1"} {
		if got := remoteHost(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

// A request keeps the name that the client gave it, if it is one for logs; the log, the script and the client get the same.
func TestRequestID(t *testing.T) {
	var logged string
	gateway, err := New(t.Context(), Config{
		Modules: []Module{{Route: "/", Module: "testdata/echo.wat"}, {Route: "/own", Module: "testdata/request_id.wat"}},
		Env:     []string{"HTTP_X_REQUEST_ID=configured"},
		Done:    func(r *Record) { logged = r.ID },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	const fresh = "^[0-9a-f]{16}$"
	long := strings.Repeat("a", maxRequestID)
	tests := []struct {
		path   string
		header http.Header
		want   string
	}{
		{"/", http.Header{}, fresh},
		{"/", http.Header{"X-Request-Id": {"6ba7b810-9dad_11d1.80b4:00c0/4f=d4+3@0"}}, `^6ba7b810-9dad_11d1\.80b4:00c0/4f=d4\+3@0$`},
		{"/", http.Header{"X-Request-Id": {long}}, "^" + long + "$"},
		{"/none", http.Header{"X-Request-Id": {"a"}}, "^a$"},
		{"/", http.Header{"X-Request-Id": {long + "a"}}, fresh},
		{"/", http.Header{"X-Request-Id": {""}}, fresh},
		{"/", http.Header{"X-Request-Id": {"a b"}}, fresh},
		{"/", http.Header{"X-Request-Id": {"a\"\tb"}}, fresh},
		{"/", http.Header{"X-Request-Id": {"\xc3\xa9"}}, fresh},
		{"/", http.Header{"X-Request-Id": {"a", "b"}}, fresh},
		{"/", http.Header{"X_request_id": {"a"}}, fresh},
	}
	for _, test := range tests {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, test.path, nil)
		r.Header = test.header
		gateway.ServeHTTP(w, r)
		answered := w.Header().Get("X-Request-Id")
		if !regexp.MustCompile(test.want).MatchString(logged) || answered != logged {
			t.Errorf("%s %q: logged %q, answered %q, want %s", test.path, test.header, logged, answered, test.want)
		}
		if test.path == "/" && strings.Count(w.Body.String(), "X_REQUEST_ID=") != 1 || !strings.Contains(w.Body.String(), "\nHTTP_X_REQUEST_ID="+logged+"\n") != (test.path != "/") {
			t.Errorf("%q: logged %q, the script got\n%s", test.header, logged, w.Body)
		}
	}
	w := httptest.NewRecorder()
	gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/own", nil))
	if got := w.Header()["X-Request-Id"]; len(got) != 1 || got[0] != "own" {
		t.Errorf("a script's own: %q", got)
	}
	w = httptest.NewRecorder()
	if gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil)); w.Header()["X-Request-Id"] != nil {
		t.Error("a health check has an id")
	}
}

// FuzzRequest sends anything: whatever net/http takes for a request, the script's environment is well-formed.
func FuzzRequest(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(strings.ReplaceAll(v["request"], "\n", "\r\n"))
	}
	argv := "${SCRIPT_NAME} ${ARGS}"
	m := &module{Module: Module{Argv: &argv}, env: []string{"A=b"}, headerEnv: []string{"HTTP_ACCEPT=configured"}}
	g := &Gateway{}
	g.table.Store(newTable([]*route{newRoute("/exact", "", m), newRoute("/...", "", &module{})}))
	f.Fuzz(func(t *testing.T, request string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
		if err != nil {
			return
		}
		r.RemoteAddr = "192.0.2.1:1"
		x := newExchange(g, httptest.NewRecorder(), r)
		if x.route, x.pathInfo = g.table.Load().match(x.target.path); x.route == nil {
			return
		}
		x.body = &body{length: max(0, r.ContentLength)}
		var env guest.Environment
		if err := x.environment(&env); err != nil {
			return
		}
		checkEnvironment(t, slices.Collect(env.From(0)))
		for _, arg := range x.route.module.arguments(x.target) {
			if strings.Contains(arg, "\x00") {
				t.Errorf("argument %q", arg)
			}
		}
	})
}

func checkEnvironment(t *testing.T, env []string) {
	values := map[string]string{}
	for _, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if _, again := values[name]; again || !ok || name == "" {
			t.Errorf("variable %q in %q", e, env)
		}
		if strings.ContainsAny(e, "\x00\r\n") && !strings.HasPrefix(name, "PATH_") {
			t.Errorf("variable %q has a control character", e)
		}
		values[name] = value
	}
	for _, name := range metaVariables {
		if _, ok := values[name]; !ok && name != "CONTENT_LENGTH" {
			t.Errorf("no %s in %q", name, env)
		}
	}
	for _, name := range []string{"HTTP_PROXY", "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_CONNECTION"} {
		if value, ok := values[name]; ok {
			t.Errorf("%s=%q", name, value)
		}
	}
	if !utf8.ValidString(values["PATH_INFO"]) || values["CONTENT_LENGTH"] == "0" {
		t.Errorf("PATH_INFO %q, CONTENT_LENGTH %q", values["PATH_INFO"], values["CONTENT_LENGTH"])
	}
}
