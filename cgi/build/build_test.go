package build

import (
	"strings"
	"testing"
)

func TestEngine(t *testing.T) {
	if got := Engine(); !strings.HasPrefix(got, "wazero") {
		t.Errorf("got %q", got)
	}
}
