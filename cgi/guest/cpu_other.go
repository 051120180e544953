//go:build !linux

package guest

import "time"

var begin = time.Now()

// threadTime stands for the CPU time of the thread: it goes on while others use the processor.
func threadTime() time.Duration {
	return time.Since(begin)
}
