package cgi

import (
	"context"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// FuzzResponse prints anything, in pieces, as a guest would: the client must get a well-formed response, the same for all ways to cut it.
func FuzzResponse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v["output"], 3)
	}
	f.Fuzz(func(t *testing.T, output string, cut int) {
		whole := printTo(t, output)
		cut = max(0, min(cut, len(output)))
		if pieces := printTo(t, output[:cut], output[cut:]); !slices.Equal(pieces, whole) {
			t.Errorf("in pieces %q, whole %q", pieces, whole)
		}
	})
}

// printTo prints to a response and says what became of it: the error, or the redirect, or status, fields and body.
func printTo(t *testing.T, pieces ...string) []string {
	life := &lifetime{request: context.Background()}
	defer life.close()
	w := httptest.NewRecorder()
	out := &response{w: w, life: life, limit: -1}
	for _, piece := range pieces {
		if _, err := out.Write([]byte(piece)); err != nil {
			out.abandon()
			return []string{err.Error()}
		}
	}
	redirect, err := out.end()
	if err != nil {
		return []string{err.Error()}
	}
	if redirect != "" {
		return []string{redirect}
	}
	if w.Code < 200 || w.Code > 999 {
		t.Errorf("status %d", w.Code)
	}
	sent := []string{strconv.Itoa(w.Code), w.Body.String()}
	for name, values := range w.Header() {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			t.Errorf("field %q: %q", name, values)
		}
		if slices.Contains(framing, name) && name != "Content-Length" {
			t.Errorf("framing field %q", name)
		}
		if name != "Content-Length" { // that is missing once the response is held back for too long
			sent = append(sent, name+": "+strings.Join(values, "\n"))
		}
	}
	slices.Sort(sent)
	return sent
}
