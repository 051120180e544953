package cgi

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestTable compares the table with trying all routes in order.
func TestTable(t *testing.T) {
	pieces := []string{"", "a", "b", "%41", "..."}
	random := rand.New(rand.NewPCG(1, 2))
	path := func() string {
		path := ""
		for range 1 + random.IntN(4) {
			path += "/" + pieces[random.IntN(len(pieces))]
		}
		return path
	}
	for range 2000 {
		var routes []*route
		for range random.IntN(8) {
			routes = append(routes, newRoute(path(), "_start", &module{}))
		}
		table := newTable(routes)
		for _, path := range []string{path(), path(), "*", "/", ""} {
			var want *route
			wantInfo := ""
			for _, r := range routes {
				if info, ok := r.match(path); ok && path != "" {
					want, wantInfo = r, info
					break
				}
			}
			if got, info := table.match(path); got != want || info != wantInfo {
				t.Fatalf("%q: got %+v and %q, want %+v and %q", path, got, info, want, wantInfo)
			}
		}
	}
}

// BenchmarkTable selects the last of some routes.
func BenchmarkTable(b *testing.B) {
	for _, n := range []int{1, 10, 1000, 10000} {
		var routes []*route
		for i := range n {
			routes = append(routes, newRoute(fmt.Sprintf("/app/%d/...", i), "_start", &module{}))
		}
		table := newTable(routes)
		path := fmt.Sprintf("/app/%d/x", n-1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if rt, _ := table.match(path); rt != routes[n-1] {
					b.Fatal("another route")
				}
			}
		})
	}
}
