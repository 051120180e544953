package cgi

import "testing"

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

func TestDecodePath(t *testing.T) {
	tests := map[string]string{
		"/a+b":     "/a+b",
		"/%41%2f":  "/A/",
		"/%zz%4":   "/%zz%4",
		"/%":       "/%",
		"/%c3%a9":  "/é",
		"/%ff%41":  "/\uFFFDA",
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
