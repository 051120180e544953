package instrument

import (
	"bytes"
	"strings"
	"testing"
)

// The ends of loops that take 16 turns: if local 0 is 0 before, if it is -16, and by another local.
const (
	count   = `(br_if 0 (i32.ne (local.tee 0 (i32.add (local.get 0) (i32.const 4))) (i32.const 64)))`
	countTo = `(br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const 1))))`
	another = `(br_if 0 (i32.ne (local.tee 1 (i32.add (local.get 0) (i32.const 4))) (i32.const 64)))`
)

// TestTurns looks for the checks of loops.
func TestTurns(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		checks int
	}{
		"up":                     {`(local.set 0 (i32.const 0)) (loop ` + count + `)`, 0},
		"up to 0":                {`(local.set 0 (i32.const -16)) (loop ` + countTo + `)`, 0},
		"down":                   {`(local.set 0 (i32.const 9)) (loop (br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const -1)))))`, 0},
		"with branches in it":    {`(local.set 0 (i32.const 0)) (loop (block (br_if 0 (local.get 1)) (nop)) ` + count + `)`, 0},
		"others set before":      {`(local.set 0 (i32.const 0)) (local.set 1 (i32.const 1)) (block (loop ` + count + `))`, 0},
		"in a loop":              {`(loop (local.set 0 (i32.const 0)) (loop ` + count + `) (br_if 0 (local.get 1)))`, 1},
		"with a loop in it":      {`(local.set 0 (i32.const 0)) (loop (loop) ` + count + `)`, 2},
		"nothing known before":   {`(loop ` + count + `)`, 1},
		"not constant before":    {`(local.set 0 (local.get 1)) (loop ` + count + `)`, 1},
		"set twice before":       {`(local.set 0 (i32.const 0)) (local.set 0 (local.get 1)) (loop ` + count + `)`, 1},
		"set on one way before":  {`(block (br_if 0 (local.get 1)) (local.set 0 (i32.const 0))) (loop ` + count + `)`, 1},
		"set in one arm before":  {`(if (local.get 1) (then (local.set 0 (i32.const 0))) (else (loop ` + count + `)))`, 1},
		"set before a loop":      {`(local.set 0 (i32.const 0)) (loop (loop ` + count + `) (br_if 0 (local.get 1)))`, 2},
		"set in it":              {`(local.set 0 (i32.const 0)) (loop (if (local.get 1) (then (local.set 0 (i32.const 0)))) ` + count + `)`, 1},
		"another counted":        {`(local.set 0 (i32.const 0)) (loop ` + another + `)`, 1},
		"back before the end":    {`(local.set 0 (i32.const 0)) (loop (br_if 0 (local.get 1)) ` + count + `)`, 1},
		"back by table":          {`(local.set 0 (i32.const 0)) (loop (block (br_table 0 1 (local.get 1))) ` + count + `)`, 1},
		"out of it":              {`(local.set 0 (i32.const 0)) (block (loop (br_if 1 (local.get 1)) ` + count + `))`, 1},
		"return":                 {`(local.set 0 (i32.const 0)) (loop (if (local.get 1) (then (return))) ` + count + `)`, 1},
		"call":                   {`(local.set 0 (i32.const 0)) (loop (call $f) ` + count + `)`, 1},
		"passes the end":         {`(local.set 0 (i32.const 2)) (loop ` + count + `)`, 1},
		"there before the first": {`(local.set 0 (i32.const 64)) (loop ` + count + `)`, 1},
		"long way round":         {`(local.set 0 (i32.const 68)) (loop ` + count + `)`, 1},
		"step of 0":              {`(local.set 0 (i32.const 9)) (loop (br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const 0)))))`, 1},
		"too long":               {`(local.set 0 (i32.const 0)) (loop ` + strings.Repeat("(nop)", maxCounted/16) + count + `)`, 1},
	} {
		m, err := Rewrite(assemble(t, `(func $f) (func (local i32 i32) `+c.text+`)`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := bytes.Count(m.Binary, []byte{opI32LtS, opBrIf, 1}); got != c.checks {
			t.Errorf("%s: %d checks, not %d", name, got, c.checks)
		}
	}
}
