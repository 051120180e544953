// A guest that does a little of everything: goroutines, maps, sorting, hashing, printing, recursion, a panic that is
// recovered, and an exit status.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

func main() {
	input, _ := io.ReadAll(os.Stdin)
	words := make(map[string]int)
	for _, w := range strings.Fields(string(input)) {
		words[w]++
	}
	for _, w := range slices.Sorted(maps.Keys(words)) {
		fmt.Println(w, words[w])
	}
	var group sync.WaitGroup
	sums := make([]string, 8)
	for i := range sums {
		group.Go(func() { sums[i] = fmt.Sprintf("%x", sha256.Sum256(slices.Repeat(input, i*10))) })
	}
	group.Wait()
	fmt.Println(strings.Join(sums, "\n"), ackermann(2, 9))
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		fmt.Println(sums[len(input)+len(sums)])
	}()
	fmt.Fprintln(os.Stderr, os.Args, os.Environ())
	os.Exit(len(words))
}

func ackermann(m, n int) int {
	switch {
	case m == 0:
		return n + 1
	case n == 0:
		return ackermann(m-1, 1)
	}
	return ackermann(m-1, ackermann(m, n-1))
}
