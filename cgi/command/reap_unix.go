//go:build unix

package command

import (
	"os"
	"os/signal"
	"syscall"
)

// reapOrphans collects, for the rest of the process's life, the children it inherits as the first process of a container.
// It has none of its own.
func reapOrphans() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			for {
				pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
				if err == syscall.EINTR {
					continue
				}
				if err != nil || pid <= 0 {
					break
				}
			}
		}
	}()
}
