// Command peer is a CGI server that is easily written in Go, for comparison: peer ENGINE PROGRAM ADDRESS. Engines are native,
// which is net/http/cgi, wazero and wasmtime.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/textproto"
	"os"
	"strings"

	"containerd-shim-wagi-v1/test/bench/engine"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: peer native|wazero|wasmtime PROGRAM ADDRESS")
	}
	handler, err := handler(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(os.Args[3], handler))
}

func handler(name, program string) (http.Handler, error) {
	var run engine.Run
	var err error
	switch name {
	case "native":
		return &cgi.Handler{Path: program, Dir: "/"}, nil
	case "wazero":
		run, err = engine.Wazero(context.Background(), program)
	case "wasmtime":
		run, err = engine.Wasmtime(context.Background(), program)
	default:
		err = fmt.Errorf("no engine is called %q", name)
	}
	return scripts(run), err
}

// scripts answers each request by a guest.
type scripts engine.Run

func (s scripts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var out bytes.Buffer
	call := &engine.Call{Args: []string{r.URL.Path}, Env: environment(r), Stdin: r.Body, Stdout: &out}
	if err := s(r.Context(), call); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	in := bufio.NewReader(&out)
	header, err := textproto.NewReader(in).ReadMIMEHeader()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	_, _ = io.Copy(w, in)
}

// environment has the variables that the gateway's guests get.
func environment(r *http.Request) []string {
	remote, _, _ := net.SplitHostPort(r.RemoteAddr)
	name, port, _ := net.SplitHostPort(r.Host)
	env := []string{
		"AUTH_TYPE=", "GATEWAY_INTERFACE=CGI/1.1", "PATH_INFO=", "PATH_TRANSLATED=", "QUERY_STRING=" + r.URL.RawQuery,
		"REMOTE_ADDR=" + remote, "REMOTE_HOST=" + remote, "REMOTE_USER=", "REQUEST_METHOD=" + r.Method, "SCRIPT_NAME=" + r.URL.Path,
		"SERVER_NAME=" + name, "SERVER_PORT=" + port, "SERVER_PROTOCOL=" + r.Proto, "SERVER_SOFTWARE=peer",
		"X_FULL_URL=http://" + r.Host + r.RequestURI, "X_MATCHED_ROUTE=" + r.URL.Path, "X_RAW_PATH_INFO=", "CONTENT_TYPE=", "HTTP_HOST=" + r.Host,
	}
	for field, values := range r.Header {
		env = append(env, "HTTP_"+strings.ToUpper(strings.ReplaceAll(field, "-", "_"))+"="+strings.Join(values, ", "))
	}
	return env
}
