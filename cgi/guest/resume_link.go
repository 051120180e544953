package guest

import (
	"context"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"containerd-shim-wagi-v1/cgi/guest/instrument"
	"containerd-shim-wagi-v1/cgi/wat"
)

// The engine gives a snapshot of a stack back once: whoever is put back to it has to make the next one before he goes on.
// So where a guest may come to its resume point there are a few instructions between it and the gateway that ask again
// when the answer is again. They are in modules that stand, with all other functions unchanged, for those that the guest
// imports; the gateway's own have the prefix in their names.
const (
	hostPrefix = "host:"
	resumeName = "resume" // of the import wagi.resume
	enterName  = "enter"
	guestName  = "guest"
	runName    = "run"
)

// again is what a system call answers a guest that was put back to its resume point: an i32.
const again = 1<<32 - 1

// isPoint says whether a guest may come to its resume point in a function that it imports.
func isPoint(module, name string) bool {
	return name == "path_open" && (module == preview1 || module == unstable) || isResume(module, name)
}

func isResume(module, name string) bool {
	return module == instrument.InterruptModule && name == resumeName
}

// crossing is a system call in which a guest may come to its resume point. It is an api.GoModuleFunction.
type crossing struct {
	function
	isPoint func(*guest, params) bool // for a guest that starts
}

// crossings are by the name of what the guest imports.
var crossings = map[string]crossing{
	"path_open": {preview1Functions["path_open"], (*guest).opensRequest},
	resumeName:  {function{call: func(*guest, params) error { return nil }}, func(*guest, params) bool { return true }},
}

// Call runs the function for the guest that ctx carries. It is called by the module between.
func (c crossing) Call(ctx context.Context, _ api.Module, stack []uint64) {
	g := guestOf(ctx)
	module := g.instance.module
	g.memory = module.Memory() // as isPoint reads a path
	if c.arrives(g, stack) {
		g.arrive(experimental.GetSnapshotter(ctx))
	}
	c.function.Call(ctx, module, stack)
}

// arrives says whether the guest is at its resume point. One that repeats a start is when it has got all answers.
func (c crossing) arrives(g *guest, p params) bool {
	switch {
	case g.phase == awake:
		return false
	case g.phase == waking:
		return true
	case g.journal.repeats:
		return g.journal.finished()
	}
	return c.isPoint(g, p)
}

// goOn is wagi.resume for a guest that has no resume point: it goes on.
func goOn(context.Context, api.Module, []uint64) {}

// hostModule is the name of the gateway's module for one that the guest imports.
func (m *Module) hostModule(name string) string {
	if m.config.Resume {
		return hostPrefix + name
	}
	return name
}

// enter is the first that a guest calls: it puts the guest back to the resume point once there is a snapshot.
func enter(ctx context.Context, _ []uint64) {
	g := guestOf(ctx)
	if s := g.instance.snapshot; s != nil {
		s.Restore([]uint64{again})
	}
}

// linkBetween makes the modules between the guest and the gateway's functions, of those that the guest imports.
func (m *Module) linkBetween(ctx context.Context) error {
	imports := map[string][]api.FunctionDefinition{}
	for _, f := range m.compiled.ImportedFunctions() {
		module, _, _ := f.Import()
		imports[module] = append(imports[module], f)
	}
	for module, functions := range imports {
		compiled, err := m.compileText(ctx, betweenText(module, functions))
		if err != nil {
			return err
		}
		if _, err := m.runtime.InstantiateModule(ctx, compiled, instanceConfig().WithName(module)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Module) compileText(ctx context.Context, text string) (wazero.CompiledModule, error) {
	binary, err := wat.Assemble([]byte(text))
	if err != nil {
		return nil, err
	}
	compiled, err := m.runtime.CompileModule(ctx, binary)
	if err != nil && m.cache != nil { // the engine cannot write to its cache, but has the code
		compiled, err = m.runtime.CompileModule(ctx, binary)
	}
	return compiled, err
}

// betweenText is the module, in the text format, that stands for one that the guest imports.
func betweenText(module string, functions []api.FunctionDefinition) string {
	var imports, points strings.Builder
	seen := map[string]bool{}
	for n, f := range functions {
		_, name, _ := f.Import()
		if seen[name] {
			continue
		}
		seen[name] = true
		point := isPoint(module, name)
		fmt.Fprintf(&imports, "(import %s %s (func $%d %s))\n", quote(hostPrefix+module), quote(name), n, typeText(f, point))
		if point {
			points.WriteString(pointText(name, n, f))
		} else {
			fmt.Fprintf(&imports, "(export %s (func $%d))\n", quote(name), n)
		}
	}
	return "(module\n" + imports.String() + points.String() + ")"
}

// pointText is a function that calls the imported one until its answer is another than again.
func pointText(name string, n int, f api.FunctionDefinition) string {
	var b strings.Builder
	fmt.Fprintf(&b, "(func (export %s) %s (local $answer i32)\n(loop $again\n", quote(name), typeText(f, false))
	for p := range f.ParamTypes() {
		fmt.Fprintf(&b, "local.get %d\n", p)
	}
	fmt.Fprintf(&b, "call $%d local.tee $answer i32.const -1 i32.eq br_if $again)\n", n)
	if len(f.ResultTypes()) > 0 {
		b.WriteString("local.get $answer")
	}
	b.WriteString(")\n")
	return b.String()
}

// typeText is the type of a function; the gateway's side of a point has an answer in any case.
func typeText(f api.FunctionDefinition, answers bool) string {
	var b strings.Builder
	for _, t := range f.ParamTypes() {
		fmt.Fprintf(&b, "(param %s)", api.ValueTypeName(t))
	}
	if answers || len(f.ResultTypes()) > 0 {
		b.WriteString("(result i32)")
	}
	return b.String()
}

// runnerText is the module that calls a guest's entrypoint.
func runnerText(entrypoint string) string {
	return fmt.Sprintf("(module (import %s %s (func $enter)) (import %q %s (func $entrypoint))\n(func (export %q) call $enter call $entrypoint))",
		quote(hostPrefix+instrument.InterruptModule), quote(enterName), guestName, quote(entrypoint), runName)
}

// quote makes a name of any bytes a string of the text format.
func quote(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		fmt.Fprintf(&b, "\\%02x", c)
	}
	return `"` + b.String() + `"`
}
