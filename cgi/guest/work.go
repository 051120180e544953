package guest

import "context"

// Work is all that is done for a guest: by the guest itself, and by the gateway before and after it. The gateway's part counts
// as a system call of the guest.
type Work struct {
	meter   meter
	begun   bool
	putBack func() // puts the guest's instance back; nil: that is done
}

// Begin begins the work for a guest of the module. Where guests of the module are likely to compute for long, or many of them
// stand in the way of others, it waits for a turn, or until ctx ends: of many that begin at once, as after a time-out, each would
// else have a slice without. The caller ends the work, with which it waits for nothing.
func (m *Module) Begin(ctx context.Context, w *Work) {
	w.begun = true
	w.meter = meter{turns: m.turns, turn: turn{lane: m.lane}, limit: m.config.CPU, until: slice, start: now()}
	w.meter.restartAt(w.meter.start)
	if m.turns.begin(m.lane, w.meter.start) {
		w.meter.oweTurn()
		w.meter.yield(ctx)
		w.meter.enter()
		w.meter.waited = true
	}
}

// beginGuest begins the guest's own part, for which alone CPU time is limited.
func (w *Work) beginGuest() {
	m := &w.meter
	m.leave()
	m.waited = false
	if m.limit > 0 {
		m.count()
		m.cpu = 0
	}
}

// endGuest ends it.
func (w *Work) endGuest() {
	w.meter.pause()
	w.meter.enter()
}

// Pause is called by the guest's Stdout when it may have to wait, as for the client, before it returns.
func (w *Work) Pause() {
	if !w.meter.waited {
		w.meter.pause()
	}
}

// Remains says whether the guest has left much to put back, up to tens of ms: End does that, so that the answer can leave before.
func (w *Work) Remains() bool { return w.putBack != nil }

// End ends the work, if it was begun. It gives the turn back and notes what was computed, but for what came after the guest,
// which is not worth a look at the clock.
func (w *Work) End() {
	if w.putBack != nil {
		w.putBack()
		w.putBack = nil
	}
	if !w.begun {
		return
	}
	w.begun = false
	m := &w.meter
	m.turns.release(&m.turn)
	m.turn.lane.history.add(m.used)
	m.turn.lane.running.Add(-1)
}
