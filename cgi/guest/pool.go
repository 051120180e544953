package guest

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxIdleInstances = 256              // instances of a module that wait for a request
	idleTime         = 10 * time.Second // after which one that was not needed is closed
)

// pool keeps the idle instances of a module, in shards with a lock each, so that requests hardly ever meet at one.
type pool struct {
	shards []shard
	armed  atomic.Bool // trim is going to be called
	closed atomic.Bool
	keep   int // instances of a shard that are never closed for want of work
}

type shard struct {
	running sync.WaitGroup // guests that have begun here
	mu      sync.Mutex
	idle    []*instance // guarded by mu; the last one is the warmest
	least   int         // guarded by mu; idle all the time since the last trim
	_       [64]byte    // a cache line apart from the next
}

func newPool() *pool {
	return &pool{shards: make([]shard, runtime.GOMAXPROCS(0))}
}

// begin gives a guest a shard to begin at, and counts it. Any shard will do, so the guest is spared the search for its
// processor's.
func (p *pool) begin() *shard {
	s := &p.shards[rand.IntN(len(p.shards))]
	s.running.Add(1)
	return s
}

// take removes an instance, preferably of home. It is nil when none is idle.
func (p *pool) take(home *shard) *instance {
	i := home.take()
	for n := 0; n < len(p.shards) && i == nil; n++ {
		i = p.shards[n].take()
	}
	return i
}

// put keeps an instance, unless there are enough.
func (p *pool) put(home *shard, i *instance) bool {
	kept := home.put(i, max(maxIdleInstances/len(p.shards), 1))
	if kept {
		p.arm()
	}
	return kept
}

func (p *pool) arm() {
	if !p.armed.Load() && p.armed.CompareAndSwap(false, true) {
		time.AfterFunc(idleTime, p.trim)
	}
}

// trim closes the instances that were idle since the last trim.
func (p *pool) trim() {
	p.armed.Store(false)
	for n := range p.shards {
		s := &p.shards[n]
		closeAll(s.drop(p.keep))
		if s.len() > p.keep && !p.closed.Load() {
			p.arm()
		}
	}
}

// close closes all instances when all guests have ended.
func (p *pool) close() {
	p.closed.Store(true)
	p.wait()
	for n := range p.shards {
		for i := p.shards[n].take(); i != nil; i = p.shards[n].take() {
			i.close()
		}
	}
}

// wait waits until all guests have ended.
func (p *pool) wait() {
	for n := range p.shards {
		p.shards[n].running.Wait()
	}
}

func closeAll(instances []*instance) {
	for _, i := range instances {
		i.close()
	}
}

func (s *shard) take() *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == 0 {
		return nil
	}
	last := len(s.idle) - 1
	i := s.idle[last]
	s.idle[last] = nil
	s.idle = s.idle[:last]
	s.least = min(s.least, last)
	return i
}

func (s *shard) put(i *instance, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) >= most {
		return false
	}
	s.idle = append(s.idle, i)
	return true
}

// drop removes the coldest instances, those that were idle since the last drop, but for so many that stay.
func (s *shard) drop(keep int) (dropped []*instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max(min(s.least, len(s.idle)-keep), 0)
	dropped = append(dropped, s.idle[:n]...)
	rest := copy(s.idle, s.idle[n:])
	clear(s.idle[rest:])
	s.idle = s.idle[:rest]
	s.least = rest
	return dropped
}

func (s *shard) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.idle)
}
