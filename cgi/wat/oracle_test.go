package wat

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// skip skips the test, or with E2E=1 fails it.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// wat2wasm returns the path of wabt's assembler.
func wat2wasm(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("wat2wasm")
	if err != nil {
		skip(t, "the oracle is missing, install Debian's package wabt: %v", err)
	}
	return path
}

// compare assembles source with wat2wasm too, which must give the same bytes.
func compare(t *testing.T, source string) {
	t.Helper()
	cmd := exec.Command(wat2wasm(t), "--no-check", "--enable-threads", "--enable-tail-call", "--enable-extended-const",
		"--enable-exceptions", "--enable-multi-memory", "--enable-annotations", "--output=-", "-")
	cmd.Stdin = strings.NewReader(source)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	want, err := cmd.Output()
	if err != nil {
		t.Fatalf("wat2wasm: %v\n%s\n%s", err, &complaint, source)
	}
	got, err := Assemble([]byte(source))
	if err != nil {
		t.Errorf("%v\n%s", err, source)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s\n got %x\nwant %x", source, got, want)
	}
}

func TestOracleForms(t *testing.T) {
	for _, m := range scriptModules(t, "testdata/forms.wast") {
		t.Run(fmt.Sprintf("line %d", m.last), func(t *testing.T) { compare(t, m.source) })
	}
}

func TestOraclePrograms(t *testing.T) {
	programs, _ := filepath.Glob("testdata/*.wat")
	for _, path := range programs {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(source, []byte(";; wabt is too old")) {
			t.Run(filepath.Base(path), func(t *testing.T) { compare(t, string(source)) })
		}
	}
}

// samples are immediates by their kind, in all the ways to write them.
var samples = map[immediate][]string{
	none:         {""},
	label:        {"0", "$label"},
	labels:       {"0", "$label 1 0x0"},
	function:     {"0", "$function"},
	callIndirect: {"", "(type 0)", "$table2 (type $type)", "(param i32) (result f32 f64)"},
	selectType:   {"", "(result i32)", "(result v128)"},
	local:        {"0", "$local"},
	global:       {"0", "$global"},
	tag:          {"0", "$tag"},
	heap:         {"func", "extern"},
	tableIndex:   {"0", "$table2"},
	tablePair:    {"", "0 $table2", "$table2 0"},
	tableInit:    {"0", "$element", "$table2 $element"},
	elementIndex: {"0", "$element"},
	memoryAccess: {"", "offset=7", "offset=0xFFFFFFFF align=WIDTH", "align=WIDTH"},
	memoryLane:   {"0", "1", "offset=5 1", "offset=5 align=WIDTH 0"},
	memoryIndex:  {""},
	memoryPair:   {""},
	memoryInit:   {"0", "$data"},
	dataIndex:    {"0", "$data"},
	i32:          {"0"},
	i64:          {"0"},
	f32:          {"0"},
	f64:          {"0"},
	v128:         {"i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 0x80 -128", "i16x8 0 1 2 3 4 5 65535 -32768", "i32x4 0 -1 0xffffffff 1", "i64x2 -1 0xffffffffffffffff", "f32x4 0 -inf nan:0x1 1.5", "f64x2 -nan 0x1p-1074"},
	lane:         {"0", "1"},
	lanes16:      {"0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31"},
	fence:        {""},
}

// newerThanWabt are the instructions that wabt 1.0.32 lacks or encodes as in an
// earlier draft; TestSpecification covers them.
const newerThanWabt = "try_table throw_ref call_ref return_call_ref ref.as_non_null br_on_null br_on_non_null"

// TestOracleInstructions assembles each instruction with each of its samples,
// flat and folded.
func TestOracleInstructions(t *testing.T) {
	for name, op := range opcodes() {
		if op.immediate == block || op.immediate == elseOrEnd || slices.Contains(strings.Fields(newerThanWabt), name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var code strings.Builder
			for _, sample := range samples[op.immediate] {
				sample = strings.ReplaceAll(sample, "WIDTH", fmt.Sprint(op.width))
				fmt.Fprintf(&code, "(func (local $local i32) block $label %s %s end)\n", name, sample)
				fmt.Fprintf(&code, "(func (local $local i32) (block $label (%s %s)))\n", name, sample)
				fmt.Fprintf(&code, "(func (local $local i32) (block $label (%s %s (unreachable) (drop (nop)))))\n", name, sample)
			}
			if code.Len() == 0 {
				t.Fatal("no sample for its immediates")
			}
			compare(t, `(module (type (func)) (type $type (func (param i32))) (table 1 funcref) (table $table2 1 funcref) (memory 1)
				(global i32 (i32.const 0)) (global $global i32 (i32.const 0)) (tag) (tag $tag) (elem func) (elem $element func)
				(data) (data $data) (func) (func $function)`+code.String()+")")
		})
	}
}

// TestOracleNumbers assembles constants: the edges of each type, and random
// ones in all notations.
func TestOracleNumbers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	constants := map[string][]string{
		"i32": {"0", "-0", "+7", "2147483647", "-2147483648", "4294967295", "0xffffffff", "-0x80000000", "0x0_1_2", "1_000_000", "00012"},
		"i64": {"0", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "0xffff_ffff_ffff_ffff", "-0x8000000000000000"},
		"f32": {"0", "-0", "0.", "1.e1", "1_0.0_1e1_0", "0x1", "0x1.", "0xA.bP-3", "0x1.8p+1", "0x1p-149", "0x1p-150", "0x1.8p-150", "0x1.fffffep127",
			"0x1.fffffeffffffffffp127", "3.4028234e38", "1e-45", "1e-50", "0x1.000001p0", "0x1.0000010000000001p0", "0x1.000003p0", "inf", "-inf", "+inf",
			"nan", "-nan", "nan:0x1", "-nan:0x7fffff", "nan:0x40_0000", "0x0.00000000000000000000000000000000001p140", "16777217", "16777219", "0.1", "1e+30"},
		"f64": {"0", "-0.0", "0x1p-1074", "0x1p-1075", "0x1.8p-1075", "0x1.fffffffffffffp1023", "1.7976931348623157e308", "4.9e-324", "1e-400", "0x1.00000000000008p0",
			"0x1.000000000000080000001p0", "0x1.00000000000018p0", "9007199254740993", "inf", "-inf", "nan", "-nan", "nan:0x1", "nan:0xfffffffffffff", "1e22", "123456789012345678901234567890"},
	}
	for range 200 {
		bits := random.Uint64() >> random.IntN(64)
		constants["i32"] = append(constants["i32"], fmt.Sprint(int32(bits)), fmt.Sprintf("%#x", uint32(bits)))
		constants["i64"] = append(constants["i64"], fmt.Sprint(int64(bits)), fmt.Sprintf("-%#x", bits>>1))
		// Of numbers below 2⁻¹²⁶, wabt 1.0.32 cuts off what it should round.
		f := math.Ldexp(random.Float64()-0.5, random.IntN(250)-124)
		constants["f32"] = append(constants["f32"], fmt.Sprintf("%.12g", f), fmt.Sprintf("%.20x", float32(f)), fmt.Sprintf("%x", f))
		f = math.Ldexp(f, random.IntN(1000)-500)
		constants["f64"] = append(constants["f64"], fmt.Sprintf("%g", f), fmt.Sprintf("%.30e", f), fmt.Sprintf("%x", f))
	}
	for kind, numbers := range constants {
		t.Run(kind, func(t *testing.T) {
			var code strings.Builder
			for _, n := range numbers {
				fmt.Fprintf(&code, "%s.const %s\n", kind, n)
			}
			compare(t, "(func "+code.String()+")")
		})
	}
}
