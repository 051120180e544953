// Command env answers with what CGI gives a program: its arguments, its
// environment and the length of its standard input.
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"slices"
)

func main() {
	length, err := io.Copy(io.Discard, os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print("Content-Type: text/plain; charset=utf-8\n\n")

	fmt.Println("# arguments")
	for _, arg := range os.Args {
		fmt.Println(arg)
	}
	fmt.Println("\n# environment")
	for _, variable := range slices.Sorted(slices.Values(os.Environ())) {
		fmt.Println(variable)
	}
	fmt.Println("\n# standard input")
	fmt.Println(length, "bytes")
}
