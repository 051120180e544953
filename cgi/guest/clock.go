package guest

import (
	"encoding/binary"
	"math"
	"time"
)

// Clocks of WASI.
const (
	clockRealtime = iota
	clockMonotonic
	clockProcessCPU
	clockThreadCPU
)

// now reads a clock in ns. A guest's CPU time cannot be told from its neighbours': it is the time since the guest's start.
func (g *guest) now(clock uint32) (uint64, error) {
	switch clock {
	case clockRealtime:
		return uint64(time.Now().UnixNano()), nil
	case clockMonotonic, clockProcessCPU, clockThreadCPU:
		return g.clock + uint64(now()-g.meter.start) + 1, nil // Go guests refuse a clock at 0
	}
	return 0, errnoInval
}

func (g *guest) clockResGet(p params) error {
	if _, err := g.now(p.u32(0)); err != nil {
		return err
	}
	return g.putU64(p.u32(1), 1)
}

func (g *guest) clockTimeGet(p params) error {
	now, err := g.now(p.u32(0))
	if err != nil {
		return err
	}
	return g.putU64(p.u32(2), now)
}

// sleep waits for d or until the guest is to stop.
func (g *guest) sleep(d time.Duration) {
	if d == 0 {
		return
	}
	g.meter.wait()
	defer g.meter.restart()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.ctx.Done():
	}
}

// A subscription is 48 bytes: userdata, type and, from 16 on, either a descriptor or clock, timeout, precision and flags.
// In wasi_unstable it is 56: an identifier of 8 bytes stands before the clock.
const (
	subscriptionSize         = 48
	subscriptionSizeUnstable = 56
	maxSubscriptions         = 4096

	eventSize    = 32
	eventClock   = 0
	eventFdRead  = 1
	eventFdWrite = 2

	subscriptionWork = 1 << 6 // in ns, to look at one
)

func (g *guest) pollOneoff(p params) error {
	return g.poll(p, subscriptionSize)
}

func (g *guest) pollOneoffUnstable(p params) error {
	return g.poll(p, subscriptionSizeUnstable)
}

// poll waits until one of the subscribed events is there and writes all that are.
// Descriptors always are: a stream that has nothing yet blocks the read that follows.
func (g *guest) poll(p params, size uint32) error {
	count := p.u32(2)
	if count == 0 || count > maxSubscriptions {
		return errnoInval
	}
	subscriptions, err := g.array(p.u32(0), count, size)
	if err != nil {
		return err
	}
	events, err := g.array(p.u32(1), count, eventSize)
	if err != nil {
		return err
	}
	wait, err := g.shortestWait(subscriptions, size)
	if err != nil {
		return err
	}
	g.sleep(wait)
	g.worked(int(count) * subscriptionWork)
	n := uint32(0)
	for ; len(subscriptions) > 0; subscriptions = subscriptions[size:] {
		event := events[n*eventSize:][:eventSize]
		if g.event(subscriptions[:size], event, wait) {
			n++
		}
	}
	return g.putU32(p.u32(3), n)
}

// shortestWait is the time until the first of the subscribed events.
func (g *guest) shortestWait(subscriptions []byte, size uint32) (time.Duration, error) {
	shortest := time.Duration(math.MaxInt64)
	for ; len(subscriptions) > 0; subscriptions = subscriptions[size:] {
		wait, err := g.wait(subscriptions[:size])
		if err != nil {
			return 0, err
		}
		shortest = min(shortest, wait)
	}
	return shortest, nil
}

// wait is the time until a subscribed event.
func (g *guest) wait(subscription []byte) (time.Duration, error) {
	switch subscription[8] {
	case eventClock:
	case eventFdRead, eventFdWrite:
		return 0, nil
	default:
		return 0, errnoInval
	}
	const absolute = 1
	clock := subscription[len(subscription)-subscriptionSize:]
	now, err := g.now(binary.LittleEndian.Uint32(clock[16:]))
	if err != nil {
		return 0, err
	}
	timeout := binary.LittleEndian.Uint64(clock[24:])
	if binary.LittleEndian.Uint16(clock[40:])&absolute != 0 {
		timeout -= min(now, timeout)
	}
	return time.Duration(min(timeout, math.MaxInt64)), nil
}

// event writes the event of a subscription when no more than waited is needed for it.
func (g *guest) event(subscription, event []byte, waited time.Duration) bool {
	if wait, err := g.wait(subscription); err != nil || wait > waited {
		return false
	}
	kind, userdata := subscription[8], binary.LittleEndian.Uint64(subscription)
	fd := binary.LittleEndian.Uint32(subscription[16:])
	clear(event)
	binary.LittleEndian.PutUint64(event, userdata)
	event[10] = kind
	if kind == eventClock {
		return true
	}
	_, err := g.lookup(fd)
	binary.LittleEndian.PutUint16(event[8:], uint16(errnoOf(err)))
	binary.LittleEndian.PutUint64(event[16:], 1) // bytes at least
	return true
}
