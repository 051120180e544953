// Command hello answers as the guests do, by net/http alone: hello ADDRESS.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
)

func main() {
	http.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "hello\n")
	})
	http.HandleFunc("GET /body", send)
	http.HandleFunc("POST /body", receive)
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}

// send sends as many bytes as the query says.
func send(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	left, _ := strconv.ParseInt(r.URL.RawQuery, 10, 64)
	buffer := make([]byte, 64<<10)
	for left > 0 {
		n, err := w.Write(buffer[:min(left, int64(len(buffer)))])
		if err != nil {
			return
		}
		left -= int64(n)
	}
}

// receive reads the body and says how long it was.
func receive(w http.ResponseWriter, r *http.Request) {
	var sum int64
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buffer)
		if sum += int64(n); err != nil {
			break
		}
	}
	fmt.Fprintln(w, sum)
}
