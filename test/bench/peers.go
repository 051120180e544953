//go:build linux

package main

import (
	"context"
	"embed"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed config
var configs embed.FS

var templates = template.Must(template.ParseFS(configs, "config/*"))

// startServers starts what is compared. The caller closes them, after an error too.
func (b *bench) startServers(ctx context.Context) (servers []*server, err error) {
	script := filepath.Join(b.dir, "hello.cgi") // where Apache's workers, who are nobody, may reach it
	if err := b.copy(script, "hello.cgi"); err != nil {
		return nil, err
	}
	module := b.bin("hello.wasm")
	for _, s := range []struct {
		name   string
		launch func(context.Context, *server) error
	}{
		{"wagi", b.gateway(route{"/hello", module})},
		{"net/http without CGI", b.command("nethttp")},
		{"net/http, wasmtime", b.command("peer", "wasmtime", module)},
		{"net/http, wazero", b.command("peer", "wazero", module)},
		{"net/http/cgi, native program", b.command("peer", "native", script)},
		{"Apache mod_cgid, native program", b.apache(script)},
		{"nginx and fcgiwrap, native program", b.nginx(script)},
	} {
		started, err := b.start(ctx, s.name, "/hello", s.launch)
		if err != nil {
			return servers, err
		}
		servers = append(servers, started)
	}
	return servers, nil
}

func (b *bench) copy(to, name string) error {
	program, err := os.ReadFile(b.bin(name))
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}

// command launches a program that takes its address as the last argument.
func (b *bench) command(name string, args ...string) func(context.Context, *server) error {
	return func(ctx context.Context, s *server) error {
		return s.run(ctx, nil, append(append([]string{b.bin(name)}, args...), s.address)...)
	}
}

// route is one of a gateway's modules.toml.
type route struct{ Path, Module string }

// gateway launches a gateway with these routes. Limits are so high that they limit nothing here.
func (b *bench) gateway(routes ...route) func(context.Context, *server) error {
	return func(ctx context.Context, s *server) error {
		file := s.log + ".toml"
		if err := b.fill(file, "modules.toml", routes); err != nil {
			return err
		}
		return s.run(ctx, nil, filepath.Join(b.out, "wagi"), "-c", file, "--listen", s.address)
	}
}

func (b *bench) apache(script string) func(context.Context, *server) error {
	return func(ctx context.Context, s *server) error {
		file, err := b.configure(s, "apache.conf", script)
		if err != nil {
			return err
		}
		return s.run(ctx, b.libraries(), b.bin("debian/usr/sbin/apache2"), "-f", file, "-DFOREGROUND")
	}
}

func (b *bench) nginx(script string) func(context.Context, *server) error {
	return func(ctx context.Context, s *server) error {
		file, err := b.configure(s, "nginx.conf", script)
		if err != nil {
			return err
		}
		socket := "unix:" + filepath.Join(b.dir, "fcgi.sock")
		if err := s.run(ctx, b.libraries(), b.bin("debian/usr/sbin/fcgiwrap"), "-c", "16", "-s", socket); err != nil {
			return err
		}
		return s.run(ctx, b.libraries(), b.bin("debian/usr/sbin/nginx"), "-c", file)
	}
}

// libraries is the environment of programs that were unpacked, not installed.
func (b *bench) libraries() []string {
	return []string{"LD_LIBRARY_PATH=" + b.bin("debian/usr/lib/x86_64-linux-gnu")}
}

// configure writes the configuration of a server and returns its path.
func (b *bench) configure(s *server, name, script string) (string, error) {
	file := filepath.Join(b.dir, name)
	return file, b.fill(file, name, map[string]string{"Debian": b.bin("debian"), "Dir": b.dir, "Address": s.address, "Script": script})
}

// fill writes a file by a template.
func (b *bench) fill(file, name string, data any) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return templates.ExecuteTemplate(f, name, data)
}

// measureServers compares servers that answer hello.
func measureServers(ctx context.Context, b *bench) (err error) {
	b.servers, err = b.startServers(ctx)
	defer closeAll(&err, &b.servers)
	if err != nil {
		return err
	}
	if err := b.each(len(b.servers), func(i int) error { return b.load(ctx, b.servers[i]) }); err != nil {
		return err
	}
	wagi, plain, apache, nginx := b.servers[0], b.servers[1], b.servers[5], b.servers[6]
	b.atMost(1.25, ratio(wagi.costs, plain.costs), "CPU of a request, C hello, to plain net/http")
	b.atLeast(.65, ratio(wagi.rates, plain.rates), "requests/s, C hello, to plain net/http")
	b.atLeast(30, ratio(wagi.rates, apache.rates), "requests/s, C hello, to Apache mod_cgid")
	b.atLeast(25, ratio(wagi.rates, nginx.rates), "requests/s, C hello, to nginx and fcgiwrap")
	return nil
}
