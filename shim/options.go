//go:build linux

package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/pelletier/go-toml/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	defaultRuntime = "runc"

	// Type URLs of the options that callers send; typeurl writes them without a host.
	runcOptionsName = "containerd.runc.v1.Options"
	criOptions      = "runtimeoptions.v1.Options"
)

// fileOptions are the keys of the options table in containerd's CRI configuration, and of the file that ctr's
// --runtime-config-path or the ConfigPath in Docker's daemon.json names: those of io.containerd.runc.v2, with its names.
type fileOptions struct {
	NoPivotRoot   bool
	NoNewKeyring  bool
	ShimCgroup    string
	IoUid         uint32
	IoGid         uint32
	BinaryName    string
	Root          string
	SystemdCgroup bool
	CriuImagePath string
	CriuWorkPath  string

	// CRI leaves its own two keys in the table that it passes on.
	TypeUrl    string
	ConfigPath string
}

// quoted are booleans that are written as strings: the node installer runtime-class-manager quotes all options.
var quoted = regexp.MustCompile(`(?m)^(\s*(?:NoPivotRoot|NoNewKeyring|SystemdCgroup)\s*=\s*)["'](true|false)["']`)

// runcOptions makes runc's options of what the caller of Create sent: nothing (ctr, Docker), runc's own options, or
// CRI's runtimeoptions, which the runc service would take for its own and panic. A key that is unknown or has the
// wrong type is an error that names it.
func runcOptions(packed *anypb.Any) (*options.Options, error) {
	switch typeName(packed) {
	case "":
		return &options.Options{}, nil
	case runcOptionsName:
		var opts options.Options
		if err := proto.Unmarshal(packed.GetValue(), &opts); err != nil {
			return nil, fmt.Errorf("decode runtime options: %v: %w", err, errdefs.ErrInvalidArgument)
		}
		return dropOwnName(&opts), nil
	case criOptions:
		var opts runtimeoptions.Options
		if err := proto.Unmarshal(packed.GetValue(), &opts); err != nil {
			return nil, fmt.Errorf("decode runtime options: %v: %w", err, errdefs.ErrInvalidArgument)
		}
		return readOptions(&opts)
	default:
		return nil, fmt.Errorf("runtime options of type %q: not supported, want those of runc: %w", packed.GetTypeUrl(), errdefs.ErrInvalidArgument)
	}
}

// typeName is the message name in an Any's type URL; empty without a message.
func typeName(packed *anypb.Any) string {
	url := packed.GetTypeUrl()
	return url[strings.LastIndexByte(url, '/')+1:]
}

// readOptions reads the TOML that CRI's options hold or point to.
func readOptions(opts *runtimeoptions.Options) (*options.Options, error) {
	source, body := "runtime options", opts.GetConfigBody()
	if path := opts.GetConfigPath(); path != "" {
		var err error
		if body, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("runtime options: %w", err)
		}
		source = path
	}
	body = quoted.ReplaceAll(body, []byte("$1$2"))
	var file fileOptions
	if err := toml.NewDecoder(bytes.NewReader(body)).DisallowUnknownFields().Decode(&file); err != nil {
		return nil, fmt.Errorf("%s%s: %w", source, describe(err), errdefs.ErrInvalidArgument)
	}
	return dropOwnName(&options.Options{
		NoPivotRoot:   file.NoPivotRoot,
		NoNewKeyring:  file.NoNewKeyring,
		ShimCgroup:    file.ShimCgroup,
		IoUid:         file.IoUid,
		IoGid:         file.IoGid,
		BinaryName:    file.BinaryName,
		Root:          file.Root,
		SystemdCgroup: file.SystemdCgroup,
		CriuImagePath: file.CriuImagePath,
		CriuWorkPath:  file.CriuWorkPath,
	}), nil
}

// describe says line, column, key and fault of a TOML error.
func describe(err error) string {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		first := unknown.Errors[0]
		line, column := first.Position()
		return fmt.Sprintf(":%d:%d: unknown option %q", line, column, strings.Join(first.Key(), "."))
	}
	var fault *toml.DecodeError
	if errors.As(err, &fault) {
		line, column := fault.Position()
		text := strings.TrimPrefix(fault.Error(), "toml: ")
		if _, kind, mistyped := strings.Cut(text, " of type "); mistyped {
			text = "want a " + kind
		}
		if key := strings.Join(fault.Key(), "."); key != "" {
			text = fmt.Sprintf("option %q: %s", key, text)
		}
		return fmt.Sprintf(":%d:%d: %s", line, column, text)
	}
	return ": " + err.Error()
}

// dropOwnName empties a BinaryName that is this very shim: K3s and RKE2 set it for every Wasm runtime they find.
func dropOwnName(opts *options.Options) *options.Options {
	if opts.BinaryName == "" {
		return opts
	}
	path, err := exec.LookPath(opts.BinaryName)
	if err != nil {
		return opts
	}
	named, err := os.Stat(path)
	if err != nil {
		return opts
	}
	if self, err := os.Stat("/proc/self/exe"); err == nil && os.SameFile(named, self) {
		opts.BinaryName = ""
	}
	return opts
}

// marshalOptions gives nil for options that are all default, as ctr sends them.
func marshalOptions(opts *options.Options) (*anypb.Any, error) {
	if proto.Size(opts) == 0 {
		return nil, nil
	}
	return typeurl.MarshalAnyToProto(opts)
}

// translateOptions makes of CRI's runtime options what the runc shim reads, and leaves any other message alone.
func translateOptions(packed *anypb.Any) (*anypb.Any, error) {
	if name := typeName(packed); name != criOptions && name != runcOptionsName {
		return packed, nil
	}
	opts, err := runcOptions(packed)
	if err != nil {
		return nil, err
	}
	return typeurl.MarshalAnyToProto(opts)
}

// translateInfo reads the options that -info gets on standard input, which may be none, and encodes runc's.
func translateInfo(stdin io.Reader) ([]byte, error) {
	input, err := io.ReadAll(io.LimitReader(stdin, maxBootstrap))
	if err != nil || len(input) == 0 {
		return nil, err
	}
	var packed anypb.Any
	if err := proto.Unmarshal(input, &packed); err != nil {
		return nil, fmt.Errorf("decode runtime options from standard input: %w", err)
	}
	opts, err := translateOptions(&packed)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(opts)
}

// usesSystemd tells from a cgroups path of the form slice:prefix:name that the caller's cgroups are systemd's. ctr
// and Docker send no options with which they could say so.
func usesSystemd(linux *specs.Linux) bool {
	return linux != nil && !strings.HasPrefix(linux.CgroupsPath, "/") && strings.Count(linux.CgroupsPath, ":") == 2
}

// findRuntime tells that the OCI runtime is missing before the task service does so in three sentences.
func findRuntime(name string) error {
	if name == "" {
		name = defaultRuntime
	}
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("OCI runtime %q not found in PATH %q: install runc on the node or set BinaryName: %w", name, os.Getenv("PATH"), errdefs.ErrFailedPrecondition)
	}
	return nil
}
