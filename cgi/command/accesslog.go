package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"go.opentelemetry.io/otel/trace"

	"containerd-shim-wagi-v1/cgi"
)

const (
	accessDelay    = 50 * time.Millisecond // how long a line may wait to be written
	maxAccessLines = 1 << 20               // bytes of lines that wait in one buffer; what comes then is dropped
	maxAccessField = 2 << 10               // bytes of what a client sent that go into a field
)

// accessLog writes a line for each request. A request only leaves its line in one of a few buffers; a goroutine writes them
// out every so often, and when it cannot, lines are dropped and counted. Lines of the same moment may change places.
type accessLog struct {
	format  func(*cgi.Record) []byte
	out     io.Writer
	buffers []accessBuffer // more than processors, so that requests seldom meet
	wake    chan struct{}  // a buffer is no longer empty
	end     chan struct{}
	ended   chan struct{}
	dropped atomic.Int64 // lines
}

type accessBuffer struct {
	mu    sync.Mutex
	lines []byte   // guarded by mu
	_     [32]byte // fills the cache line: neighbours are others' business
}

// openAccessLog opens a file, "-" for standard output. The caller closes the log.
func openAccessLog(file, format string) (*accessLog, error) {
	formats := map[string]func(*cgi.Record) []byte{"common": commonLine, "combined": combinedLine, "json": jsonLine}
	if formats[format] == nil {
		return nil, usageError{fmt.Errorf("--access-log-format %q: want common, combined or json", format)}
	}
	out := io.Writer(os.Stdout)
	if file != "-" {
		f := &movingFile{name: file}
		if err := f.open(); err != nil {
			return nil, fmt.Errorf("--access-log: %w", err)
		}
		out = f
	}
	return newAccessLog(out, formats[format]), nil
}

func newAccessLog(out io.Writer, format func(*cgi.Record) []byte) *accessLog {
	l := &accessLog{
		format:  format,
		out:     out,
		buffers: make([]accessBuffer, 4*runtime.GOMAXPROCS(0)),
		wake:    make(chan struct{}, 1),
		end:     make(chan struct{}),
		ended:   make(chan struct{}),
	}
	go l.run()
	return l
}

// add leaves a line.
func (l *accessLog) add(r *cgi.Record) {
	line := l.format(r)
	b := &l.buffers[rand.IntN(len(l.buffers))]
	b.mu.Lock()
	first, full := len(b.lines) == 0, len(b.lines)+len(line) > maxAccessLines
	if !full {
		b.lines = append(b.lines, line...)
	}
	b.mu.Unlock()
	switch {
	case full:
		l.dropped.Add(1)
	case first:
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// run writes until close.
func (l *accessLog) run() {
	defer close(l.ended)
	var lines []byte
	var told int64
	for ending := false; !ending; {
		select {
		case <-l.wake:
		case <-l.end:
		}
		select {
		case <-time.After(accessDelay):
		case <-l.end:
			ending = true
		}
		for i := range l.buffers {
			lines = l.write(&l.buffers[i], lines)
		}
		if dropped := l.dropped.Load(); dropped > told {
			log.L.WithField("lines", dropped-told).Warn("access log cannot keep up: lines are dropped")
			told = dropped
		}
	}
}

// write writes what is in b, which gets empty in exchange, and returns its memory.
func (l *accessLog) write(b *accessBuffer, empty []byte) []byte {
	b.mu.Lock()
	lines := b.lines
	b.lines = empty[:0]
	b.mu.Unlock()
	if len(lines) == 0 {
		return lines
	}
	if _, err := l.out.Write(lines); err != nil {
		l.dropped.Add(int64(bytes.Count(lines, []byte("\n"))))
		log.L.WithError(err).Warn("access log cannot be written")
	}
	return lines
}

// close writes what is left. It does not wait for long for one who does not read.
func (l *accessLog) close() {
	close(l.end)
	select {
	case <-l.ended:
	case <-time.After(stopTime):
		log.L.Warn("access log is not complete: nobody reads it")
	}
}

// movingFile is a file that may be renamed, as those who rotate logs do: its name is then opened again.
type movingFile struct {
	name string
	file *os.File
}

func (f *movingFile) open() (err error) {
	f.file, err = os.OpenFile(f.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	return err
}

func (f *movingFile) Write(p []byte) (int, error) {
	named, err := os.Stat(f.name)
	opened, openedErr := f.file.Stat()
	if err != nil || openedErr != nil || !os.SameFile(named, opened) {
		f.file.Close()
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	return f.file.Write(p)
}

// commonLine is a line of the Common Log Format, https://httpd.apache.org/docs/2.4/logs.html#common.
func commonLine(r *cgi.Record) []byte {
	return append(appendCommon(make([]byte, 0, 256), r), '\n')
}

// combinedLine is a common one and what the client says of itself.
func combinedLine(r *cgi.Record) []byte {
	b := appendCommon(make([]byte, 0, 512), r)
	for _, field := range []string{"Referer", "User-Agent"} {
		b = append(b, ' ')
		b = strconv.AppendQuoteToASCII(b, short(r.Request.Header.Get(field)))
	}
	return append(b, '\n')
}

func appendCommon(b []byte, r *cgi.Record) []byte {
	b = append(b, client(r)...)
	b = r.Begun.AppendFormat(append(b, " - - ["...), "02/Jan/2006:15:04:05 -0700")
	b = strconv.AppendQuoteToASCII(append(b, "] "...), short(r.Request.Method)+" "+short(r.Request.RequestURI)+" "+r.Request.Proto)
	b = strconv.AppendInt(append(b, ' '), int64(r.Status), 10)
	if r.Bytes == 0 {
		return append(b, " -"...)
	}
	return strconv.AppendInt(append(b, ' '), r.Bytes, 10)
}

// accessEntry is a line in JSON. Times are in seconds.
type accessEntry struct {
	Time      time.Time `json:"time"`
	Request   string    `json:"request"`
	Client    string    `json:"client"`
	Method    string    `json:"method"`
	Host      string    `json:"host"`
	Target    string    `json:"target"`
	Protocol  string    `json:"protocol"`
	Status    int       `json:"status"`
	Bytes     int64     `json:"bytes"`
	Duration  float64   `json:"duration"`
	Guest     float64   `json:"guest"`
	Route     string    `json:"route,omitempty"`
	Module    string    `json:"module,omitempty"`
	Referer   string    `json:"referer,omitempty"`
	UserAgent string    `json:"user_agent,omitempty"`
	Error     string    `json:"error,omitempty"`
	TraceID   string    `json:"trace_id,omitempty"`
}

func jsonLine(r *cgi.Record) []byte {
	e := accessEntry{
		Time:      r.Begun,
		Request:   r.ID,
		Client:    client(r),
		Method:    short(r.Request.Method),
		Host:      short(r.Request.Host),
		Target:    short(r.Request.RequestURI),
		Protocol:  r.Request.Proto,
		Status:    r.Status,
		Bytes:     r.Bytes,
		Duration:  r.Duration.Seconds(),
		Guest:     r.Guest.Seconds(),
		Route:     r.Route,
		Module:    r.Module,
		Referer:   short(r.Request.Header.Get("Referer")),
		UserAgent: short(r.Request.UserAgent()),
	}
	if r.Err != nil {
		e.Error = r.Err.Error()
	}
	if span := trace.SpanContextFromContext(r.Request.Context()); span.IsValid() {
		e.TraceID = span.TraceID().String()
	}
	line, _ := json.Marshal(e) // strings, numbers and a time of this century do not fail
	return append(line, '\n')
}

// client is the client's address, "-" at a Unix socket.
func client(r *cgi.Record) string {
	host, _, err := net.SplitHostPort(r.Request.RemoteAddr)
	if err != nil {
		return "-"
	}
	return host
}

func short(s string) string {
	return s[:min(len(s), maxAccessField)]
}
