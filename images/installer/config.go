//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Lines between which the installer's part of a file is. All else in the file stays as it is, comments and order too.
const (
	begin = "# BEGIN wagi: written by its installer, which removes all up to END"
	end   = "# END wagi"
)

// base is what K3s and RKE2 replace by the configuration that they make without a template.
const base = "{{ template \"base\" . }}\n"

// An edit is a file of the node with the runtime and without it.
type edit struct {
	file    string // on the node
	with    string
	without string // "": no file
}

// containerd is what of its configuration concerns the installer.
type containerd struct {
	Version         int
	Imports         []string
	DisabledPlugins []string `toml:"disabled_plugins"`
	Plugins         map[string]struct {
		Containerd struct {
			Runtimes map[string]any
		}
	}
}

// criPlugin is the plugin that has the runtimes, in a version of the configuration.
func (c *containerd) criPlugin() string {
	if c.Version >= 3 {
		return "io.containerd.cri.v1.runtime"
	}
	return "io.containerd.grpc.v1.cri"
}

// plan finds the file to edit, and its content with and without the runtime.
func (n *node) plan(d distribution) (edit, error) {
	c, err := n.readConfig(d.config)
	if err != nil {
		return edit{}, err
	}
	block := n.block(d, c)
	if file := n.dropIn(d, c); file != "" {
		return edit{file: file, with: fmt.Sprintf("version = %d\n\n%s", c.Version, block)}, nil
	}
	e := edit{file: d.config}
	text, err := n.readText(d.config)
	if d.template != "" {
		e.file = filepath.Join(filepath.Dir(d.config), c.templateName(d.template))
		text, err = n.readText(e.file)
	}
	if err != nil {
		return edit{}, err
	}
	if e.without, err = cut(e.file, text); err != nil {
		return edit{}, err
	}
	if n.runtime().MatchString(e.without) {
		return edit{}, fmt.Errorf("%s: has a runtime %q that somebody else wrote: take it out, or choose another name by --handler", e.file, n.handler)
	}
	head := e.without
	switch {
	case head != "":
	case d.template != "":
		head = base
	default:
		head = fmt.Sprintf("version = %d\n", c.Version)
	}
	if e.without == base || e.without == fmt.Sprintf("version = %d\n", c.Version) {
		e.without = "" // the installer's own head
	}
	e.with = strings.TrimRight(head, "\n") + "\n\n" + block
	return e, nil
}

// runtime matches the table of the runtime.
func (n *node) runtime() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*\[.*\bruntimes\.["']?` + regexp.QuoteMeta(n.handler) + `["']?\]`)
}

// templateName is that of K3s's and RKE2's template for the version that they generate.
func (c *containerd) templateName(name string) string {
	if c.Version >= 3 {
		return strings.Replace(name, "config.", fmt.Sprintf("config-v%d.", c.Version), 1)
	}
	return name
}

// readConfig reads containerd's configuration, less the installer's part. Without a file containerd runs on defaults, and takes one of version 2.
func (n *node) readConfig(file string) (*containerd, error) {
	text, err := n.readText(file)
	if err == nil {
		text, err = cut(file, text)
	}
	if err != nil {
		return nil, err
	}
	if text == "" {
		return &containerd{Version: 2}, nil
	}
	c := &containerd{}
	if err := toml.Unmarshal([]byte(text), c); err != nil {
		if fault, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := fault.Position()
			return nil, fmt.Errorf("%s:%d:%d: %w", file, line, column, err)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	switch disabled := slices.IndexFunc(c.DisabledPlugins, isCRI); {
	case disabled >= 0:
		return nil, fmt.Errorf("%s: disabled_plugins switches CRI off (%q), so Kubernetes cannot use this containerd: take it out", file, c.DisabledPlugins[disabled])
	case c.Version < 2:
		return nil, fmt.Errorf("%s: version %d of the configuration knows no runtimes of CRI: move it to version 2 by \"containerd config migrate\"", file, max(c.Version, 1))
	}
	return c, nil
}

func isCRI(plugin string) bool {
	return slices.Contains([]string{"cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"}, plugin)
}

// readText reads a file of the node; a missing one is empty.
func (n *node) readText(file string) (string, error) {
	text, err := os.ReadFile(n.path(file))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// dropIn is the file beside the configuration that containerd merges into it; empty: it merges none. Before
// version 3 a file that is imported replaces the whole of CRI's configuration.
func (n *node) dropIn(d distribution, c *containerd) string {
	const name = "wagi.toml"
	if d.dropIns != "" {
		return filepath.Join(d.dropIns, name)
	}
	if c.Version < 3 {
		return ""
	}
	for _, pattern := range c.Imports {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(d.config), pattern)
		}
		file := filepath.Join(filepath.Dir(pattern), name)
		if ok, _ := filepath.Match(pattern, file); ok {
			return file
		}
	}
	return ""
}

// block makes the runtime known to CRI, with the annotations that the shim reads. It has no options: the shim finds the
// cgroup driver out by itself, and containerd 2.4 cannot start a pod with a user namespace for a runtime that has any.
func (n *node) block(d distribution, c *containerd) string {
	table := fmt.Sprintf("[plugins.%q.containerd.runtimes.", c.criPlugin())
	lines := []string{begin}
	if _, ok := c.Plugins[c.criPlugin()].Containerd.Runtimes["runc"]; !ok && c.Version < 3 && d.dropIns == "" {
		// containerd 1.x forgets its own default as soon as another runtime is named.
		lines = append(lines, table+`"runc"]`, `  runtime_type = "io.containerd.runc.v2"`)
	}
	lines = append(lines,
		fmt.Sprintf("%s%q]", table, n.handler),
		fmt.Sprintf("  runtime_type = %q", shimPath),
		`  pod_annotations = ["io.containerd.wagi.v1.*"]`,
		end, "")
	return strings.Join(lines, "\n")
}

// cut takes the installer's part out of a file's text.
func cut(file, text string) (string, error) {
	before, rest, found := strings.Cut(text, begin)
	if !found {
		return text, nil
	}
	_, after, found := strings.Cut(rest, end+"\n")
	if !found {
		return "", fmt.Errorf("%s: the line %q is missing after %q", file, end, begin)
	}
	if before = strings.TrimRight(before, "\n"); before != "" {
		before += "\n"
	}
	return before + after, nil
}

// write changes a file of the node; before the first time it keeps a copy. Without content the file goes.
func (n *node) write(name, old, content string) error {
	file := n.path(name)
	if content == "" {
		return os.Remove(file)
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	if backup := file + ".before-wagi"; old != "" {
		if _, err := os.Lstat(backup); errors.Is(err, os.ErrNotExist) {
			if err := put(backup, []byte(old), mode); err != nil {
				return err
			}
		}
	}
	return put(file, []byte(content), mode)
}
