package command

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"containerd-shim-wagi-v1/cgi"
)

func newRecord(target string) *cgi.Record {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RequestURI = target
	return &cgi.Record{Request: r, Status: http.StatusOK, Begun: time.Now()}
}

// stuck is a reader of the log that reads nothing until it is closed.
type stuck struct{ closed chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.closed
	return len(p), nil
}

// A log that cannot be written holds up no request and does not grow: lines are dropped, and counted.
func TestAccessLogOfStuckReader(t *testing.T) {
	out := stuck{make(chan struct{})}
	l := newAccessLog(out, commonLine)
	record := newRecord("/" + strings.Repeat("x", maxAccessField))
	const most = 3 * maxAccessLines / maxAccessField
	added := 0
	for ; l.dropped.Load() == 0; added++ {
		if added > most*len(l.buffers) {
			t.Fatalf("%d lines are kept", added)
		}
		l.add(record)
	}
	kept := 0
	for i := range l.buffers {
		l.buffers[i].mu.Lock()
		kept += len(l.buffers[i].lines)
		l.buffers[i].mu.Unlock()
	}
	if kept > maxAccessLines*len(l.buffers) {
		t.Errorf("%d bytes are kept", kept)
	}
	close(out.closed)
	l.close()
}

func TestAccessLogLosesNothing(t *testing.T) {
	var out bytes.Buffer
	l := newAccessLog(&out, jsonLine)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 500 {
				l.add(newRecord("/"))
			}
		})
	}
	wait.Wait()
	l.close()
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 4000 || l.dropped.Load() != 0 {
		t.Errorf("%d lines, %d dropped", n, l.dropped.Load())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk is full") }

func TestAccessLogCountsWhatIsNotWritten(t *testing.T) {
	l := newAccessLog(broken{}, commonLine)
	l.add(newRecord("/"))
	l.add(newRecord("/"))
	l.close()
	if n := l.dropped.Load(); n != 2 {
		t.Errorf("%d lines dropped", n)
	}
}

// What a client sends makes neither new lines nor long ones.
func TestAccessLogLines(t *testing.T) {
	r := newRecord("/\"\n\x00\xff" + strings.Repeat("x", 2*maxAccessField))
	r.Request.Header.Set("User-Agent", "a\"b\nc")
	r.Request.RemoteAddr = "@"
	for name, line := range map[string]func(*cgi.Record) []byte{"common": commonLine, "combined": combinedLine, "json": jsonLine} {
		got := line(r)
		if bytes.IndexByte(got, '\n') != len(got)-1 || len(got) > 2*maxAccessField || bytes.ContainsAny(got[:len(got)-1], "\x00\n\xff") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := string(combinedLine(r)); !strings.HasPrefix(got, "- - - [") || !strings.HasSuffix(got, ` "" "a\"b\nc"`+"\n") {
		t.Errorf("%q", got)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	for name, line := range map[string]func(*cgi.Record) []byte{"common": commonLine, "json": jsonLine} {
		b.Run(name, func(b *testing.B) {
			l := newAccessLog(io.Discard, line)
			defer l.close()
			record := newRecord("/hello?name=you")
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l.add(record)
				}
			})
		})
	}
}
