package instrument

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// specCommand is a command of a script of the specification's test suite, as wast2json describes it.
type specCommand struct {
	Type, Filename, Name, As string
	Line                     int
	ModuleType               string `json:"module_type"`
	Action                   struct {
		Type, Module, Field string
		Args                []specValue
	}
}

type specValue struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// engineDefects are modules that wazero finds valid or not by what the first function is: it takes ref.null func in a
// constant expression to be of that function's type.
var engineDefects = []string{"./table.wast:57", "./table.wast:61"}

// specDirectory is where wazero's source has the suite.
func specDirectory(t testing.TB) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("find wazero's source: %v", err)
	}
	directory := filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest")
	if _, err := os.Stat(directory); err != nil {
		skip(t, "the sources of wazero are vendored without their tests: %v", err)
	}
	return directory
}

// TestSpecification runs the scripts of the specification's test suite on four worlds: the modules as they are,
// rewritten, rewritten so that each check calls the interrupt, and tracked. What functions return, how they trap and which
// modules are invalid must be the same, and what is written to be noted.
func TestSpecification(t *testing.T) {
	directory := specDirectory(t)
	scripts, _ := filepath.Glob(filepath.Join(directory, "*/testdata/*.json"))
	for _, path := range scripts {
		suite := filepath.Base(filepath.Dir(filepath.Dir(path)))
		t.Run(suite+"/"+strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			runScript(t, directory, path)
		})
	}
}

func runScript(t *testing.T, directory, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var script struct {
		Source   string `json:"source_filename"`
		Commands []specCommand
	}
	if err := json.Unmarshal(text, &script); err != nil {
		t.Fatal(err)
	}
	library, err := os.ReadFile(filepath.Join(directory, "testdata/spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	eager := func(wasm []byte) (*Module, error) { return rewrite(wasm, 0) }
	worlds := []*world{newWorld(t, keep, library), newWorld(t, Rewrite, library), newWorld(t, eager, library), newWorld(t, track, library)}
	for i, c := range script.Commands {
		if slices.Contains(engineDefects, fmt.Sprintf("%s:%d", script.Source, c.Line)) {
			continue
		}
		if i+1 < len(script.Commands) && script.Commands[i+1].Type == "register" {
			c.As = script.Commands[i+1].As
		}
		want := worlds[0].do(t, filepath.Dir(path), c)
		for _, w := range worlds[1:] {
			if got := w.do(t, filepath.Dir(path), c); got != want {
				t.Errorf("line %d, %s: got %s, want %s", c.Line, c.Type, got, want)
			}
		}
	}
}

// keep stands for Rewrite and changes nothing.
func keep(wasm []byte) (*Module, error) {
	return &Module{Binary: wasm}, nil
}

// track stands for RewriteTracked and tracks what can be.
func track(wasm []byte) (*Module, error) {
	m, err := RewriteTracked(wasm)
	if err != nil {
		return Rewrite(wasm)
	}
	return m, nil
}

// world is a runtime and the modules that a script has instantiated in it.
type world struct {
	*engine
	rewrite func([]byte) (*Module, error)
	written map[api.Module]string // name of the global, of those that are tracked
	named   map[string]api.Module
	last    api.Module
}

func newWorld(t *testing.T, rewrite func([]byte) (*Module, error), library []byte) *world {
	ctx := context.Background()
	w := &world{newEngine(t, ctx), rewrite, make(map[api.Module]string), make(map[string]api.Module), nil}
	if _, err := w.InstantiateWithConfig(ctx, library, wazero.NewModuleConfig().WithName("spectest")); err != nil {
		t.Fatal(err)
	}
	return w
}

// do carries out a command and says what came of it.
func (w *world) do(t *testing.T, directory string, c specCommand) string {
	ctx := context.Background()
	switch c.Type {
	case "module":
		return w.instantiate(t, directory, c)
	case "assert_return", "action", "assert_trap", "assert_exception":
		return w.invoke(t, ctx, c)
	case "assert_invalid", "assert_malformed", "assert_unlinkable", "assert_uninstantiable":
		if c.ModuleType == "text" {
			return ""
		}
		c.As = ""
		last := w.last
		defer func() { w.last = last }()
		outcome, _, _ := strings.Cut(w.instantiate(t, directory, c), ":")
		return outcome
	}
	return ""
}

func (w *world) instantiate(t *testing.T, directory string, c specCommand) string {
	wasm, err := os.ReadFile(filepath.Join(directory, c.Filename))
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.rewrite(wasm)
	if err != nil {
		return "refused: " + err.Error()
	}
	ctx := context.Background()
	instance, err := w.engine.instantiate(ctx, m, wazero.NewModuleConfig().WithName(c.As).WithStartFunctions())
	if err != nil {
		return "refused: " + err.Error()
	}
	w.last, w.written[instance] = instance, m.Written
	if c.Name != "" {
		w.named[c.Name] = instance
	}
	return "instantiated"
}

func (w *world) invoke(t *testing.T, ctx context.Context, c specCommand) string {
	m := w.last
	if c.Action.Module != "" {
		m = w.named[c.Action.Module]
	}
	if c.Action.Type == "get" {
		return fmt.Sprint(m.ExportedGlobal(c.Action.Field).Get())
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.bits()...)
	}
	f := m.ExportedFunction(c.Action.Field)
	check := checkTracked(m, w.written[m])
	results, err := f.Call(ctx, args...)
	if err := check(); err != nil {
		t.Errorf("line %d: %v", c.Line, err)
	}
	if err != nil {
		cause, _, _ := strings.Cut(err.Error(), "\n") // then comes the stack, in which functions have other numbers
		return cause
	}
	for i, kind := range f.Definition().ResultTypes() {
		if len(results) > i && kind != api.ValueTypeI32 && kind != api.ValueTypeI64 && kind != api.ValueTypeF32 && kind != api.ValueTypeF64 {
			results[i] = min(results[i], 1) // a reference: null or not
		}
	}
	return fmt.Sprint(results)
}

// bits is a value as the engine takes it.
func (v specValue) bits() []uint64 {
	if lanes, ok := v.Value.([]any); ok {
		return vectorBits(v.LaneType, lanes)
	}
	text, _ := v.Value.(string)
	n := number(text)
	if v.Type == "externref" && text != "null" {
		n++ // 0 is null
	}
	if strings.HasSuffix(v.Type, "32") {
		n = uint64(uint32(n))
	}
	return []uint64{n}
}

// number reads a number of any sign. What is none, as null, is 0.
func number(text string) uint64 {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return uint64(n)
	}
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

func vectorBits(laneType string, lanes []any) []uint64 {
	bits := make([]uint64, 2)
	width := 128 / len(lanes)
	for i, lane := range lanes {
		at := i * width
		bits[at/64] |= number(lane.(string)) & (1<<width - 1) << (at % 64)
	}
	return bits
}
