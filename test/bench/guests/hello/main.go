// The guest hello.c in Go.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if os.Getenv("REQUEST_METHOD") == "" {
		os.Exit(1)
	}
	fmt.Print("Content-Type: text/plain\n\nhello\n")
}
