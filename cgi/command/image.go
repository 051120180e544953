package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"containerd-shim-wagi-v1/cgi"
	"containerd-shim-wagi-v1/cgi/wat"
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
		Use:   "build DIR",
		Short: "Build a container image of a directory with a modules.toml",
		Long: `Build a container image of the directory DIR: its modules.toml, the modules it
names and the directories of its volumes. Nothing else of DIR is in the image.

The image is for linux/amd64 and linux/arm64. It is written as an archive for
"ctr image import", "nerdctl load", "docker load" and registry tools. Equal files
give an equal archive; SOURCE_DATE_EPOCH sets the time in it (default 0).

Modules from a registry stay references. Volumes with an absolute path stay
what they are: paths in the container, for mounts.`,
		Example: `  wagi image build hello
  wagi image build hello -t registry.example/hello:v1 -o - | ctr image import -`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.dir = args[0]
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return b.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&b.name, "tag", "t", "", "`NAME` of the image (default: name of DIR)")
	flags.StringVarP(&b.output, "output", "o", "", "`FILE` to write, \"-\" for standard output (default: name of the image and .tar)")
	flags.StringToStringVar(&b.labels, "label", nil, "`KEY=VALUE` of the image's configuration (repeatable)")
	return cmd
}

// imageBuild is one run of wagi image build.
type imageBuild struct {
	dir, name, output string
	labels            map[string]string
}

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
	config, err := cgi.LoadConfig(filepath.Join(b.dir, "modules.toml"))
	if err != nil {
		return nil, err
	}
	for _, warning := range config.Warnings {
		fmt.Fprintln(stderr, "wagi: warning:", warning)
	}
	created, err := sourceDate()
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	layers, err := imageLayers(root.FS(), config)
	if err != nil {
		return nil, err
	}
	return images.Build(ctx, scratch, images.Config{
		Files:  root.FS(),
		Layers: layers,
		Run: v1.Config{
			Entrypoint:   []string{"/modules.toml"},
			WorkingDir:   "/",
			ExposedPorts: map[string]struct{}{"3000/tcp": {}},
			Labels:       b.labels,
		},
		Created: created,
	})
}

// imageName is the name given or, without one, that of the directory.
func (b *imageBuild) imageName() (images.Name, error) {
	if b.name != "" {
		name, err := images.ParseName(b.name)
		if err != nil {
			return images.Name{}, usageError{err}
		}
		return name, nil
	}
	dir, err := filepath.Abs(b.dir)
	if err != nil {
		return images.Name{}, err
	}
	name, err := images.ParseName(filepath.Base(dir))
	if err != nil {
		return images.Name{}, hintError{err, "name the image with --tag"}
	}
	return name, nil
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

// imageLayers lists the files of the image, lowest layer first: what changes
// least is at the bottom, so that a new modules.toml is all that is transferred.
func imageLayers(files fs.FS, config *cgi.Config) ([][]string, error) {
	var volumes, modules []string
	for _, m := range config.Modules {
		file, err := cgi.ModuleFile(m.Module)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Position, err)
		}
		if file != "" {
			if file, err = imagePath(file); err == nil {
				err = checkModule(files, file)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: module %q: %w", m.Position, m.Module, err)
			}
			modules = append(modules, file)
		}
		for _, volume := range m.Volumes {
			if path.IsAbs(volume.Host) {
				continue
			}
			dir, err := imagePath(volume.Host)
			if err != nil {
				return nil, fmt.Errorf("%s: volume %q: %w", m.Position, volume.Host, err)
			}
			volumes = append(volumes, dir+"/")
		}
	}
	return [][]string{distinct(volumes), distinct(modules), {"modules.toml"}}, nil
}

func distinct(paths []string) []string {
	slices.Sort(paths)
	return slices.Compact(paths)
}

// imagePath cleans a path of modules.toml that is to name the same file in the
// directory and in the image.
func imagePath(file string) (string, error) {
	if path.IsAbs(file) || slices.Contains(strings.Split(file, "/"), "..") {
		return "", errors.New(`not a path inside the image's directory (relative, without "..")`)
	}
	return path.Clean(file), nil
}

// checkModule tells whether file looks like a module, without compiling it.
func checkModule(files fs.FS, file string) error {
	src, err := fs.ReadFile(files, file)
	if err != nil {
		return err
	}
	if wat.IsText(src) {
		_, err := wat.Assemble(src)
		return err
	}
	if !bytes.HasPrefix(src, []byte("\x00asm\x01\x00\x00\x00")) {
		return errors.New("not a core WebAssembly module of version 1")
	}
	return nil
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
func replaceFile(file string, write func(io.Writer) error) (int64, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return 0, fmt.Errorf("output %s is not a file", file)
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".wagi-image-*")
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
