package cgi

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"containerd-shim-wagi-v1/cgi/guest"
)

const allKeys = `default_host = "localhost:3000"
timeout = "1m"
memory = "64MiB"
max_concurrency = "none"
queue = 0
wait = "0s"

[[module]]
route = "/a/..."
module = "a.wasm"
entrypoint = "main"
argv = "php ${ARGS}"
volumes = { "/data" = "data", "/lib" = "lib:ro" }
allowed_hosts = ["https://a.example", "http://b.example:8080"]
http_max_concurrency = 3
repository = "elsewhere"
reuse = false
timeout = "none"
cpu = "3s"
memory = 1_048_576
max_body = "1kB"
max_output = "2 GiB"
max_concurrency = 7
queue = 9
wait = "2s"

[module.environment]
A = "b"

[[module]]
route = "b"
module = "b.wasm"
argv = ""
`

func TestParseConfig(t *testing.T) {
	got, err := parseConfig("m.toml", []byte(allKeys))
	if err != nil {
		t.Fatal(err)
	}
	argv, empty := "php ${ARGS}", ""
	want := &Config{
		File:   "m.toml",
		Limits: Limits{Timeout: time.Minute, Memory: 64 << 20, MaxConcurrency: -1, Queue: -1, Wait: -1},
		Modules: []Module{{
			Route: "/a/...", Module: "a.wasm", Entrypoint: "main", Argv: &argv,
			Volumes:     []guest.Volume{{Guest: "/data", Host: "data"}, {Guest: "/lib", Host: "lib", ReadOnly: true}},
			Environment: map[string]string{"A": "b"},

			AllowedHosts:       []string{"https://a.example", "http://b.example:8080"},
			HTTPMaxConcurrency: 3,

			NoReuse: true,

			Limits:   Limits{Timeout: -1, CPU: 3 * time.Second, Memory: 1 << 20, MaxBody: 1000, MaxOutput: 2 << 30, MaxConcurrency: 7, Queue: 9, Wait: 2 * time.Second},
			Position: "m.toml:8:3",
		}, {
			Route: "b", Module: "b.wasm", Argv: &empty, Position: "m.toml:30:3",
		}},
		Warnings: []string{
			`m.toml:1:1: key "default_host" has no effect`,
			`m.toml:16:1: key "repository" has no effect`,
			`m.toml:30:3: route "b" can never match: it does not begin with /`,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestParseConfigErrors(t *testing.T) {
	const module = "[[module]]\nroute = '/'\nmodule = 'm.wasm'\n"
	tests := []struct{ text, want string }{
		{"", `m.toml:1:1: key "module" is missing`},
		{"[[modul]]", `m.toml:1:3: unknown key "modul"; did you mean "module"?`},
		{"[[module]\n", `m.toml:1:9: expected ']]' to close array table name`},
		{"queue = 1\nqueue = 2", `m.toml:2:1: key queue is already defined`},
		{"modules = []\nmodule = []", `m.toml:1:1: unknown key "modules"; did you mean "module"?`},
		{"module = 'm.wasm'", `m.toml:1:1: key "module": want [[module]] tables, not "m.wasm"`},
		{"module = [1]", `m.toml:1:1: key "module": want a table, not 1`},
		{"[module]\nroute = '/'", `m.toml:1:2: key "module": want [[module]] tables, not a table`},
		{"[[module]]\nmodule = 'm.wasm'", `m.toml:1:3: key "route" is missing in this [[module]]`},
		{"[[module]]\nroute = '/'", `m.toml:1:3: key "module" is missing in this [[module]]`},
		{module + "rout = '/'", `m.toml:4:1: unknown key "rout"; did you mean "route"?`},
		{module + "colour = 'red'", `m.toml:4:1: unknown key "colour"`},
		{module + "  entrypoint = 1", `m.toml:4:3: key "entrypoint": want a string, not 1`},
		{module + `entrypoint = "a\u0000b"`, `m.toml:4:1: key "entrypoint": holds a zero byte`},
		{module + "volumes = 'a:b'", `m.toml:4:1: key "volumes": want a table, not "a:b"`},
		{module + "volumes = { '/a' = 3 }", `m.toml:4:13: key "/a": want a string, not 3`},
		{module + "volumes = { '/a' = ':ro' }", `m.toml:4:13: key "/a": want a path in the guest = a directory of the host`},
		{module + "[module.environment]\n'A=B' = 'c'", `m.toml:5:1: key "A=B": not a name of a variable`},
		{module + "[module.environment]\nA = true", `m.toml:5:1: key "A": want a string, not true`},
		{module + "timeout = 30", `m.toml:4:1: key "timeout": want a duration such as "30s", or "none", not 30`},
		{module + "timeout = '-1s'", `m.toml:4:1: key "timeout": want a duration such as "30s", or "none", not "-1s"`},
		{module + "max_body = '64M'", `m.toml:4:1: key "max_body": want a size such as "64MiB", or "none", not "64M"`},
		{module + "max_body = 1.5", `m.toml:4:1: key "max_body": want a size such as "64MiB", or "none", not 1.5 as a floating-point number`},
		{module + "max_concurrency = 1.0", `m.toml:4:1: key "max_concurrency": want a number of requests from 1, or "none", not 1 as a floating-point number`},
		{module + "queue = 1e3", `m.toml:4:1: key "queue": want a number of requests, not 1000 as a floating-point number`},
		{module + `volumes = { "/a\u0000" = 'b' }`, `m.toml:4:13: key "/a\x00": want a path in the guest = a directory of the host`},
		{module + "reuse = 'no'", `m.toml:4:1: key "reuse": want true or false, not "no"`},
		{module + "memory = '1KiB'", `m.toml:4:1: key "memory": want "64KiB" to "4GiB", not "1KiB"`},
		{module + "max_concurrency = 0", `m.toml:4:1: key "max_concurrency": want a number of requests from 1, or "none", not 0`},
		{module + "allowed_hosts = 'a'", `m.toml:4:1: key "allowed_hosts": want an array of strings, not "a"`},
		{module + "allowed_hosts = ['http://a', 7]", `m.toml:4:1: key "allowed_hosts": want a string, not 7`},
		{module + "http_max_concurrency = 0", `m.toml:4:1: key "http_max_concurrency": want a number of open responses from 1, not 0`},
		{module + "queue = 'none'", `m.toml:4:1: key "queue": want a number of requests, not "none"`},
		{"wait = 'soon'\n" + module, `m.toml:1:1: key "wait": want a duration such as "30s", or "none", not "soon"`},
		{module + "wait = 2", `m.toml:4:1: key "wait": want a duration such as "30s", or "none", not 2`},
		{"queue = -1\n" + module, `m.toml:1:1: key "queue": want a number of requests, not -1`},
	}
	for _, test := range tests {
		_, err := parseConfig("m.toml", []byte(test.text))
		if err == nil {
			t.Errorf("%q: no error, want %s", test.text, test.want)
		} else if got := err.Error(); got != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.text, got, test.want)
		}
	}
}

// What is odd but harmless is said and does not keep a configuration from working.
func TestParseConfigWarnings(t *testing.T) {
	const module = "[[module]]\nroute = '/'\nmodule = 'm.wasm'\n"
	const path = "no path of a request holds ?, #, spaces or control characters, unless percent-encoded"
	tests := []struct{ text, want string }{
		{"\ufeff" + module, ""},
		{module + "volumes = { '/data' = 'data:rw' }", ""},
		{module + "entrypoint = ''", `m.toml:4:1: key "entrypoint" is empty: _start is called`},
		{module + "environment = { \"A\\nB\" = 'c' }", `m.toml:4:17: key "A\nB": hardly a name of a variable`},
		{module + "environment = { QUERY_STRING = 'c' }", `m.toml:4:17: key "QUERY_STRING" has no effect: the gateway sets this variable`},
		{module + "allowed_hosts = ['https://a', 'ftp://b', 'insecure:allow-all']", `m.toml:4:1: allowed host "ftp://b": requests are sent by http and https alone`},
		{"[[module]]\nroute = '/a?b'\nmodule = 'm.wasm'", `m.toml:1:3: route "/a?b" can never match: ` + path},
		{"[[module]]\nroute = '/a#b'\nmodule = 'm.wasm'", `m.toml:1:3: route "/a#b" can never match: ` + path},
		{"[[module]]\nroute = '/a b'\nmodule = 'm.wasm'", `m.toml:1:3: route "/a b" can never match: ` + path},
		{"[[module]]\nroute = \"/a\\n\"\nmodule = 'm.wasm'", `m.toml:1:3: route "/a\n" can never match: ` + path},
	}
	for _, test := range tests {
		cfg, err := parseConfig("m.toml", []byte(test.text))
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
		} else if got := strings.Join(cfg.Warnings, "\n"); got != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.text, got, test.want)
		}
		if err == nil && cfg.Modules[0].Volumes != nil && cfg.Modules[0].Volumes[0] != (guest.Volume{Guest: "/data", Host: "data"}) {
			t.Errorf("volume %+v", cfg.Modules[0].Volumes[0])
		}
	}
}

func TestLimitsDefaults(t *testing.T) {
	module := Limits{Timeout: time.Second, MaxBody: -1}
	config := Limits{Timeout: time.Hour, Queue: 5}
	got := module.or(config).or(defaultLimits)
	want := defaultLimits
	want.Timeout, want.MaxBody, want.Queue = time.Second, -1, 5
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Relative paths are those of the working directory, as in WAGI, or else those beside modules.toml.
func TestResolve(t *testing.T) {
	dir, work := t.TempDir(), t.TempDir()
	t.Chdir(work)
	for _, file := range []string{filepath.Join(dir, "both"), filepath.Join(work, "both"), filepath.Join(dir, "beside")} {
		writeFile(t, file, "")
	}
	cfg := Config{File: filepath.Join(dir, "modules.toml")}
	for path, want := range map[string]string{
		"both":          "both",
		"beside":        filepath.Join(dir, "beside"),
		"neither":       "neither",
		"file:///a/b c": "/a/b c",
		"file:/a%20b":   "/a b",
	} {
		file, err := ModuleFile(path)
		if got := cfg.resolve(file); got != filepath.FromSlash(want) || err != nil {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(allKeys))
	for _, v := range vectors(f) {
		f.Add([]byte(v["modules.toml"]))
	}
	f.Add([]byte("module = [{ route = '/', module = 'x', volumes = { a = 'b' } }]\nmodule.x = 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := parseConfig("m.toml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "m.toml:") {
				t.Errorf("error without a position: %v", err)
			}
			return
		}
		for _, m := range cfg.Modules {
			if m.Route == "" || m.Module == "" || m.Position == "" {
				t.Errorf("incomplete: %+v", m)
			}
		}
	})
}

// No file, however odd, takes longer than its length warrants: with anything quadratic these take minutes.
func TestParseConfigIsQuick(t *testing.T) {
	begun := time.Now()
	for name, text := range map[string]string{
		"tables": strings.Repeat("[[module]]\nroute = '/'\nmodule = 'x'\n", 25_000),
		"key":    strings.Repeat("a.", 200_000) + "a = 1",
		"header": "[" + strings.Repeat("a.", 200_000) + "a]",
	} {
		_, err := parseConfig("m.toml", []byte(text))
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%s: error of %d bytes", name, len(err.Error()))
		}
	}
	if took := time.Since(begun); took > 2*time.Minute {
		t.Errorf("took %v", took)
	}
}
