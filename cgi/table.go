package cgi

import "strings"

// table is a routing table. It selects what trying all routes in order would, RFC 3875 §3.2, and as quickly among thousands.
type table struct {
	routes  []*route
	exact   map[string]int // the first route that is exactly this path
	below   map[string]int // the first route that is this path and all below: by its script
	longest int            // script in below, in bytes
}

func newTable(routes []*route) *table {
	t := &table{routes: routes, exact: map[string]int{}, below: map[string]int{}}
	for i, r := range routes {
		if r.script == r.text {
			addFirst(t.exact, r.script, i)
		} else {
			addFirst(t.below, r.script, i)
		}
		if r.mayHaveMore() {
			addFirst(t.below, strings.TrimRight(r.script, "/"), i)
		}
	}
	for script := range t.below {
		t.longest = max(t.longest, len(script))
	}
	return t
}

func addFirst(index map[string]int, script string, i int) {
	if _, ok := index[script]; !ok {
		index[script] = i
	}
}

// match selects the script for a raw path. It returns nil if there is none. If the route's module is not ready, another of
// its routes may be the right one.
func (t *table) match(path string) (rt *route, pathInfo string) {
	if path == "" {
		return nil, ""
	}
	first := len(t.routes)
	take := func(index map[string]int, script string) {
		if i, ok := index[script]; ok {
			first = min(first, i)
		}
	}
	take(t.exact, path)
	take(t.below, "")
	for end := 1; end <= len(path) && end <= t.longest; end++ {
		if end == len(path) || path[end] == '/' {
			take(t.below, path[:end])
		}
	}
	if first == len(t.routes) {
		return nil, ""
	}
	rt = t.routes[first]
	pathInfo, _ = rt.match(path)
	return rt, pathInfo
}
