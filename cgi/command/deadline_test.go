package command

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair is a connection as the gateway has it, and the client's end of it.
func pair(t *testing.T) (*deadlineConn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := deadlineListener{l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*deadlineConn), client
}

// A read ends at the deadline that was set last, before it or during it, and at no other.
func TestReadDeadline(t *testing.T) {
	past := time.Unix(1, 0)
	soon := func() time.Time { return time.Now().Add(10 * time.Millisecond) }
	late := func() time.Time { return time.Now().Add(time.Hour) }
	for name, test := range map[string]struct {
		before, during []func() time.Time
		ends           bool
	}{
		"none":                   {},
		"past":                   {before: []func() time.Time{func() time.Time { return past }}, ends: true},
		"soon":                   {before: []func() time.Time{soon}, ends: true},
		"soon, then none":        {before: []func() time.Time{soon, func() time.Time { return time.Time{} }}},
		"late, then soon":        {before: []func() time.Time{late, soon}, ends: true},
		"past during":            {during: []func() time.Time{func() time.Time { return past }}, ends: true},
		"soon, then late":        {before: []func() time.Time{soon}, during: []func() time.Time{late}},
		"soon, then none during": {before: []func() time.Time{soon}, during: []func() time.Time{func() time.Time { return time.Time{} }}},
		"late, then soon during": {before: []func() time.Time{late}, during: []func() time.Time{soon}, ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, client := pair(t)
			for _, deadline := range test.before {
				if err := conn.SetReadDeadline(deadline()); err != nil {
					t.Fatal(err)
				}
			}
			read := make(chan error, 1)
			go func() {
				_, err := conn.Read(make([]byte, 1))
				read <- err
			}()
			for _, deadline := range test.during {
				if err := conn.SetReadDeadline(deadline()); err != nil {
					t.Fatal(err)
				}
			}
			if !test.ends {
				time.Sleep(50 * time.Millisecond) // all deadlines but the last are over
				if _, err := client.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-read; errors.Is(err, os.ErrDeadlineExceeded) != test.ends {
				t.Errorf("read returned %v", err)
			}
		})
	}
}

// After a read that was ended the connection goes on, as net/http expects it: it ends a read after each request.
func TestReadAfterDeadline(t *testing.T) {
	conn, client := pair(t)
	go io.WriteString(client, "hello")
	for _, want := range "hello" {
		if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read %d bytes after the deadline, %v", n, err)
		}
		if err := conn.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := conn.Read(b[:]); err != nil || b[0] != byte(want) {
			t.Fatalf("got %q, %v, want %q", b, err, want)
		}
	}
}
