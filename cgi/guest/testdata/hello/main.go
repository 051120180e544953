// Hello is a CGI program that prints a document.
package main

import (
	"io"
	"os"
)

func main() {
	io.Copy(io.Discard, os.Stdin)
	io.WriteString(os.Stdout, "Content-Type: text/plain\n\nhello\n")
}
