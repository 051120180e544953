package codecache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// key is the key of a module that is only a name.
func key(t *testing.T, module string) string {
	t.Helper()
	k, err := Key("target", strings.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func put(t *testing.T, c Cache, module, code string) {
	t.Helper()
	err := c.Put(key(t, module), func(w io.Writer) error {
		_, err := io.WriteString(w, code)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// code is what an entry holds, without its sum.
func code(t *testing.T, c Cache, module string) (string, error) {
	t.Helper()
	f, err := c.Open(key(t, module))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text[:len(text)-SumSize]), err
}

func TestKey(t *testing.T) {
	one, err := Key("engine 1", strings.NewReader("module"))
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range [][2]string{{"engine 2", "module"}, {"engine 1", "modules"}, {"engine 1\nm", "odule"}} {
		if k, err := Key(other[0], strings.NewReader(other[1])); err != nil || k == one {
			t.Errorf("%q has the key of another: %v", other, err)
		}
	}
}

func TestCache(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "made", "here")}
	if _, err := code(t, c, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want that it does not exist", err)
	}
	put(t, c, "a", "code of a")
	put(t, c, "b", "")
	put(t, c, "a", "other code of a")
	for module, want := range map[string]string{"a": "other code of a", "b": ""} {
		if got, err := code(t, c, module); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", module, got, err, want)
		}
	}
}

// A pipe or a folder in the place of an entry is refused, and not waited for.
func TestNoFile(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	file := filepath.Join(c.Dir, key(t, "a"))
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(key(t, "a")); !errors.Is(err, errDamaged) {
		t.Errorf("got error %v", err)
	}
}

// An entry of which a byte is missing, changed or too many is refused, and gone afterwards.
func TestDamaged(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	put(t, c, "a", "some code")
	file := filepath.Join(c.Dir, key(t, "a"))
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var damaged [][]byte
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		damaged = append(damaged, whole[:i], flipped)
	}
	damaged = append(damaged, append(bytes.Clone(whole), 0))
	for _, content := range damaged {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Open(key(t, "a")); !errors.Is(err, errDamaged) {
			t.Errorf("%q: got error %v", content, err)
		}
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q stays: %v", content, err)
		}
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(key(t, "a")); err == nil {
		t.Error("a directory was taken for an entry")
	}
}

// Code that cannot be written leaves no entry and nothing else.
func TestPutFails(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	broken := errors.New("broken")
	err := c.Put(key(t, "a"), func(w io.Writer) error {
		fmt.Fprint(w, "half")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got error %v", err)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The entries that were not used for the longest time go first, and the newest stays even if it alone is too large.
func TestEvict(t *testing.T) {
	entry := int64(100 + SumSize)
	c := Cache{Dir: t.TempDir(), Size: 3 * entry}
	content := strings.Repeat("x", 100)
	for i, module := range []string{"a", "b", "c"} {
		put(t, c, module, content)
		long := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(c.path(key(t, module)), long, long); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{temporary + "old", temporary + "new", "lock-1"} {
		if err := os.WriteFile(c.path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	crashed := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(c.path(temporary+"old"), crashed, crashed); err != nil {
		t.Fatal(err)
	}
	if _, err := code(t, c, "a"); err != nil { // now a was used, and b is the oldest
		t.Fatal(err)
	}
	put(t, c, "d", content)
	c.expect(t, "acd")
	put(t, c, "e", strings.Repeat("x", 1000))
	c.expect(t, "e")
	for name, want := range map[string]bool{temporary + "old": false, temporary + "new": true, "lock-1": true} {
		if _, err := os.Stat(c.path(name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
}

func (c Cache) expect(t *testing.T, modules string) {
	t.Helper()
	got := ""
	for _, module := range "abcde" {
		if _, err := os.Stat(c.path(key(t, string(module)))); err == nil {
			got += string(module)
		}
	}
	if got != modules {
		t.Errorf("entries of %s are left, want %s", got, modules)
	}
}

// Writers and readers of the same few entries never see half of one, and removing them does not disturb who reads.
func TestConcurrent(t *testing.T) {
	content := strings.Repeat("code ", 20_000)
	c := Cache{Dir: t.TempDir(), Size: int64(3 * len(content))}
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			for i := range 50 {
				module := string(rune('a' + (n+i)%5))
				got, err := code(t, c, module)
				if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && got != module+content {
					t.Errorf("%s: %d bytes, %v", module, len(got), err)
				}
				put(t, c, module, module+content)
			}
		})
	}
	wait.Wait()
}
