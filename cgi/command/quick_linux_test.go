package command

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"
)

// What goes through in pieces of any size, some of them larger than the buffers of the system, arrives as it was.
func TestQuickConnPieces(t *testing.T) {
	conn, client := pair(t)
	random := rand.New(rand.NewPCG(1, 2))
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(random.Uint32())
	}
	go func() {
		rest := sent
		for len(rest) > 0 {
			n := min(len(rest), random.IntN(2*quickBytes))
			if _, err := conn.Write(rest[:n]); err != nil {
				t.Error(err)
			}
			rest = rest[n:]
		}
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	go func() {
		_, err := io.Copy(client, io.LimitReader(client, int64(len(sent)))) // back
		if err != nil {
			t.Error(err)
		}
		client.Close()
	}()
	var got bytes.Buffer
	for sizes := rand.New(rand.NewPCG(3, 4)); ; {
		piece := make([]byte, 1+sizes.IntN(2*quickBytes))
		n, err := conn.Read(piece)
		got.Write(piece[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), sent) {
		t.Errorf("%d bytes came back of %d, or others", got.Len(), len(sent))
	}
}

// Errors are those that the connection itself gives.
func TestQuickConnErrors(t *testing.T) {
	var b [1]byte
	for name, test := range map[string]struct {
		end  func(conn *deadlineConn, client net.Conn)
		want error
	}{
		"client leaves": {func(_ *deadlineConn, client net.Conn) { client.Close() }, io.EOF},
		"client resets": {func(_ *deadlineConn, client net.Conn) {
			_ = client.(*net.TCPConn).SetLinger(0) // it is open
			client.Close()
		}, syscall.ECONNRESET},
		"closed": {func(conn *deadlineConn, _ net.Conn) { conn.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			conn, client := pair(t)
			read := make(chan error, 1)
			go func() {
				_, err := conn.Read(b[:])
				read <- err
			}()
			time.Sleep(10 * time.Millisecond) // it waits, most likely
			test.end(conn, client)
			err := <-read
			var operation *net.OpError
			if !errors.Is(err, test.want) || test.want == syscall.ECONNRESET && !(errors.As(err, &operation) && operation.Op == "read") {
				t.Errorf("a read ends with %v", err)
			}
			if name == "client leaves" {
				return // the first write goes out
			}
			if _, err := conn.Write(b[:]); err == nil {
				t.Error("a write does not fail")
			}
		})
	}
	t.Run("write deadline", func(t *testing.T) {
		conn, _ := pair(t)
		if err := conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		var err error
		for err == nil {
			_, err = conn.Write(make([]byte, quickBytes))
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("a write to a client that does not read ends with %v", err)
		}
	})
}
