//go:build linux

package machine

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// What a log may show of itself: the message of a failed test must be found beside it.
const (
	maxFaults = 20  // lines
	maxFault  = 300 // bytes of a line
)

var (
	routine = regexp.MustCompile(`level=(trace|debug|info)\b|"level":"(debug|info)"|^I\d{4} `) // of logrus, zap and klog
	crash   = regexp.MustCompile(`^(panic|fatal error|unexpected fault address|SIG[A-Z]+):?`)
)

// ShowFaults prints the last warnings and errors of a program's log, or how it crashed. They come before the report of
// go test on the test that has failed, which ends the output.
func ShowFaults(program, log string) {
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(log), "\n"), routine.MatchString)
	if start := slices.IndexFunc(lines, crash.MatchString); start >= 0 {
		lines = lines[start:min(start+maxFaults, len(lines))]
	}
	fmt.Fprintf(os.Stderr, "warnings and errors of %s:\n", program)
	for _, line := range lines[max(0, len(lines)-maxFaults):] {
		fmt.Fprintf(os.Stderr, "\t%.*s\n", maxFault, line)
	}
}
