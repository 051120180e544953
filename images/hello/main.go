// Command hello greets the name in the query: net/http/cgi serves an ordinary
// http.Handler.
package main

import (
	"cmp"
	"fmt"
	"log"
	"net/http"
	"net/http/cgi"
)

func main() {
	if err := cgi.Serve(http.HandlerFunc(hello)); err != nil {
		log.Fatal(err)
	}
}

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello, %s!\n", cmp.Or(r.FormValue("name"), "world"))
}
