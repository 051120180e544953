package guest

import "testing"

// An instance that no request needs between two trims is closed, the others stay.
func TestTrim(t *testing.T) {
	m := compileFile(t, "testdata/hello.wasm", Config{})
	home := &m.idle.shards[0]
	first := m.idle.take(home)
	second, err := m.newInstance()
	if err != nil {
		t.Fatal(err)
	}
	m.idle.put(home, first)
	m.idle.put(home, second)
	m.idle.trim()
	if got := m.idle.take(home); got != second {
		t.Fatal("the warmest instance is not taken first")
	}
	m.idle.put(home, second)
	m.idle.trim()
	if got := m.idle.take(home); got != second || home.len() != 0 {
		t.Errorf("%d idle instances beside the one that was needed", home.len())
	}
	m.idle.put(home, second)
}

// Beyond what is useful, instances are not kept.
func TestPoolIsBounded(t *testing.T) {
	m := compileFile(t, "testdata/hello.wasm", Config{})
	home, kept := &m.idle.shards[0], 0
	for range 2 * maxIdleInstances {
		if m.idle.put(home, &instance{}) {
			kept++
		}
	}
	if kept == 0 || kept > maxIdleInstances {
		t.Errorf("%d instances kept", kept)
	}
}
