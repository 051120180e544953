// Package build tells what this program was built of. The shim says and needs the same as the gateway, without the engine linked to it.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"

	_ "github.com/tetratelabs/wazero/api" // a program's list of modules has those alone that it links a package of
	"golang.org/x/sys/cpu"
)

// Version is one line: version, commit, Go's version and the engine's.
func Version() string {
	version, commit := "(devel)", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s, commit %s, %s, %s", version, commit, runtime.Version(), Engine())
}

// Engine names the WebAssembly engine, such as "wazero v1.12.0".
func Engine() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				return "wazero " + dep.Version
			}
		}
	}
	return "wazero"
}

// Target names what code is compiled for: the engine and the processor with all that it can do.
func Target() string {
	return fmt.Sprintf("%s %s/%s %+v %+v", Engine(), runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
}
