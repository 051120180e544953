package wat

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// specCommand is a command of a script of the specification's test suite, as
// it is described beside the modules made from it by other assemblers.
type specCommand struct {
	Type, Filename string
	Line           int
	ModuleType     string `json:"module_type"`
}

// TestSpecification assembles the modules of the specification's test suite,
// which comes with wazero's source.
func TestSpecification(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("find wazero's source: %v", err)
	}
	suites := filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest/*/testdata/*.json")
	scripts, _ := filepath.Glob(suites)
	if len(scripts) == 0 {
		skip(t, "the sources of wazero are vendored without their tests: no %s", suites)
	}
	for _, path := range scripts {
		suite := filepath.Base(filepath.Dir(filepath.Dir(path)))
		name := suite + "/" + strings.TrimSuffix(filepath.Base(path), ".json")
		t.Run(name, func(t *testing.T) { testScript(t, name, path) })
	}
}

func testScript(t *testing.T, name, path string) {
	var script struct{ Commands []specCommand }
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &script); err != nil {
		t.Fatal(err)
	}
	modules := scriptModules(t, strings.TrimSuffix(path, ".json")+".wast")
	for _, c := range script.Commands {
		if c.Filename == "" {
			continue
		}
		file, err := os.ReadFile(filepath.Join(filepath.Dir(path), c.Filename))
		if err != nil {
			t.Fatal(err)
		}
		if c.ModuleType == "text" {
			if _, err := Assemble(file); err == nil {
				t.Errorf("line %d: malformed module was assembled: %s", c.Line, file)
			}
			continue
		}
		i := slices.IndexFunc(modules, func(m scriptModule) bool { return m.last >= c.Line })
		err = testModule(c, modules[i].source, file, !slices.Contains(byWasmTools, filepath.Dir(name)))
		if reason, ok := exceptions[fmt.Sprintf("%s:%d", name, c.Line)]; ok != (err != nil) {
			t.Errorf("line %d: %v %s\n%s", c.Line, err, reason, modules[i].source)
		}
		modules = modules[i+1:]
	}
}

// exceptions are modules that must differ from what the suite's makers had, by
// script and line.
var exceptions = map[string]string{
	"exception-handling/tag:30":       "wazero has no recursive types",
	"exception-handling/tag:40":       "wazero has no recursive types",
	"exception-handling/tag:49":       "wazero has no recursive types",
	"exception-handling/try_table:10": "an empty else is left out, as by wabt",
	"v1/data:5":                       "before release 2.0, the name of a data segment was that of its memory",
	"v1/elem:4":                       "before release 2.0, the name of an element segment was that of its table",
	"v2/select:324":                   "an empty (result) is not the same as none: the module stays invalid",
}

// byWasmTools are the suites whose modules are made by wasm-tools, not by wabt:
// it keeps the form in which element segments are written, we and wabt choose
// the shortest.
var byWasmTools = []string{"exception-handling", "typed-function-references"}

// testModule assembles source and compares the result with the file, with or
// without element segments. What is invalid may be an error instead.
func testModule(c specCommand, source string, file []byte, elements bool) error {
	got, err := Assemble([]byte(source))
	if err != nil && c.Type == "assert_invalid" {
		return nil
	}
	if err != nil {
		return err
	}
	if got, want := comparable(got, elements), comparable(file, elements); !bytes.Equal(got, want) {
		return fmt.Errorf("\n got %x\nwant %x", got, want)
	}
	return nil
}

// comparable cuts out the name section, which the assembler does not write,
// and element segments if they are not to be compared.
func comparable(module []byte, elements bool) (rest []byte) {
	for pos := len(magic) + 4; pos < len(module); {
		size, n := binary.Uvarint(module[pos+1:])
		start := pos + 1 + max(n, 0)
		end := start + int(size)
		if n <= 0 || end > len(module) {
			return module
		}
		isNames := module[pos] == 0 && bytes.HasPrefix(module[start:], []byte("\x04name"))
		if !isNames && (elements || module[pos] != sectionElement) {
			rest = append(rest, module[pos:end]...)
		}
		pos = end
	}
	return rest
}

// scriptModule is a module as it stands in a script.
type scriptModule struct {
	source string
	last   int // line of its keyword
}

// scriptModules returns the modules of a script, which may be one module
// without "(module …)" around it.
func scriptModules(t *testing.T, path string) (modules []scriptModule) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := parser{src: string(src)}
	p.tokens = tokenize(p.src)
	for ; p.peek().kind != kindEnd; p.pos++ {
		if p.isOpen("module") {
			open, keyword := p.peek(), p.tokens[p.pos+1]
			source := p.src[open.start:p.tokens[open.match].end]
			modules = append(modules, scriptModule{source, 1 + strings.Count(p.src[:keyword.start], "\n")})
		}
	}
	if modules == nil {
		modules = []scriptModule{{p.src, 1}}
	}
	return modules
}
