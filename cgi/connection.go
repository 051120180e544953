package cgi

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// What a script has left of a body is read after the response, so long and so much, for the sake of the connection.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 256 << 10 // as much as net/http reads
)

// ambiguous says whether another server might see the end of r elsewhere, so that the connection must end with it, RFC 9112 §6.1:
// it came with Transfer-Encoding and Content-Length, or with Transfer-Encoding by HTTP/1.0. As net/http hides the field that it
// does not obey, every chunked request and every request by HTTP/1.0 counts.
func ambiguous(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.ContentLength < 0 || r.ProtoMinor == 0)
}

// incoming is a body on a connection of HTTP/1.
type incoming struct {
	body    io.Reader
	length  int64        // -1: nobody knows
	waits   bool         // the client waits to be asked for it: Expect: 100-continue
	left    atomic.Int64 // bytes that nobody has read; negative: nobody knows how many
	spoiled atomic.Bool  // net/http may have met a deadline when it waited, after the body, for the client to go
}

// newIncoming takes the body of r out of the hands of net/http, which would read what is left of it before it lets a response
// begin: a script would lose it, and a client that does not send it would get no response. It is nil if there is no body, or if
// w needs no such care.
func newIncoming(w http.ResponseWriter, r *http.Request) *incoming {
	if r.ContentLength == 0 || r.ProtoMajor != 1 || http.NewResponseController(w).EnableFullDuplex() != nil {
		return nil
	}
	b := &incoming{body: r.Body, length: r.ContentLength, waits: r.Header.Get("Expect") != ""}
	b.left.Store(b.length)
	return b
}

func (b *incoming) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.left.Add(-int64(n))
	if err == io.EOF {
		b.left.Store(0)
	}
	return n, err
}

// last is whether the request must be the last one of its connection: a body that is not read to its end would be taken for
// requests.
func (b *incoming) last() bool {
	return b != nil && (b.left.Load() != 0 || b.spoiled.Load())
}

// likelyLast guesses, when the script's response begins, whether last will be true at its end: as when the script has not begun
// to read. What a script leaves that has ended is likely to be there.
func (b *incoming) likelyLast(ended bool) bool {
	if b == nil {
		return false
	}
	left := b.left.Load()
	return left > lingerBytes || left == b.length && (b.waits || !ended)
}

func (b *incoming) spoil() {
	if b != nil {
		b.spoiled.Store(true)
	}
}

// announceLast is for responses that no script gives: they do not wait for a body.
func (x *exchange) announceLast() {
	if x.incoming.last() {
		x.w.Header().Set("Connection", "close")
	}
}

// linger gives the client time to send what is left of the body. After a response that has said that it is the last one, net/http
// reads it, so that the client gets to read the response: RFC 9112 §9.6. Else it must be read here, or the connection breaks off.
func (x *exchange) linger() {
	if !x.incoming.last() {
		return
	}
	client := http.NewResponseController(x.w)
	_ = client.SetReadDeadline(time.Now().Add(lingerTime)) // what fails here ends the connection
	if x.w.Header().Get("Connection") == "close" {
		return
	}
	_ = client.Flush() // the client may want the response before it sends the rest
	_, _ = io.Copy(io.Discard, x.incoming)
	if x.incoming.last() {
		panic(http.ErrAbortHandler)
	}
}
