package cgi

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"containerd-shim-wagi-v1/cgi/guest"
)

const (
	maxHead   = 64 << 10 // bytes of a response's head
	maxFields = 1000     // of it

	// A response's body is held back until it is this long or this old, so that a guest that fails early gives a clean error.
	holdBytes = 16 << 10
	holdTime  = 10 * time.Millisecond

	// unsentBytes of a body are not written to the client before the handler returns: net/http has a buffer for them.
	unsentBytes = 2 << 10
)

// head is the head of a CGI response, RFC 3875 §6.2.
type head struct {
	status   int
	redirect string // local redirect, §6.2.2: path and query
	fields   []field
	room     [2]field // for fields, while it is enough
}

// field is a field of the response. Its name is canonical.
type field struct{ name, value string }

// framing are the fields that concern a connection, RFC 9110 §7.6.1, or how a message is sent on it.
// Here they are the gateway's to set: RFC 3875 §6.3.4.
var framing = []string{
	"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// parse reads a head, less the empty line that ends it. Lines without a colon and with invalid names are skipped, as WAGI does.
// A status line in front, with which a script means to talk to the client itself (NPH, RFC 3875 §5), counts as its Status.
func (h *head) parse(b []byte) error {
	if !utf8.Valid(b) {
		return errHeadEncoding
	}
	h.fields = h.room[:0]
	var connection []string // fields of that name
	text := strings.TrimLeft(strings.ReplaceAll(string(b), "\r", ""), "\n")
	if line, rest, _ := strings.Cut(text, "\n"); strings.HasPrefix(line, "HTTP/") {
		_, status, _ := strings.Cut(line, " ")
		if err := h.setStatus(status); err != nil {
			return err
		}
		text = rest
	}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		if value = strings.TrimSpace(value); !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("%w in field %q", errHeadControl, name)
		}
		switch name = textproto.CanonicalMIMEHeaderKey(name); name {
		case "Status":
			if err := h.setStatus(value); err != nil {
				return err
			}
		case "Connection":
			connection = append(connection, value)
		default:
			if len(h.fields) == maxFields {
				return errFields
			}
			if !slices.Contains(framing, name) {
				h.fields = append(h.fields, field{name, value})
			}
		}
	}
	return h.complete(connection)
}

// setStatus takes the first word of a Status field, RFC 3875 §6.3.3.
func (h *head) setStatus(value string) error {
	word, _, _ := strings.Cut(value, " ")
	code, err := strconv.Atoi(word)
	switch {
	case err != nil || len(word) != 3 || code < 100:
		return fmt.Errorf("%w: %.20q", errStatus, value)
	case code < 200:
		return fmt.Errorf("%w: %d", errInterim, code)
	}
	h.status = code
	return nil
}

// complete tells the kinds of responses apart, RFC 3875 §6.2, and drops the fields that the script meant for the connection.
func (h *head) complete(connection []string) error {
	location := h.value("Location")
	switch {
	case location != "" && h.status == 0 && location[0] == '/':
		h.redirect = location
	case location != "" && h.status == 0:
		h.status = http.StatusFound
	case h.status == 0 && h.value("Content-Type") != "":
		h.status = http.StatusOK
	case h.status == 0:
		return errNoHead
	}
	if h.value("Content-Type") == "" {
		h.drop("Content-Type")
	}
	for _, names := range connection {
		for name := range strings.SplitSeq(names, ",") {
			h.drop(textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return nil
}

func (h *head) drop(name string) {
	h.fields = slices.DeleteFunc(h.fields, func(f field) bool { return f.name == name })
}

// value is that of the last field of a name; empty: there is none.
func (h *head) value(name string) string {
	for _, f := range slices.Backward(h.fields) {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// copyTo sets the fields in a response's header.
func (h *head) copyTo(header http.Header) {
	if h.value("Content-Type") == "" {
		header["Content-Type"] = nil // else net/http would guess one
	}
	for _, f := range h.fields {
		delete(header, f.name)
	}
	values := make([]string, len(h.fields)) // in one piece of memory
	for i, f := range h.fields {
		values[i] = f.value
		switch {
		case header[f.name] == nil, f.name == "Content-Type", f.name == "Location": // of these the last counts
			header[f.name] = values[i : i+1 : i+1]
		default:
			header[f.name] = append(header[f.name], f.value)
		}
	}
}

// bodyAllowed is whether such a response has a body, RFC 9110 §6.4.1. That of HEAD is left to net/http.
func (h *head) bodyAllowed() bool {
	return h.redirect == "" && h.status != http.StatusNoContent && h.status != http.StatusNotModified
}

// Phases of a response. The end of the guest's life, which may come at any time, finds it in one of them and decides what becomes
// of it: nothing, which leaves the status to the gateway, a response that looks broken off, or a complete one.
const (
	unsent   int32 = iota // the status can still change
	refused               // the life ended before the head was sent
	sending               // the head is on its way, and some of the body
	open                  // the head is out
	complete              // the rest is on its way
	broken                // the life ended before that
)

// departTime is how long a client may take to receive what is on its way when the guest's life ends.
const departTime = time.Second

// response turns what a guest prints into the response: the guest's standard output.
type response struct {
	w        http.ResponseWriter
	life     *lifetime // of the guest
	work     *guest.Work
	limit    int64     // bytes; negative: none
	incoming *incoming // the request's body, as in exchange
	reads    bool      // the guest may be reading from the client
	bare     bool      // the client gets the head alone, as it asked by HEAD
	phase    atomic.Int32
	unguard  func() // nil: guard was not called

	mu      sync.Mutex
	size    int64       // guarded by mu: bytes printed
	written int64       // guarded by mu: bytes of the body that went out
	held    []byte      // guarded by mu: the head while it is incomplete, then the body while it is held back
	room    [256]byte   // guarded by mu: for held, while it is enough
	line    int         // guarded by mu: where the last line of held begins
	head    *head       // guarded by mu: nil while incomplete
	parsed  head        // guarded by mu: what head points to
	timer   *time.Timer // guarded by mu: sends what is held back, here or in net/http; nil: the guest has not gone on since it printed first
	late    bool        // guarded by mu: something is held back that timer does not know of
	waiting bool        // guarded by mu: timer runs
	ended   bool        // guarded by mu
}

// Write takes what the guest prints. Once it fails the guest is being stopped.
func (o *response) Write(p []byte) (int, error) {
	if !o.mu.TryLock() {
		o.work.Pause()
		o.mu.Lock()
	}
	defer o.mu.Unlock()
	if o.life.err() != nil {
		return 0, context.Cause(o.life)
	}
	if o.size += int64(len(p)); o.limit >= 0 && o.size > o.limit {
		o.life.cancel(errOutput)
		return 0, errOutput
	}
	err := o.add(p)
	if err != nil {
		o.life.cancel(err)
		return 0, err
	}
	return len(p), nil
}

func (o *response) add(p []byte) error {
	if o.head != nil {
		return o.addBody(p)
	}
	if o.held == nil {
		o.held = o.room[:0]
	}
	n := min(len(p), maxHead+1-len(o.held))
	o.held = append(o.held, p[:n]...)
	end, ok := o.scan()
	if end > maxHead {
		return errHeadTooLarge
	}
	if !ok {
		return nil
	}
	head := &o.parsed
	if err := head.parse(o.held[:end]); err != nil {
		return err
	}
	body := o.held[o.line:]
	o.head, o.held = head, body[:0] // the body stays where it is
	if err := o.addBody(body); err != nil {
		return err
	}
	return o.addBody(p[n:])
}

// scan looks for the first empty line and says where the head ends: at line then begins the body.
// One empty line before the head is skipped, as WAGI does.
func (o *response) scan() (end int, ok bool) {
	for {
		n := bytes.IndexByte(o.held[o.line:], '\n')
		if n < 0 {
			return len(o.held), false
		}
		start := o.line
		line := o.held[start : start+n]
		o.line += n + 1
		if len(bytes.TrimRight(line, "\r")) == 0 && start > 0 {
			return start, true
		}
	}
}

func (o *response) addBody(p []byte) error {
	if !o.head.bodyAllowed() {
		o.late = o.head.redirect == "" && !o.sent()
		return nil
	}
	o.late = true
	if !o.sent() && len(o.held)+len(p) <= holdBytes {
		o.held = append(o.held, p...)
		return nil
	}
	o.work.Pause()
	if !o.sent() {
		if err := o.send(sending); err != nil {
			return err
		}
	}
	err := o.write(p)
	o.phase.CompareAndSwap(sending, open) // so much is more than net/http holds back
	return err
}

// goOn is called when the guest does something else: what is held back leaves soon.
func (o *response) goOn() {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.waiting || !o.late:
		return
	case o.timer == nil:
		o.timer = time.AfterFunc(holdTime, o.flush)
	default:
		o.timer.Reset(holdTime)
	}
	o.waiting, o.late = true, false
}

func (o *response) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting, o.late = false, false
	if o.ended || o.life.err() != nil {
		return
	}
	if !o.sent() {
		if err := o.send(sending); err != nil {
			o.life.cancel(err)
			return
		}
	}
	// A client that is gone shows when the context ends or the guest prints again.
	_ = http.NewResponseController(o.w).Flush()
	o.phase.CompareAndSwap(sending, open)
}

// sent says whether the head is on its way to the client: the status can no longer change.
func (o *response) sent() bool {
	return o.phase.Load() > refused
}

// expire is called when the guest's life has ended. A write to a client that does not receive fails then, but what is on its
// way gets some time: a head, so that the response looks broken off, or the end of a complete response.
func (o *response) expire() {
	if o.phase.CompareAndSwap(unsent, refused) {
		return
	}
	until := time.Now()
	if !o.phase.CompareAndSwap(open, broken) {
		until = until.Add(departTime)
	}
	_ = http.NewResponseController(o.w).SetWriteDeadline(until) // what fails is a writer without deadlines: that of a test
}

// send sends the head and what is held back of the body: phase is how far the response comes by it.
func (o *response) send(phase int32) error {
	if phase == sending || len(o.held) > unsentBytes {
		o.guard()
	}
	if o.life.err() != nil || !o.phase.CompareAndSwap(unsent, phase) {
		return context.Cause(o.life)
	}
	header := o.w.Header()
	o.head.copyTo(header)
	if o.incoming.likelyLast(o.ended) {
		header.Set("Connection", "close")
	}
	o.w.WriteHeader(o.head.status)
	held := o.held
	o.held = nil
	return o.write(held)
}

func (o *response) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := o.w.Write(p)
	o.written += int64(n)
	if err != nil {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	return nil
}

// end ends the response of a guest that succeeded. It returns a local redirect, if that is what the guest asks for.
func (o *response) end() (redirect string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stop()
	switch {
	case o.head == nil:
		return "", errNoHead
	case o.head.redirect != "":
		return o.head.redirect, nil
	case o.sent():
		if !o.phase.CompareAndSwap(open, complete) {
			return "", context.Cause(o.life)
		}
		return "", nil
	case o.head.bodyAllowed() && o.announcesLength():
		o.w.Header()["Content-Length"] = []string{strconv.Itoa(len(o.held))}
	}
	return "", o.send(complete)
}

// announcesLength says whether the length of a complete body must be set here: net/http knows that of one which it has in its buffer,
// when the handler has returned. Before, and to a client that lingers, the length says that the response is complete.
func (o *response) announcesLength() bool {
	if o.bare { // a script need not print the body that GET would have
		return len(o.held) > 0
	}
	return len(o.held) > unsentBytes || o.incoming.last() || o.work.Remains()
}

// result is what went to the client: the status, 0 if nothing did, and how many bytes of a body.
func (o *response) result() (status int, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.sent() {
		return 0, 0
	}
	return o.head.status, o.written
}

// abandon ends the response of a guest that failed: nothing of what is held back is sent.
func (o *response) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stop()
}

// stop is called with mu held.
func (o *response) stop() {
	o.ended = true
	if o.timer != nil {
		o.timer.Stop()
	}
}

// guard makes reads from and writes to the client fail once the guest's life ends, so that no guest outlives it in one.
// It must be called before the first of them.
func (o *response) guard() {
	if o.unguard != nil {
		return
	}
	done := make(chan struct{})
	stop := context.AfterFunc(o.life, func() {
		defer close(done)
		if o.reads {
			o.incoming.spoil()
			past := time.Unix(1, 0)
			_ = http.NewResponseController(o.w).SetReadDeadline(past) // what fails is a writer without deadlines: that of a test
		}
		o.expire()
	})
	o.unguard = func() {
		if !stop() {
			<-done
		}
	}
}

// release ends the guard. The guest has ended.
func (o *response) release() {
	if o.unguard != nil {
		o.unguard()
	}
}
