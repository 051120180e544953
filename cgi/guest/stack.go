package guest

import (
	"reflect"

	"github.com/tetratelabs/wazero/api"
)

// The engine keeps a guest's calls on a stack of its own, which it makes longer whenever it is full, up to some 100 MB for
// each guest. A guest stops when its stack is longer than a part of the memory that it may have. So long a stack is not
// kept for the next guest.
const (
	stackShare = 8         // of the memory that a guest may have
	leastStack = 4 << 20   // bytes that any guest may have
	keptStack  = 256 << 10 // bytes
)

// stack is the engine's stack of a function that runs, and of those that it calls.
type stack struct {
	bytes    reflect.Value // the stack
	handlers reflect.Value // try_tables that are open: the engine keeps a copy of the stack for each
}

// stackOf finds the stack, of which the engine tells nothing, in the engine's own fields. An engine that interprets has
// another one, for 2000 calls at most.
func stackOf(f api.Function) *stack {
	engine := reflect.ValueOf(f).Elem()
	s := &stack{engine.FieldByName("stack"), engine.FieldByName("tryHandlers")}
	if !s.handlers.IsValid() {
		return &stack{}
	}
	return s
}

// size is the stack's length in bytes, with its copies.
func (s *stack) size() uint64 {
	if !s.bytes.IsValid() {
		return 0
	}
	return uint64(s.bytes.Len()) * uint64(1+s.handlers.Len())
}

// rest is what of the stack is left when it is not used any more, in bytes. The engine keeps copies though it has no use for them.
func (s *stack) rest() uint64 {
	if !s.bytes.IsValid() {
		return 0
	}
	return uint64(s.bytes.Len()) * uint64(1+s.handlers.Cap())
}

// large says whether the stack is too long to be kept.
func (s *stack) large() bool {
	return s.rest() > keptStack
}

// maxStack is how long the stack of a guest may be, in bytes.
func (m *Module) maxStack() uint64 {
	return max(m.limit/stackShare, leastStack)
}

// invoke calls a function for the guest, which is stopped when its stack is too long.
func (g *guest) invoke(f api.Function, s *stack) error {
	g.stack = s
	return f.CallWithStack(&g.engine, nil)
}
