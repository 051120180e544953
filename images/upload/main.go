// Command upload keeps files in a volume: PUT or POST stores one, GET returns
// it byte for byte, DELETE removes it, and GET of the folder lists them.
package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"strings"
)

func main() {
	root, err := os.OpenRoot("/data")
	if err != nil {
		log.Fatal(err)
	}
	files := store{root}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /files/{$}", files.list)
	mux.HandleFunc("GET /files/{name}", files.get)
	mux.HandleFunc("PUT /files/{name}", files.put)
	mux.HandleFunc("POST /files/{name}", files.put)
	mux.HandleFunc("DELETE /files/{name}", files.remove)
	if err := cgi.Serve(mux); err != nil {
		log.Fatal(err)
	}
}

// store is a flat folder of files.
type store struct{ *os.Root }

func (s store) list(w http.ResponseWriter, r *http.Request) {
	entries, err := fs.ReadDir(s.FS(), ".")
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue // an upload on its way
		}
		if info, err := entry.Info(); err == nil {
			fmt.Fprintf(w, "%d\t%s\n", info.Size(), entry.Name())
		}
	}
}

func (s store) get(w http.ResponseWriter, r *http.Request) {
	f, err := s.Open(r.PathValue("name"))
	if err != nil {
		fail(w, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		fail(w, err)
		return
	}
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}

func (s store) put(w http.ResponseWriter, r *http.Request) {
	n, err := s.save(r.PathValue("name"), r.Body)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "stored %d bytes\n", n)
}

// save writes to a file of its own and renames it: a reader sees the old
// content or the new one, and an upload that breaks off changes nothing.
func (s store) save(name string, content io.Reader) (int64, error) {
	temp := ".upload-" + rand.Text()
	f, err := s.Create(temp)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return n, errors.Join(err, s.Remove(temp))
	}
	return n, s.Rename(temp, name)
}

func (s store) remove(w http.ResponseWriter, r *http.Request) {
	if err := s.Remove(r.PathValue("name")); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// fail answers 404 for a missing file. Other errors are for the log, which is
// standard error.
func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	log.Print(err)
	http.Error(w, "that did not work", http.StatusInternalServerError)
}
