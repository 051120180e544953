package guest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"
)

var benchmarkEnv = []string{
	"AUTH_TYPE=", "CONTENT_LENGTH=0", "CONTENT_TYPE=", "GATEWAY_INTERFACE=CGI/1.1", "HTTP_ACCEPT=*/*", "HTTP_HOST=localhost:3000",
	"HTTP_USER_AGENT=bench", "PATH_INFO=", "PATH_TRANSLATED=", "QUERY_STRING=", "REMOTE_ADDR=127.0.0.1", "REMOTE_HOST=127.0.0.1",
	"REMOTE_USER=", "REQUEST_METHOD=GET", "SCRIPT_NAME=/hello", "SERVER_NAME=localhost", "SERVER_PORT=3000", "SERVER_PROTOCOL=HTTP/1.1",
	"SERVER_SOFTWARE=WAGI/1", "X_FULL_URL=http://localhost:3000/hello", "X_MATCHED_ROUTE=/hello", "X_RAW_PATH_INFO=", "HTTP_ACCEPT_ENCODING=gzip",
}

// BenchmarkRun compares how a request may be served: by the engine as its documents show it, in an instance of its
// own, in one that is used again, and in one that tells which pages it has written to.
func BenchmarkRun(b *testing.B) {
	if err := buildPrograms(); err != nil {
		b.Fatal(err)
	}
	for name, file := range map[string]string{"wat": "testdata/hello.wasm", "go": filepath.Join(programs, "hello")} {
		b.Run(name+"/wazero", func(b *testing.B) { benchmark(b, plainEngine(b, file)) })
		b.Run(name+"/fresh", func(b *testing.B) { benchmark(b, compileFile(b, file, Config{NoReuse: true}).Run) })
		b.Run(name+"/recycled", func(b *testing.B) { benchmark(b, untracked(compileFile(b, file, Config{}))) })
	}
	gateway := compileFile(b, "testdata/hello.wasm", Config{})
	b.Run("wat/gateway", func(b *testing.B) {
		benchmark(b, func(ctx context.Context, call *Call) error {
			var w Work
			defer w.End()
			gateway.Begin(ctx, &w)
			call.Work, call.Stdin = &w, nil
			return gateway.Run(ctx, call)
		})
	})
	b.Run("wat/tracked", func(b *testing.B) {
		m := compileFile(b, "testdata/hello.wasm", Config{})
		form := trackedForm(b, m)
		benchmark(b, func(ctx context.Context, call *Call) error {
			call.Entrypoint = m.config.Entrypoint
			return m.runIn(ctx, form, call)
		})
	})
	volumes := []Volume{{Guest: "/data", Host: b.TempDir()}}
	b.Run("wat/volume", func(b *testing.B) { benchmark(b, compileFile(b, "testdata/hello.wasm", Config{Volumes: volumes}).Run) })
}

// untracked is Run in the plain form.
func untracked(m *Module) func(context.Context, *Call) error {
	m.tracker = nil
	return m.Run
}

// BenchmarkResume compares an interpreter that goes on from its resume point with one that starts for each request: the
// example images/javascript, which make javascript builds.
func BenchmarkResume(b *testing.B) {
	const dir = "../../out/images/javascript"
	if _, err := os.Stat(dir + "/javascript.wasm"); err != nil {
		b.Skip(err)
	}
	args := []string{"javascript", "/app/main.js"}
	answers := map[string]bool{}
	var started float64 // CPU time of a request, in ns
	for _, name := range []string{"start", "resume"} {
		b.Run(name, func(b *testing.B) {
			m := compileFile(b, dir+"/javascript.wasm", Config{
				Volumes: []Volume{{Guest: "/app", Host: dir + "/app", ReadOnly: true}},
				Resume:  name == "resume", StartArgs: args,
			})
			env := NewEnvironment(append([]string{"QUERY_STRING=the%20guest"}, benchmarkEnv...)...)
			var out bytes.Buffer
			before := cpuTime(b)
			for b.Loop() {
				out.Reset()
				if err := m.Run(b.Context(), &Call{Args: args, Env: env, Stdout: &out}); err != nil {
					b.Fatal(err)
				}
			}
			cpu := float64(cpuTime(b)-before) / float64(b.N)
			b.ReportMetric(cpu, "cpu-ns/op")
			if name == "start" {
				started = cpu
			} else if started > 0 {
				b.ReportMetric(cpu/started, "of-start")
			}
			answers[out.String()] = true
		})
	}
	if len(answers) > 1 {
		b.Errorf("answers differ: %v", answers)
	}
}

// BenchmarkCompute compares a guest that only computes with what it would take if nothing could stop it.
func BenchmarkCompute(b *testing.B) {
	for name, run := range map[string]func(context.Context, *Call) error{
		"wazero":   plainEngine(b, "testdata/compute.wasm"),
		"recycled": compileFile(b, "testdata/compute.wasm", Config{}).Run,
	} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				if err := run(b.Context(), &Call{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func benchmark(b *testing.B, run func(context.Context, *Call) error) {
	b.ReportAllocs()
	before := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		var out bytes.Buffer
		stdin := strings.NewReader("")
		for pb.Next() {
			out.Reset()
			call := &Call{Args: []string{"/hello"}, Env: NewEnvironment(benchmarkEnv...), Stdin: stdin, Stdout: &out}
			if err := run(b.Context(), call); err != nil || !strings.HasSuffix(out.String(), "\nhello\n") {
				b.Errorf("got %q, %v", out.String(), err)
				return
			}
		}
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used, in all its threads.
func cpuTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// plainEngine runs a module as wazero's documents show it.
func plainEngine(b *testing.B, file string) func(context.Context, *Call) error {
	wasm, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	runtime := wazero.NewRuntime(b.Context())
	b.Cleanup(func() { runtime.Close(context.Background()) })
	wasi_snapshot_preview1.MustInstantiate(b.Context(), runtime)
	compiled, err := runtime.CompileModule(b.Context(), wasm)
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, call *Call) error {
		config := wazero.NewModuleConfig().WithName("").WithArgs(call.Args...).WithStdin(call.Stdin).WithStdout(call.Stdout)
		for e := range call.Env.From(0) {
			name, value, _ := strings.Cut(e, "=")
			config = config.WithEnv(name, value)
		}
		instance, err := runtime.InstantiateModule(ctx, compiled, config)
		if err != nil {
			return err
		}
		return instance.Close(ctx)
	}
}
