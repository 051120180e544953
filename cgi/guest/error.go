package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ExitError says that a guest ended by itself with a status other than 0.
type ExitError struct {
	Code uint32
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("guest exited with status %d", e.Code)
}

// LimitError says that a guest was stopped because it had computed too long.
type LimitError struct {
	CPU time.Duration // that it was given
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("guest used up its CPU time of %v", e.CPU)
}

const stackOverflow = "stack overflow" // as the engine calls it

// TrapError says that the engine ended a guest that did something it must not.
type TrapError struct {
	Reason string // "unreachable", "stack overflow", "out of bounds memory access"...
	Trace  string // the guest's calls, innermost first, one a line; empty for a stack overflow
}

func (e *TrapError) Error() string {
	return "guest trapped: " + e.Reason
}

// EntrypointError says that a module lacks the function that a call names, or that it cannot be called without arguments.
type EntrypointError struct {
	Module     string
	Entrypoint string
	Reason     string
}

func (e *EntrypointError) Error() string {
	return fmt.Sprintf("module %q: entrypoint %q %s", e.Module, e.Entrypoint, e.Reason)
}

// newTrapError takes the engine's message apart: "wasm error: " and the reason, then "wasm stack trace:" and the calls.
func newTrapError(err error) *TrapError {
	reason, trace, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	if _, r, ok := strings.Cut(reason, "wasm error: "); ok {
		reason = r
	}
	return &TrapError{Reason: reason, Trace: strings.ReplaceAll(trace, "\t", "")}
}

// stopped is the error of a guest that ended because its context did.
// It matches both the kind (context.Canceled, context.DeadlineExceeded) and the cause.
func stopped(ctx context.Context) error {
	kind, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, kind) {
		return fmt.Errorf("guest stopped: %w", cause)
	}
	return fmt.Errorf("guest stopped: %w: %w", kind, cause)
}
