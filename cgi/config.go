package cgi

import (
	"cmp"
	"math"
	"time"

	"containerd-shim-wagi-v1/cgi/guest"
)

// Config says what a gateway serves. [LoadConfig] reads it from a modules.toml.
// The zero value of each field has the default that its comment names.
type Config struct {
	File     string   // modules.toml that it came from; relative paths that the working directory lacks are looked for beside it
	Modules  []Module // in the order in which their routes are tried
	Warnings []string // what LoadConfig found odd but harmless

	Limits // for modules that set none

	Env          []string                 // NAME=value, for all guests
	Hostname     string                   // NAME or NAME:PORT of requests without a Host; default localhost and the port of the listener
	HealthPath   string                   // answers 200 while the process lives; default /healthz, "off": none
	ReadyPath    string                   // answers 200 while the gateway takes requests, 503 when it drains; default /readyz, "off": none
	BodyTimeout  time.Duration            // how long the next bytes of a request's body may take; default 1 min, negative: for ever
	CompileCache string                   // directory that keeps compiled code; default none
	Compiler     string                   // socket of a node that compiles for its containers; default none
	ModuleCache  string                   // directory that keeps modules from registries; default none
	LogDir       string                   // directory that keeps what guests print on their standard error, by route, as WAGI does; default none
	Metrics      *Metrics                 // counts what the gateway does; default none
	Start        func(args, env []string) // is told of each guest's arguments and environment before it runs; default none
	Done         func(*Record)            // is told of each request but health checks, by its goroutine, and keeps nothing of the Record; default none
	TempDir      string                   // directory for long request bodies of unknown length; default os.TempDir
}

// Module is a [[module]] of modules.toml: a route and what serves it.
type Module struct {
	Route       string            // path, exact or ending in /... for all paths below
	Module      string            // the module, binary or text: a path, a file: URL or a reference oci:NAME:TAG
	Entrypoint  string            // exported function to call; default _start
	Argv        *string           // template of the arguments; default nil: the raw path and the pieces of the query
	Volumes     []guest.Volume    // directories of the host, each under its path in the guest
	Environment map[string]string // variables of this module alone; ${NAME} takes from the process's own environment

	AllowedHosts       []string // URLs whose hosts the module may send requests to; default none
	HTTPMaxConcurrency int      // responses to those a guest may have open at a time; default 64

	NoReuse bool // give each guest a new instance, instead of one that was put back to its initial state

	// Resume starts the module once, when it is loaded, with the configured variables and the arguments of a request for
	// the route without a query. Each request goes on from where it calls wagi.resume or opens /dev/wagi/request.
	Resume bool

	Limits // zero: those of Config

	Position string // where it is configured, "modules.toml:3:1", for errors
}

// Limits bound one module's guests. A negative value means no limit, except for Queue and Wait.
type Limits struct {
	Timeout        time.Duration // from the request's head to the end of the guest; default 30 s
	CPU            time.Duration // computing of a guest; default no limit
	Memory         int64         // bytes of linear memory of a guest; default 256 MiB, most 4 GiB
	MaxBody        int64         // bytes of a request body; default 1 GiB
	MaxOutput      int64         // bytes a guest may print; default 1 GiB
	MaxConcurrency int           // guests at a time; default 1024
	Queue          int           // requests that wait for a guest to end; default 4096, negative: none
	Wait           time.Duration // of a request for a module that is still being compiled, at most the Timeout; default that, negative: none
}

const maxMemory = 4 << 30

var defaultLimits = Limits{
	Timeout:        30 * time.Second,
	Memory:         256 << 20,
	MaxBody:        1 << 30,
	MaxOutput:      1 << 30,
	MaxConcurrency: 1024,
	Queue:          4096,
	Wait:           math.MaxInt64,
}

// or returns l with its zero fields taken from defaults.
func (l Limits) or(defaults Limits) Limits {
	return Limits{
		Timeout:        cmp.Or(l.Timeout, defaults.Timeout),
		CPU:            cmp.Or(l.CPU, defaults.CPU),
		Memory:         cmp.Or(l.Memory, defaults.Memory),
		MaxBody:        cmp.Or(l.MaxBody, defaults.MaxBody),
		MaxOutput:      cmp.Or(l.MaxOutput, defaults.MaxOutput),
		MaxConcurrency: cmp.Or(l.MaxConcurrency, defaults.MaxConcurrency),
		Queue:          cmp.Or(l.Queue, defaults.Queue),
		Wait:           cmp.Or(l.Wait, defaults.Wait),
	}
}

// memory is the memory limit as guest.Config wants it.
func (l Limits) memory() uint64 {
	if l.Memory < 0 {
		return maxMemory
	}
	return uint64(l.Memory)
}
