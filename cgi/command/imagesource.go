package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"containerd-shim-wagi-v1/cgi"
	"containerd-shim-wagi-v1/cgi/wat"
	"containerd-shim-wagi-v1/images"
)

// imageSource is what goes into an image.
type imageSource struct {
	files      *os.Root
	layers     [][]string
	entrypoint []string
	config     *cgi.Config // of the gateway; nil: the image runs a WASI command
}

// source finds out what the image is built of. The caller closes its files.
func (b *imageBuild) source(ctx context.Context, scratch string, stderr io.Writer) (*imageSource, error) {
	if b.isArtifact() {
		return b.artifact(ctx, scratch)
	}
	if info, err := os.Stat(b.from); err == nil && info.Mode().IsRegular() {
		return b.modules(filepath.Dir(b.from), []string{filepath.Base(b.from)})
	}
	if b.serve {
		return nil, usageError{errors.New("--serve is for one module: a directory has its modules.toml")}
	}
	return b.project(stderr)
}

func (b *imageBuild) isArtifact() bool {
	scheme, _, ok := strings.Cut(b.from, ":")
	return ok && strings.EqualFold(scheme, "oci")
}

// project is a directory with a modules.toml.
func (b *imageBuild) project(stderr io.Writer) (*imageSource, error) {
	config, err := cgi.LoadConfig(filepath.Join(b.from, "modules.toml"))
	if err != nil {
		return nil, err
	}
	for _, warning := range config.Warnings {
		fmt.Fprintln(stderr, "wagi: warning:", warning)
	}
	root, err := os.OpenRoot(b.from)
	if err != nil {
		return nil, err
	}
	layers, err := imageLayers(root.FS(), config)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &imageSource{root, layers, []string{"/modules.toml"}, config}, nil
}

// artifact is the modules of an artifact in a registry.
func (b *imageBuild) artifact(ctx context.Context, scratch string) (*imageSource, error) {
	modules, err := cgi.PullModules(ctx, b.from)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(scratch, "artifact")
	var names []string
	for _, m := range modules {
		name, err := moduleName(m.Title)
		if err != nil {
			return nil, fmt.Errorf("module %q: %w", b.from, err)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("module %q: two of its layers have the title %q", b.from, name)
		}
		names = append(names, name)
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, m.Code, 0o600)); err != nil {
			return nil, err
		}
	}
	return b.modules(dir, names)
}

// moduleName is the path in the image for the title of a layer: relative, and ending so that it is known for a module.
func moduleName(title string) (string, error) {
	if title == "" {
		title = "module.wasm"
	}
	name, err := imagePath(title)
	if err != nil || name == "." {
		return "", fmt.Errorf("title %.80q is no path of a file in an image", title)
	}
	if extension := path.Ext(name); extension != ".wasm" && extension != ".wat" {
		name += ".wasm"
	}
	return name, nil
}

// modules is files in a directory of which the first is what the image runs.
func (b *imageBuild) modules(dir string, names []string) (*imageSource, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := checkModule(root.FS(), name); err != nil {
			return nil, errors.Join(fmt.Errorf("module %q: %w", name, err), root.Close())
		}
	}
	source := &imageSource{root, [][]string{distinct(slices.Clone(names))}, []string{"/" + names[0]}, nil}
	if b.serve {
		source.entrypoint = []string{"--serve", "/" + names[0]}
		source.config = &cgi.Config{Modules: []cgi.Module{{Route: "/...", Module: names[0]}}}
	}
	return source, nil
}

// imageName is the name given or, without one, that of what the image is built of.
func (b *imageBuild) imageName() (images.Name, error) {
	if b.name != "" {
		name, err := images.ParseName(b.name)
		if err != nil {
			return images.Name{}, usageError{err}
		}
		return name, nil
	}
	text := b.from
	if b.isArtifact() {
		text, _, _ = strings.Cut(path.Base(text[len("oci:"):]), "@")
		text, _, _ = strings.Cut(text, ":")
	}
	dir, err := filepath.Abs(text)
	if err != nil {
		return images.Name{}, err
	}
	name, err := images.ParseName(strings.TrimSuffix(strings.TrimSuffix(filepath.Base(dir), ".wasm"), ".wat"))
	if err != nil {
		return images.Name{}, hintError{err, "name the image with --tag"}
	}
	return name, nil
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
