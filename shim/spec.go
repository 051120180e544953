//go:build linux

package shim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// modulesFile is where an image keeps its configuration when no argument names another.
	modulesFile = "/modules.toml"
	// serveAnnotation makes a container whose command is a WebAssembly file serve with it, unless it is "false".
	serveAnnotation = "io.containerd.wagi.v1.serve"
	// listenAddress is where a container's gateway listens unless WAGI_LISTEN or PORT say otherwise.
	listenAddress = "0.0.0.0:3000"

	// The gateway is mounted in the tmpfs that runc makes for /dev, so that the image's file system stays as it is
	// and may be read-only. Without that tmpfs it is mounted in the rootfs.
	gatewayInDev  = "/dev/wagi"
	gatewayInRoot = "/.wagi/wagi"
)

// kind says what a container runs.
type kind int

const (
	plain    kind = iota // whatever its command is, untouched
	gateway              // the gateway with a modules.toml, or with one WebAssembly file
	wasiFile             // one WebAssembly file as a WASI command
)

// inits are what "docker run --init" and "nerdctl run --init" mount in a container and put before its command.
var inits = []string{"/sbin/docker-init", "/sbin/tini"}

// splitInit parts the container's command from the init that its caller put before it; mostly there is none.
func splitInit(spec *specs.Spec) (init, command []string) {
	args := spec.Process.Args
	if len(args) < 3 || args[1] != "--" || !slices.Contains(inits, args[0]) {
		return nil, args
	}
	if !slices.ContainsFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == args[0] }) {
		return nil, args // a program of the image
	}
	return args[:2], args[2:]
}

// classifyCommand decides by the spec alone what a container is; known is false when that needs a look into its
// file system. A CRI sandbox is never ours. A first argument names a modules.toml or a WebAssembly file by its ending.
func classifyCommand(spec *specs.Spec) (k kind, known bool) {
	if spec.Annotations["io.kubernetes.cri.container-type"] == "sandbox" || spec.Process == nil || len(spec.Process.Args) == 0 {
		return plain, true
	}
	_, command := splitInit(spec)
	switch arg := command[0]; {
	case isConfig(arg), isServe(command):
		return gateway, true
	case isWasm(arg) && serves(spec.Annotations):
		return gateway, true
	case isWasm(arg):
		return wasiFile, true
	}
	return plain, false
}

func isConfig(arg string) bool {
	return strings.HasSuffix(arg, ".toml") && !isFlag(arg)
}

func isWasm(arg string) bool {
	return (strings.HasSuffix(arg, ".wasm") || strings.HasSuffix(arg, ".wat")) && !isFlag(arg)
}

// shellWords are the words of "sh -c LINE" where the line is nothing but words; else there are none. The "|| exit 1"
// that many a health check ends in adds nothing to wagi's exit status.
func shellWords(args []string) []string {
	if len(args) != 3 || path.Base(args[0]) != "sh" || args[1] != "-c" {
		return nil
	}
	line := strings.TrimSuffix(strings.TrimSpace(args[2]), "|| exit 1")
	if strings.ContainsFunc(line, isShellSyntax) {
		return nil
	}
	return strings.Fields(line)
}

func isShellSyntax(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" /.,:-_=+@%", r)
}

func isFlag(arg string) bool {
	return strings.HasPrefix(arg, "-")
}

// isServe tells whether args begin with --serve FILE.
func isServe(args []string) bool {
	return len(args) > 1 && args[0] == "--serve"
}

func serves(annotations map[string]string) bool {
	value, ok := annotations[serveAnnotation]
	return ok && value != "false"
}

// gatewayArgs is the gateway's command line for a container whose command is args: what a person would type.
func gatewayArgs(wagi string, args []string) []string {
	switch arg := args[0]; {
	case isServe(args):
		return append([]string{wagi}, args...)
	case isWasm(arg):
		return append([]string{wagi, "--serve"}, args...)
	case isConfig(arg):
		return append([]string{wagi, "-c"}, args...)
	case isFlag(arg):
		return append([]string{wagi, "-c", modulesFile}, args...)
	}
	return append([]string{wagi, "-c", modulesFile}, args[1:]...)
}

// wasiArgs is the command line that runs a WebAssembly file with the container's whole file system.
func wasiArgs(wagi string, args []string) []string {
	return append([]string{wagi, "run", "--dir", "/", "--"}, args...)
}

// gatewayEnv is what the gateway's environment has beside the container's own. WAGI_COMMAND is a command that was meant to be
// a program, perhaps: the gateway warns of it. "/" is what images say where one must be named.
func gatewayEnv(env, args []string) []string {
	added := []string{"WAGI_CONTAINER=1"}
	if arg := args[0]; arg != "/" && !isFlag(arg) && !isConfig(arg) && !isWasm(arg) {
		added = append(added, "WAGI_COMMAND="+arg)
	}
	if !slices.ContainsFunc(env, func(kv string) bool {
		return strings.HasPrefix(kv, "WAGI_LISTEN=") || strings.HasPrefix(kv, "PORT=")
	}) {
		added = append(added, "WAGI_LISTEN="+listenAddress)
	}
	return added
}

// gatewayPath is where the gateway goes in a container with these mounts.
func gatewayPath(mounts []specs.Mount) string {
	for _, m := range slices.Backward(mounts) {
		if path.Clean(m.Destination) == "/dev" {
			if m.Type == "tmpfs" {
				return gatewayInDev
			}
			break
		}
	}
	return gatewayInRoot
}

// mountedGateway is the path of the gateway in a container whose spec was rewritten; empty in a plain one.
func mountedGateway(spec *specs.Spec) string {
	for _, m := range slices.Backward(spec.Mounts) {
		if m.Destination == gatewayInDev || m.Destination == gatewayInRoot {
			return m.Destination
		}
	}
	return ""
}

// rewriteSpec gives config with program, a file of the host, as the process of a container of kind k, and with the socket compiler, if it
// is not empty. Keys that are unknown to us stay as they are.
func rewriteSpec(config []byte, spec *specs.Spec, k kind, program, compiler string) ([]byte, error) {
	wagi := gatewayPath(spec.Mounts)
	init, command := splitInit(spec)
	args, env := wasiArgs(wagi, command), slices.Clone(spec.Process.Env)
	if k == gateway {
		args = gatewayArgs(wagi, command)
		env = append(env, gatewayEnv(env, command)...)
	}
	added := []any{bindMount(program, wagi)}
	if compiler != "" {
		added = append(added, bindMount(compiler, wagi+".compiler"))
		env = append(env, "WAGI_COMPILER="+wagi+".compiler")
	}
	if limit := memoryLimit(spec); limit > 0 {
		env = append(env, fmt.Sprintf("WAGI_MEMORY_LIMIT=%d", limit))
	}
	return edit(config, func(doc map[string]any) error {
		process, ok := doc["process"].(map[string]any)
		if !ok {
			return fmt.Errorf("config.json: no process")
		}
		process["args"], process["env"] = slices.Concat(init, args), env
		mounts, _ := doc["mounts"].([]any)
		doc["mounts"] = append(mounts, added...)
		return nil
	})
}

// memoryLimit is that of the container in bytes, which not all containers see; 0: none.
func memoryLimit(spec *specs.Spec) int64 {
	if spec.Linux == nil || spec.Linux.Resources == nil || spec.Linux.Resources.Memory == nil || spec.Linux.Resources.Memory.Limit == nil {
		return 0
	}
	return *spec.Linux.Resources.Memory.Limit
}

func bindMount(source, destination string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: []string{"bind", "ro", "nosuid", "nodev"}}
}

// rewriteProcess gives the process of an exec with args instead of its own and with env added.
func rewriteProcess(process []byte, args, env []string) ([]byte, error) {
	return edit(process, func(doc map[string]any) error {
		own, _ := doc["env"].([]any)
		for _, kv := range env {
			own = append(own, kv)
		}
		doc["args"], doc["env"] = args, own
		return nil
	})
}

// edit changes a JSON object without touching what change does not, numbers of any size included.
func edit(object []byte, change func(map[string]any) error) ([]byte, error) {
	var doc map[string]any
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber()
	if err := decoder.Decode(&doc); err != nil {
		return nil, err
	}
	if err := change(doc); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}
