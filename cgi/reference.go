package cgi

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"containerd-shim-wagi-v1/cgi/wat"
)

// maxModule bounds the file of a module: the engine cannot address more code.
const maxModule = 1 << 30

// ReadModule reads a module from a file, binary or text, and returns it as binary.
func ReadModule(file string) ([]byte, error) {
	code, err := readFile(file, maxModule)
	if err != nil {
		return nil, err
	}
	return assemble(file, code)
}

// assemble makes a module binary; name is what errors call it.
func assemble(name string, code []byte) ([]byte, error) {
	if len(code) == 0 || !wat.IsText(code) {
		return code, nil
	}
	binary, err := wat.Assemble(code)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	return binary, nil
}

// schemeOf is the scheme of a module reference, in lower case; empty: the reference is a path, of which one letter and a colon may be a drive.
func schemeOf(reference string) string {
	scheme, _, found := strings.Cut(strings.ToLower(reference), ":")
	if !found || len(scheme) < 2 || scheme[0] < 'a' || scheme[0] > 'z' || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+.-") != "" {
		return ""
	}
	return scheme
}

// readModule reads the module that a reference means, as binary.
func (c *Config) readModule(ctx context.Context, reference string) ([]byte, error) {
	file, err := ModuleFile(reference)
	if err != nil {
		return nil, err
	}
	if file == "" {
		return c.pull(ctx, reference)
	}
	file = c.resolve(file)
	if err := checkRegular(file); err != nil {
		return nil, err
	}
	return ReadModule(file)
}

// ModuleFile is the file that a module reference means, perhaps relative; empty: it means a module in a registry.
// Its error is why the gateway refuses the reference.
func ModuleFile(reference string) (string, error) {
	switch scheme := schemeOf(reference); scheme {
	case "":
		return reference, nil
	case "oci":
		_, err := parseImage(reference)
		return "", err
	case "file":
	case "bindle":
		return "", fmt.Errorf("module %q: Bindle is gone: name a file or a reference oci:NAME:TAG", reference)
	default:
		return "", fmt.Errorf("module %q: %q is no scheme of a module: name a file or a reference oci:NAME:TAG", reference, scheme)
	}
	u, err := url.Parse(reference)
	if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
		return "", fmt.Errorf("module %q: want file:///PATH", reference)
	}
	return filepath.FromSlash("/" + strings.TrimLeft(u.Path, "/")), nil
}

// Files are the local files that the configuration consists of, modules.toml and modules, wherever they may be: some are missing.
func (c *Config) Files() []string {
	files := []string{c.File}
	for _, m := range c.Modules {
		if file, err := ModuleFile(m.Module); err == nil && file != "" {
			files = append(files, c.candidates(file)...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// candidates are where a path may be: a relative one in the working directory, as in WAGI, or else beside modules.toml.
func (c *Config) candidates(path string) []string {
	if filepath.IsAbs(path) || c.File == "" {
		return []string{path}
	}
	return []string{path, filepath.Join(filepath.Dir(c.File), path)}
}

// resolve is the first candidate that is there.
func (c *Config) resolve(path string) string {
	for _, candidate := range c.candidates(path) {
		if _, err := os.Stat(candidate); err == nil {
			return candidate
		}
	}
	return path
}
