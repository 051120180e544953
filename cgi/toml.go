package cgi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"containerd-shim-wagi-v1/cgi/guest"
	"containerd-shim-wagi-v1/cgi/spelling"
)

// setters are the keys that a table may have. Each stores its value in *T.
type setters[T any] map[string]func(value, *T) error

var configKeys = setters[Config]{
	"module":       func(v value, c *Config) error { return v.modules(c) },
	"default_host": ignored[Config],
}

var moduleKeys = setters[Module]{
	"route":                func(v value, m *Module) error { return v.text(&m.Route) },
	"module":               func(v value, m *Module) error { return v.text(&m.Module) },
	"entrypoint":           func(v value, m *Module) error { return v.entrypoint(&m.Entrypoint) },
	"argv":                 func(v value, m *Module) error { m.Argv = new(string); return v.text(m.Argv) },
	"volumes":              func(v value, m *Module) error { return v.volumes(&m.Volumes) },
	"environment":          func(v value, m *Module) error { return v.environment(&m.Environment) },
	"allowed_hosts":        func(v value, m *Module) error { return v.hosts(&m.AllowedHosts) },
	"http_max_concurrency": func(v value, m *Module) error { return v.responses(&m.HTTPMaxConcurrency) },
	"reuse":                func(v value, m *Module) error { return v.not(&m.NoReuse) },
	"resume":               func(v value, m *Module) error { return v.boolean(&m.Resume) },
	"bindle_server":        ignored[Module],
	"repository":           ignored[Module],
	"host":                 ignored[Module],
}

// limitKeys stand at the top, for all modules, and in each module.
var limitKeys = setters[Limits]{
	"timeout":         func(v value, l *Limits) error { return v.duration(&l.Timeout) },
	"cpu":             func(v value, l *Limits) error { return v.duration(&l.CPU) },
	"memory":          func(v value, l *Limits) error { return v.memory(&l.Memory) },
	"max_body":        func(v value, l *Limits) error { return v.size(&l.MaxBody) },
	"max_output":      func(v value, l *Limits) error { return v.size(&l.MaxOutput) },
	"max_concurrency": func(v value, l *Limits) error { return v.count(&l.MaxConcurrency) },
	"queue":           func(v value, l *Limits) error { return v.queue(&l.Queue) },
	"wait":            func(v value, l *Limits) error { return v.wait(&l.Wait) },
}

// ignored accepts a key that WAGI's documents and examples carry and that has no effect.
func ignored[T any](v value, _ *T) error {
	v.warnf("key %q has no effect", v.key)
	return nil
}

// LoadConfig reads a modules.toml. A file that is called .wasm or .wat is a module itself, which serves all paths. Errors begin with
// FILE:LINE:COLUMN and name the key. The file must be a regular one of at most 1 MiB. LoadConfig does not
// look at the files that the configuration names: [New] does.
func LoadConfig(file string) (*Config, error) {
	if extension := filepath.Ext(file); extension == ".wasm" || extension == ".wat" {
		return &Config{File: file, Modules: []Module{{Route: wildcard, Module: file, Position: file}}}, nil
	}
	data, err := ReadConfigFile(file)
	if err != nil {
		return nil, err
	}
	return parseConfig(file, data)
}

func parseConfig(file string, data []byte) (*Config, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // a byte-order mark, as editors of Windows leave one
	d := &document{file: file, data: data, config: &Config{File: file}}
	var root map[string]any
	if err := toml.Unmarshal(data, &root); err != nil {
		return nil, d.syntaxError(err)
	}
	d.locate()
	v := value{document: d, content: root}
	if err := decode(v, configKeys, d.config, &d.config.Limits); err != nil {
		return nil, err
	}
	if _, ok := root["module"]; !ok {
		return nil, v.errorf("key %q is missing", "module")
	}
	return d.config, nil
}

// document is a modules.toml being read.
type document struct {
	file    string
	data    []byte
	config  *Config
	offsets map[string]int // where a key stands, by path, such as "module.0.route"
	lines   []int          // where each line begins
}

func (d *document) syntaxError(err error) error {
	var syntax *toml.DecodeError
	if !errors.As(err, &syntax) {
		return fmt.Errorf("%s: %w", d.file, err)
	}
	line, column := syntax.Position()
	return fmt.Errorf("%s:%d:%d: %s", d.file, line, column, strings.TrimPrefix(syntax.Error(), "toml: "))
}

// locate fills in offsets and lines.
func (d *document) locate() {
	d.offsets = map[string]int{"": 0}
	d.lines = []int{0}
	for i, c := range d.data {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	var parser unstable.Parser
	parser.Reset(d.data)
	tables := map[string]int{} // number of [[tables]] seen, by path
	base := ""
	for parser.NextExpression() {
		switch e := parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			var at int
			base, at = d.locateKey("", e.Key(), tables)
			if e.Kind == unstable.ArrayTable {
				tables[base]++
				base += "." + strconv.Itoa(tables[base]-1)
				d.offsets[base] = at
			}
		case unstable.KeyValue:
			path, _ := d.locateKey(base, e.Key(), tables)
			d.locateValue(path, e.Value())
		}
	}
}

// maxKeyParts bounds the parts of a dotted key that are located: there is no key of more.
const maxKeyParts = 4

// locateKey notes where the parts of a dotted key stand. It returns the path of the key and where its last part is.
func (d *document) locateKey(base string, key unstable.Iterator, tables map[string]int) (path string, at int) {
	for part := 0; part < maxKeyParts && key.Next(); part++ {
		if n := tables[base]; n > 0 {
			base += "." + strconv.Itoa(n-1)
		}
		base = join(base, string(key.Node().Data))
		at = int(key.Node().Raw.Offset)
		if _, ok := d.offsets[base]; !ok {
			d.offsets[base] = at
		}
	}
	return base, at
}

// locateValue notes where the keys and elements inside an inline value stand.
func (d *document) locateValue(path string, v *unstable.Node) {
	children := v.Children()
	for i := 0; children.Next(); i++ {
		switch child := children.Node(); {
		case v.Kind == unstable.InlineTable:
			path, _ := d.locateKey(path, child.Key(), nil)
			d.locateValue(path, child.Value())
		case v.Kind == unstable.Array:
			d.locateValue(join(path, strconv.Itoa(i)), child)
		}
	}
}

// value is a value in a document.
type value struct {
	*document
	path, key string
	content   any
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// at returns the value of a key.
func (v value) at(key string, content any) value {
	return value{document: v.document, path: join(v.path, key), key: key, content: content}
}

// position is the place of v or, for an element of an inline array, of what holds it.
func (v value) position() string {
	path := v.path
	at, ok := v.offsets[path]
	for !ok {
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
		at, ok = v.offsets[path]
	}
	line := sort.SearchInts(v.lines, at+1) // the first one that begins behind it, counted from 0
	return fmt.Sprintf("%s:%d:%d", v.file, line, at-v.lines[line-1]+1)
}

func (v value) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %s", v.position(), fmt.Sprintf(format, args...))
}

func (v value) warnf(format string, args ...any) {
	v.config.Warnings = append(v.config.Warnings, v.errorf(format, args...).Error())
}

// wantf is the error of a value of the wrong type.
func (v value) wantf(want string) error {
	return v.errorf("key %q: want %s, not %s", v.key, want, describe(v.content))
}

// unknown is the error about a key that is none of the known ones.
func (v value) unknown(known []string) error {
	hint := ""
	if similar := spelling.Nearest(v.key, slices.Values(known)); similar != "" {
		hint = fmt.Sprintf("; did you mean %q?", similar)
	}
	return v.errorf("unknown key %.80q%s", v.key, hint)
}

func describe(content any) string {
	switch c := content.(type) {
	case string:
		return strconv.Quote(c)
	case map[string]any:
		return "a table"
	case []any:
		return "an array"
	case float64: // 1.0 and 1e3 are no integers
		return strconv.FormatFloat(c, 'g', -1, 64) + " as a floating-point number"
	}
	return fmt.Sprint(content)
}

// entries are the values of a table in the order of the file.
func (v value) entries() ([]value, error) {
	table, ok := v.content.(map[string]any)
	if !ok {
		return nil, v.wantf("a table")
	}
	var entries []value
	for key, content := range table {
		entries = append(entries, v.at(key, content))
	}
	slices.SortFunc(entries, func(a, b value) int {
		return cmp.Or(cmp.Compare(v.offsets[a.path], v.offsets[b.path]), strings.Compare(a.key, b.key))
	})
	return entries, nil
}

// decode stores a table in t and, for the keys of limits, in l.
func decode[T any](v value, keys setters[T], t *T, l *Limits) error {
	entries, err := v.entries()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if set, ok := keys[entry.key]; ok {
			err = set(entry, t)
		} else if set, ok := limitKeys[entry.key]; ok {
			err = set(entry, l)
		} else {
			err = entry.unknown(slices.AppendSeq(slices.Collect(maps.Keys(keys)), maps.Keys(limitKeys)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v value) modules(c *Config) error {
	tables, ok := v.content.([]any)
	if !ok {
		return v.errorf("key %q: want [[module]] tables, not %s", v.key, describe(v.content))
	}
	c.Modules = make([]Module, len(tables))
	for i, table := range tables {
		v := v.at(strconv.Itoa(i), table)
		v.key = "module"
		m := &c.Modules[i]
		m.Position = v.position()
		if err := decode(v, moduleKeys, m, &m.Limits); err != nil {
			return err
		}
		switch {
		case m.Route == "":
			return v.errorf("key %q is missing in this [[module]]", "route")
		case m.Module == "":
			return v.errorf("key %q is missing in this [[module]]", "module")
		case m.Route[0] != '/':
			v.warnf("route %q can never match: it does not begin with /", m.Route)
		case strings.ContainsFunc(m.Route, notInPath):
			v.warnf("route %q can never match: no path of a request holds ?, #, spaces or control characters, unless percent-encoded", m.Route)
		}
	}
	return nil
}

// notInPath says whether no path of a request has the character: it ends there or is not valid, RFC 9112 §3.2.
func notInPath(c rune) bool {
	return c <= ' ' || c == 0x7f || c == '?' || c == '#'
}

func (v value) entrypoint(s *string) error {
	err := v.text(s)
	if err == nil && *s == "" {
		v.warnf("key %q is empty: _start is called", v.key)
	}
	return err
}

func (v value) text(s *string) error {
	text, ok := v.content.(string)
	if !ok {
		return v.wantf("a string")
	}
	if strings.ContainsRune(text, 0) {
		return v.errorf("key %q: holds a zero byte", v.key)
	}
	*s = text
	return nil
}

func (v value) texts(s *[]string) error {
	array, ok := v.content.([]any)
	if !ok {
		return v.wantf("an array of strings")
	}
	*s = make([]string, len(array))
	for i, content := range array {
		entry := v.at(strconv.Itoa(i), content)
		entry.key = v.key
		if err := entry.text(&(*s)[i]); err != nil {
			return err
		}
	}
	return nil
}

func (v value) hosts(hosts *[]string) error {
	if err := v.texts(hosts); err != nil {
		return err
	}
	for _, host := range *hosts {
		if u, err := url.Parse(host); err == nil && u.Host != "" && u.Scheme != "http" && u.Scheme != "https" {
			v.warnf("allowed host %q: requests are sent by http and https alone", host)
		}
	}
	return nil
}

func (v value) volumes(volumes *[]guest.Volume) error {
	entries, err := v.entries()
	for _, entry := range entries {
		var host string
		if err := entry.text(&host); err != nil {
			return err
		}
		host, readOnly := strings.CutSuffix(host, ":ro")
		if !readOnly {
			host = strings.TrimSuffix(host, ":rw") // which Docker has, too
		}
		if entry.key == "" || host == "" || strings.ContainsRune(entry.key, 0) {
			return entry.errorf("key %q: want a path in the guest = a directory of the host", entry.key)
		}
		*volumes = append(*volumes, guest.Volume{Guest: entry.key, Host: host, ReadOnly: readOnly})
	}
	return err
}

func (v value) environment(env *map[string]string) error {
	entries, err := v.entries()
	*env = make(map[string]string, len(entries))
	for _, entry := range entries {
		var text string
		if err := entry.text(&text); err != nil {
			return err
		}
		if entry.key == "" || strings.ContainsAny(entry.key, "=\x00") {
			return entry.errorf("key %q: not a name of a variable", entry.key)
		}
		switch {
		case slices.Contains(metaVariables, entry.key):
			entry.warnf("key %q has no effect: the gateway sets this variable", entry.key)
		case strings.ContainsFunc(entry.key, unicode.IsControl):
			entry.warnf("key %q: hardly a name of a variable", entry.key)
		}
		(*env)[entry.key] = text
	}
	return err
}

const (
	none     = "none" // the text of a limit that is switched off
	maxCount = 1 << 30
)

func (v value) duration(d *time.Duration) error {
	text, ok := v.content.(string)
	if text == none {
		*d = -1
		return nil
	}
	parsed, err := time.ParseDuration(text)
	if !ok || err != nil || parsed <= 0 {
		return v.wantf(`a duration such as "30s", or "none"`)
	}
	*d = parsed
	return nil
}

func (v value) count(n *int) error {
	if v.content == none {
		*n = -1
		return nil
	}
	count, ok := v.content.(int64)
	if !ok || count < 1 || count > maxCount {
		return v.wantf(`a number of requests from 1, or "none"`)
	}
	*n = int(count)
	return nil
}

func (v value) boolean(b *bool) error {
	content, ok := v.content.(bool)
	if !ok {
		return v.wantf("true or false")
	}
	*b = content
	return nil
}

// not stores the opposite of a boolean.
func (v value) not(b *bool) error {
	err := v.boolean(b)
	*b = !*b
	return err
}

func (v value) responses(n *int) error {
	count, ok := v.content.(int64)
	if !ok || count < 1 || count > maxCount {
		return v.wantf("a number of open responses from 1")
	}
	*n = int(count)
	return nil
}

func (v value) queue(n *int) error {
	count, ok := v.content.(int64)
	if !ok || count < 0 || count > maxCount {
		return v.wantf("a number of requests")
	}
	*n = int(count)
	if count == 0 {
		*n = -1
	}
	return nil
}

func (v value) wait(d *time.Duration) error {
	if v.content == "0s" {
		*d = -1
		return nil
	}
	if v.content == none {
		*d = math.MaxInt64
		return nil
	}
	return v.duration(d)
}

func (v value) memory(n *int64) error {
	if err := v.size(n); err != nil {
		return err
	}
	if *n >= 0 && (*n < 64<<10 || *n > maxMemory) {
		return v.wantf(`"64KiB" to "4GiB"`)
	}
	return nil
}

var units = map[string]int64{
	"": 1, "B": 1,
	"kB": 1e3, "MB": 1e6, "GB": 1e9,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}

func (v value) size(n *int64) error {
	if v.content == none {
		*n = -1
		return nil
	}
	text := fmt.Sprint(v.content)
	digits := strings.TrimRight(text, "BkKMGi ")
	size, err := strconv.ParseInt(digits, 10, 32)
	unit, ok := units[strings.TrimSpace(text[len(digits):])]
	if _, integer := v.content.(int64); integer {
		size, err = strconv.ParseInt(text, 10, 64)
	}
	if !ok || err != nil || size <= 0 {
		return v.wantf(`a size such as "64MiB", or "none"`)
	}
	*n = size * unit
	return nil
}
