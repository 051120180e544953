package command

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"
)

// wagi run ends by a signal as a shell tells of it.
func TestRunEndsBySignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			cmd := exec.Command("wagi", "run", "../testdata/behave.wat", "first") // spins after the first line
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // its status is not 0
			if got, want := cmd.ProcessState.ExitCode(), 128+int(signal); got != want {
				t.Errorf("exit status %d, want %d", got, want)
			}
		})
	}
}
