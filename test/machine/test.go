//go:build linux

package machine

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Patience bounds every wait: for a command, an answer, the end of a process. What is waited for takes some seconds at most,
// and ten times that on a machine that has much else to do.
const Patience = 3 * time.Minute

// Out is the path of what make built, given from out/.
func Out(name string) string {
	dir, err := os.Getwd() // of a test: its package's
	if err != nil {
		panic(err)
	}
	for dir != "/" {
		if _, err := os.Stat(dir + "/Makefile"); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, "out", name)
}

// Skip says why a test cannot run here; where all must run (E2E=1), that is a failure.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Dir makes a folder that is removed at the end of the test. Its path is short, because paths of sockets are limited to
// 107 bytes.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "wagi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Await calls f until it succeeds; the test fails when it has not after [Patience].
func Await(t testing.TB, f func() error) {
	t.Helper()
	if err := Within(Patience, f); err != nil {
		t.Fatal(err)
	}
}

// Within calls f until it succeeds or the time is over, and returns its last error.
func Within(limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
