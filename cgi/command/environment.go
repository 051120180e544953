package command

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi"
)

// inContainer is whether the shim started this process.
func inContainer() bool {
	return os.Getenv("WAGI_CONTAINER") != ""
}

// containerEnv is the environment of the container as guests see it: without what is the gateway's own.
func containerEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "PATH=") || strings.HasPrefix(e, "HOSTNAME=") || strings.HasPrefix(e, "WAGI_")
	})
}

// parseEnv reads the NAME=VALUE of --env. Quotes around all of a value are dropped.
func parseEnv(s string) (string, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return "", usageError{fmt.Errorf("--env %q: want NAME=VALUE", s)}
	}
	for _, quote := range []string{`"`, `'`} {
		if strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
			value = strings.Trim(value, quote)
			break
		}
	}
	return name + "=" + value, nil
}

var envLine = regexp.MustCompile(`^(?:export )?([0-9A-Za-z_-]+)=(?:"([^"]*)"|([^"]*))$`)

// readEnvFile reads lines [export ]NAME=VALUE or NAME="VALUE". Others have no effect, as in WAGI; those that look meant are logged.
func readEnvFile(file string) ([]string, error) {
	data, err := cgi.ReadConfigFile(file)
	if err != nil {
		return nil, fmt.Errorf("--env-file: %w", err)
	}
	var env []string
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		match := envLine.FindStringSubmatch(line)
		switch trimmed := strings.TrimSpace(line); {
		case match != nil:
			env = append(env, match[1]+"="+match[2]+match[3])
		case trimmed != "" && trimmed[0] != '#':
			log.L.WithField("file", file).WithField("line", number).Warn("line of --env-file has no effect: it is not NAME=VALUE")
		}
	}
	return env, nil
}
