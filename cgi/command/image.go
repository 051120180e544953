package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
	"containerd-shim-wagi-v1/images"
)

func imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build container images of WAGI programs",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(imageBuildCommand())
	return cmd
}

func imageBuildCommand() *cobra.Command {
	var b imageBuild
	cmd := &cobra.Command{
		Use:   "build DIR|MODULE",
		Short: "Build a container image of a directory with a modules.toml, or of one module",
		Long: `Build a container image of the directory DIR: its modules.toml, the modules it
names and the directories of its volumes. Nothing else of DIR is in the image.
Modules from a registry stay references. Volumes with an absolute path stay
what they are: paths in the container, for mounts.

MODULE is a file .wasm or .wat, or an artifact oci:NAME:TAG or oci://HOST/NAME:TAG
whose layers are modules, each under its title: container engines cannot unpack
such artifacts. The image runs the module, of several the first, as a WASI
command, or with --serve serves all paths with it.

The image is for linux/amd64 and linux/arm64. It is written as an archive for
"ctr image import", "nerdctl load", "docker load" and registry tools. Equal files
give an equal archive; SOURCE_DATE_EPOCH sets the time in it (default 0).

With --precompile the image holds the modules' code for the processor that
builds it as well: there a container starts without compiling, elsewhere as
any other.`,
		Example: `  wagi image build hello
  wagi image build hello -t registry.example/hello:v1 -o - | ctr image import -
  wagi image build --serve hello.wasm
  wagi image build oci://registry.example/hello-module:v1 -t hello`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.from = args[0]
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return b.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&b.name, "tag", "t", "", "`NAME` of the image (default: name of DIR or MODULE)")
	flags.StringVarP(&b.output, "output", "o", "", "`FILE` to write, \"-\" for standard output (default: name of the image and .tar)")
	flags.BoolVar(&b.serve, "serve", false, "serve all paths with MODULE")
	flags.Var(list{&b.platforms, ","}, "platform", "`OS/ARCHITECTURE` of the image, such as wasi/wasm (repeatable; default linux/amd64 and linux/arm64)")
	flags.BoolVar(&b.precompile, "precompile", false, "add compiled code for this processor")
	flags.StringToStringVar(&b.labels, "label", nil, "`KEY=VALUE` of the image's configuration (repeatable)")
	return cmd
}

// imageBuild is one run of wagi image build.
type imageBuild struct {
	from, name, output string
	serve              bool
	labels             map[string]string
	platforms          []string
	precompile         bool
}

// codeDir is where an image has its compiled code.
const codeDir = "wagi-code"

func (b *imageBuild) run(ctx context.Context, stdout, stderr io.Writer) error {
	name, err := b.imageName()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "wagi-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	index, err := b.build(ctx, scratch, stderr)
	if err != nil {
		return err
	}
	return b.write(ctx, scratch, index, name, stdout, stderr)
}

func (b *imageBuild) build(ctx context.Context, scratch string, stderr io.Writer) (v1.ImageIndex, error) {
	created, err := sourceDate()
	if err != nil {
		return nil, err
	}
	platforms, err := parsePlatforms(b.platforms)
	if err != nil {
		return nil, err
	}
	source, err := b.source(ctx, scratch, stderr)
	if err != nil {
		return nil, err
	}
	defer source.files.Close()
	entrypoint := source.entrypoint
	var native *images.Native
	if b.precompile {
		entrypoint = append(entrypoint, "--compile-cache=/"+codeDir)
		if native, err = source.native(ctx, scratch); err != nil {
			return nil, err
		}
	}
	return images.Build(ctx, scratch, images.Config{
		Files:  source.files.FS(),
		Layers: source.layers,
		Native: native,
		Run: v1.Config{
			Entrypoint:   entrypoint,
			WorkingDir:   "/",
			ExposedPorts: map[string]struct{}{"3000/tcp": {}},
			Labels:       b.labels,
		},
		Platforms: platforms,
		Created:   created,
	})
}

// native compiles the modules of the files; nil: there are none.
func (s *imageSource) native(ctx context.Context, scratch string) (*images.Native, error) {
	if s.config == nil {
		return nil, usageError{errors.New("--precompile is for images that serve: add --serve")}
	}
	dir, err := filepath.Abs(s.files.Name())
	if err != nil {
		return nil, err
	}
	local := cgi.Config{Limits: s.config.Limits, CompileCache: filepath.Join(scratch, "native", codeDir), TempDir: scratch}
	for _, m := range s.config.Modules {
		if file, err := cgi.ModuleFile(m.Module); err == nil && file != "" {
			m.Module = filepath.Join(dir, file)
			local.Modules = append(local.Modules, m)
		}
	}
	if len(local.Modules) == 0 {
		return nil, nil
	}
	if _, err := local.Precompile(ctx); err != nil {
		return nil, err
	}
	return &images.Native{Architecture: runtime.GOARCH, Files: os.DirFS(filepath.Dir(local.CompileCache)), Paths: []string{codeDir}}, nil
}

// knownPlatforms are those that something runs such images for: the shim is built for two, and wasi is whatever has a runtime.
var knownPlatforms = []string{"linux/amd64", "linux/arm64", "wasi/wasm", "wasi/wasm32"}

func parsePlatforms(texts []string) (platforms []v1.Platform, err error) {
	for _, text := range texts {
		p, err := v1.ParsePlatform(text)
		if err != nil || !slices.Contains(knownPlatforms, p.OS+"/"+p.Architecture) {
			return nil, usageError{fmt.Errorf("--platform %q: want one of %s", text, strings.Join(knownPlatforms, ", "))}
		}
		platforms = append(platforms, *p)
	}
	return platforms, nil
}

// sourceDate is the time that reproducible builds carry:
// https://reproducible-builds.org/specs/source-date-epoch/
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, not a number of seconds", text)
	}
	return time.Unix(seconds, 0), nil
}

// write writes the archive and tells what it is.
func (b *imageBuild) write(ctx context.Context, scratch string, index v1.ImageIndex, name images.Name, stdout, stderr io.Writer) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if b.output == "-" {
		if err := images.Write(ctx, stdout, scratch, index, name); err != nil {
			return err
		}
		fmt.Fprintf(stderr, "image   %s\ndigest  %s\n", name, digest)
		return nil
	}
	output := b.output
	if output == "" {
		output = path.Base(name.Repository) + ".tar"
	}
	size, err := replaceFile(output, func(w io.Writer) error {
		return images.Write(ctx, w, scratch, index, name)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "image   %s\ndigest  %s\nfile    %s (%d bytes)\n", name, digest, output, size)
	return nil
}

// replaceFile puts what write writes in the place of file, all of it or, after
// an error, nothing. It returns the new size in bytes.
func replaceFile(file string, write func(io.Writer) error) (size int64, err error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return 0, fmt.Errorf("output %s is not a file", file)
	}
	const prefix = ".wagi-image-"
	defer func() { // the name of a temporary file means nothing to anybody
		if e, ok := errors.AsType[*fs.PathError](err); ok && strings.HasPrefix(filepath.Base(e.Path), prefix) {
			err = fmt.Errorf("output %s: %w", file, e.Err)
		}
	}()
	temp, err := os.CreateTemp(filepath.Dir(file), prefix+"*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := write(temp); err != nil {
		return 0, err
	}
	info, err := temp.Stat()
	if err != nil {
		return 0, err
	}
	if err := errors.Join(temp.Chmod(0o644), temp.Close()); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(temp.Name(), file)
}
