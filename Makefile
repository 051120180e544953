# Everything that make builds or downloads goes to out/. As root on Debian 12 with Go, "make run" and "make test" need
# nothing else: they install the packages that are missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

PREFIX ?= /usr/local
PORT ?= 3000
EXAMPLES := hello env upload wat
GO_EXAMPLES := hello env upload
QUICKJS := 2025.04.26
KEDA := 2.21.0
CONTAINERDS := out/containerd-1.6 out/containerd-1.7 out/containerd-2.4

# The commit is stamped into the binaries even where the environment switches that off.
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=auto -tags no_grpc -ldflags='-s -w'

# The shim in the directory $(2), with the gateway in it that was built in $(1).
define SHIM
printf '{"Replace": {"%s": "%s"}}' $(CURDIR)/cmd/containerd-shim-wagi-v1/wagi $(abspath $(1))/wagi >$(1)/overlay.json && \
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -tags no_grpc,embed -overlay $(1)/overlay.json \
	-ldflags="-s -w -X main.gatewaySum=$$(sha256sum <$(1)/wagi | cut -d ' ' -f 1)" -o $(2)/containerd-shim-wagi-v1 ./cmd/containerd-shim-wagi-v1
endef

# Ends the output of go test with what came of it.
SUMMARY := awk -f test/summary.awk

INSTALL := apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends
TRIXIE := APT_CONFIG=$(CURDIR)/out/trixie/apt.conf apt-get

TARBALL_amd64 := containerd-shim-wagi-v1-linux-x86_64
TARBALL_arm64 := containerd-shim-wagi-v1-linux-aarch64
SBOM := go -C images/installer/sbom tool cyclonedx-gomod

.PHONY: help build images javascript run test unit e2e e2e-cri e2e-kubernetes e2e-docker bench bench-go bench-programs dist lint install clean packages packages-clang out/containerd-shim-wagi-v1 out/wagi out/installer

help: ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: out/containerd-shim-wagi-v1 out/wagi out/installer ## the static binaries, in out/

out/containerd-shim-wagi-v1: out/wagi
	$(call SHIM,out,out)

out/wagi:
	$(BUILD) -o $@ ./cmd/wagi

out/installer:
	$(BUILD) -o $@ ./images/installer

images: $(EXAMPLES:%=out/images/%.tar) ## the example images, as archives in out/images/

out/images/%.tar: out/wagi FORCE
	mkdir -p out/images/$*
	cp images/$*/modules.toml $(wildcard images/$*/*.wat) out/images/$*/
	$(if $(filter $*,$(GO_EXAMPLES)),GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags='-s -w' -o out/images/$*/$*.wasm ./images/$*)
	out/wagi image build out/images/$* -t $* -o $@

javascript: out/images/javascript.tar ## the example with an interpreter and a resume point; compiles QuickJS, a minute

out/images/javascript.tar: out/images/javascript/javascript.wasm out/wagi FORCE
	rm -rf out/images/javascript/app
	cp -r images/javascript/modules.toml images/javascript/app out/images/javascript/
	mkdir out/images/javascript/app/documents
	cp README.md out/images/javascript/app/documents/
	for part in cgi/gateway shim/shim; do cp $${part%/*}/RATIONALE.md out/images/javascript/app/documents/$${part#*/}.md; done
	out/wagi image build out/images/javascript -t javascript -o $@

out/images/javascript/javascript.wasm: images/javascript/build.sh images/javascript/main.c | out/quickjs-$(QUICKJS)
	mkdir -p $(@D)
	images/javascript/build.sh out/quickjs-$(QUICKJS) $@

out/quickjs-$(QUICKJS): out/trixie/apt.conf | packages-clang
	rm -rf $@.tmp && mkdir -p $@.tmp
	cd $@.tmp && $(TRIXIE) source -q --download-only quickjs=$(QUICKJS)-1 && tar -xf quickjs_*.orig.tar.xz --strip-components=1 && rm quickjs_*
	mv $@.tmp $@ && touch $@

FORCE:

run: packages build images out/containerd-1.6 ## serve the example images on 127.0.0.1, show requests; PORT=3000, KEEP=1 stays up
	PORT=$(PORT) KEEP=$(KEEP) test/run.sh

test: packages lint unit e2e ## lint, unit tests with the race detector, end to end on three containerds

unit: ## tests that need no root, no daemon, no network
	go test -race -timeout 30m ./cgi/... ./cmd/... ./images/... ./shim/... | $(SUMMARY)

e2e: packages build images javascript $(CONTAINERDS) out/cni out/busybox ## the shim under containerd 1.6, 1.7 and 2.4, by itself and in pods; needs root
	E2E=1 go test -count=1 -timeout 45m ./test ./test/cri | $(SUMMARY)

e2e-kubernetes: packages build images out/wagi-installer.tar out/kubernetes out/metrics out/keda out/etcd out/cni out/runc $(CONTAINERDS) ## the shim under Kubernetes 1.36; needs root; the first build takes some minutes
	command -v nft >/dev/null || { $(INSTALL) nftables; }
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o out/kubernetes/native ./test/testdata/native
	E2E=1 go test -count=1 -v -timeout 20m -parallel 4 ./test/kubernetes | $(SUMMARY)

e2e-cri: packages build out/containerd-1.7 out/containerd-2.4 out/cni out/busybox ## pods alone: what CRI asks of a runtime, beside runc's own shim
	E2E=1 go test -count=1 -timeout 20m -parallel 6 ./test/cri | $(SUMMARY)

e2e-docker: packages build images out/docker out/busybox ## the shim under Docker Engine 26.1; needs root
	E2E=1 go test -count=1 -v -timeout 20m ./test/docker | $(SUMMARY)

bench: packages build javascript bench-programs out/containerd-2.4 ## the gateway beside other servers and engines: the table of targets, and test/bench/servers.svg
	go -C test/bench vet ./...
	out/bench/bench -plot test/bench/servers.svg

bench-go: javascript ## the engine's benchmarks, six runs each, for benchstat
	go test -run '^$$' -bench . -count 6 ./cgi/...

lint: ## gofmt, go vet, staticcheck, the layers, go.mod
	test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	go vet ./...
	GOOS=darwin go vet ./cgi/... ./cmd/wagi
	GOOS=windows go vet ./cgi/... ./cmd/wagi
	go tool staticcheck ./...
	test/layers.sh
	go mod tidy -diff

# The node installer's image for this machine alone.
out/wagi-installer.tar: out/containerd-shim-wagi-v1 out/installer
	rm -rf out/wagi-installer && mkdir out/wagi-installer && cp $^ out/wagi-installer/
	go run ./images/installer/image wagi-installer $@ linux/$$(go env GOARCH)=out/wagi-installer

# Release files, named and laid out as node installers take them.
dist: dist-amd64 dist-arm64 ## release tarballs with checksums and SBOM, and the node installer's image, in out/dist/
	go run ./images/installer/image wagi-installer out/dist/wagi-installer.tar linux/amd64=out/dist/amd64 linux/arm64=out/dist/arm64
	rm -r out/dist/{,gateway-}amd64 out/dist/{,gateway-}arm64
	cd out/dist && sha256sum *.tar.gz wagi-installer.tar *.json > SHA256SUMS

dist-%:
	mkdir -p out/dist/$* out/dist/gateway-$*
	GOARCH=$* $(BUILD) -o out/dist/gateway-$*/wagi ./cmd/wagi
	export GOARCH=$*; $(call SHIM,out/dist/gateway-$*,out/dist/$*)
	GOARCH=$* $(BUILD) -o out/dist/$*/installer ./images/installer
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cz -C out/dist/$* -f out/dist/$(TARBALL_$*).tar.gz containerd-shim-wagi-v1
	cd out/dist && sha256sum $(TARBALL_$*).tar.gz > $(TARBALL_$*).tar.gz.sha256
	$(SBOM) bin -json -output $(CURDIR)/out/dist/$(TARBALL_$*).cdx.json $(CURDIR)/out/dist/$*/containerd-shim-wagi-v1
	$(SBOM) bin -json -output $(CURDIR)/out/dist/$(TARBALL_$*:containerd-shim-wagi-v1%=wagi%).cdx.json $(CURDIR)/out/dist/gateway-$*/wagi

install: out/containerd-shim-wagi-v1 ## into $(PREFIX)/bin: the shim, and wagi, which is a link to it
	install -D -m 0755 out/containerd-shim-wagi-v1 $(DESTDIR)$(PREFIX)/bin/containerd-shim-wagi-v1
	ln -sf containerd-shim-wagi-v1 $(DESTDIR)$(PREFIX)/bin/wagi

clean: ## remove out/
	rm -rf out

# Packages are installed only where their command is missing, so that a node's own container engine stays.
packages:
	@missing=; [ -e /usr/include/stdlib.h ] || missing=" libc6-dev"; for need in runc:runc ip:iproute2 iptables:iptables curl:curl gcc:gcc wat2wasm:wabt git:git; do \
		command -v $${need%%:*} >/dev/null || missing+=" $${need##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		$(INSTALL) $$missing; \
	fi

# What compiles C to WebAssembly, and unpacks sources.
packages-clang:
	@missing=; for need in bin/xz:xz-utils bin/clang-19:clang-19 bin/wasm-ld-19:lld-19 include/wasm32-wasi/stdio.h:wasi-libc \
			lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a:libclang-rt-19-dev-wasm32; do \
		[ -e /usr/$${need%%:*} ] || missing+=" $${need##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		$(INSTALL) $$missing; \
	fi

# Debian's containerd is unpacked, not installed: installing it would start a service and replace other engines.
out/containerd-1.6:
	rm -rf $@.tmp && mkdir -p $@.tmp
	apt-cache show containerd >/dev/null 2>&1 || apt-get update -q
	cd $@.tmp && apt-get download -q containerd && dpkg -x containerd_*.deb . && mv usr/bin/* . && rm -rf usr etc lib *.deb
	mv $@.tmp $@

# As containerd: unpacked, because Debian's busybox and busybox-static exclude each other.
out/busybox:
	rm -rf $@.tmp && mkdir -p $@.tmp
	apt-cache show busybox-static >/dev/null 2>&1 || apt-get update -q
	cd $@.tmp && apt-get download -q busybox-static && dpkg -x busybox-static_*.deb .
	mv $@.tmp/bin/busybox $@ && rm -rf $@.tmp

out/containerd-1.7: test/containerd-1.7/go.mod test/containerd-1.7/go.sum
	GOBIN=$(CURDIR)/$@ go -C test/containerd-1.7 install tool && touch $@

out/containerd-2.4: test/containerd-2.4/go.mod test/containerd-2.4/go.sum
	GOBIN=$(CURDIR)/$@ go -C test/containerd-2.4 install tool && touch $@

# The components are told their version by the linker, which is all that their own build adds.
out/kubernetes: test/kubernetes/build/go.mod test/kubernetes/build/go.sum
	GOBIN=$(CURDIR)/$@.tmp CGO_ENABLED=0 go -C test/kubernetes/build install -trimpath -ldflags="-s -w $$(go -C test/kubernetes/build list -m \
		-f '-X k8s.io/component-base/version.gitVersion={{.Version}}' k8s.io/kubernetes)" tool
	rm -rf $@ && mv $@.tmp $@

out/metrics: test/kubernetes/metrics/go.mod test/kubernetes/metrics/go.sum
	GOBIN=$(CURDIR)/$@ CGO_ENABLED=0 go -C test/kubernetes/metrics install -trimpath -ldflags='-s -w' tool && touch $@

out/runc: test/kubernetes/runc/go.mod test/kubernetes/runc/go.sum
	[ -e /usr/include/seccomp.h ] || { $(INSTALL) libseccomp-dev pkg-config; }
	GOBIN=$(CURDIR)/$@ CGO_ENABLED=1 go -C test/kubernetes/runc install -trimpath -tags 'seccomp netgo osusergo' -ldflags='-s -w -extldflags=-static' tool && touch $@

# What KEDA tells an API server of its objects: by it ours are checked.
out/keda:
	rm -rf $@.tmp && mkdir -p $@.tmp
	cp "$$(go mod download -json github.com/kedacore/keda/v2@v$(KEDA) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p')"/config/crd/bases/keda.sh_scaledobjects.yaml $@.tmp/
	mv $@.tmp $@

# The etcd of Debian 13: that of Debian 12 is too old.
out/etcd: out/trixie/apt.conf
	rm -rf $@.tmp && mkdir -p $@.tmp
	cd $@.tmp && $(TRIXIE) download -q etcd-server && dpkg -x etcd-server_*.deb . && mv usr/bin/etcd . && rm -rf usr etc lib *.deb
	mv $@.tmp $@ && touch $@

out/cni: test/cni/go.mod test/cni/go.sum
	CGO_ENABLED=0 GOBIN=$(CURDIR)/$@ go -C test/cni install -trimpath tool && touch $@

# What make bench compares: guests, the same program for servers that fork, and those servers.
BENCH_GUESTS := hello body sleep compute

bench-programs: packages-clang out/bench/debian
	for guest in $(BENCH_GUESTS); do clang-19 --target=wasm32-wasi -O2 -mbulk-memory -s -o out/bench/$$guest.wasm test/bench/guests/$$guest.c; done
	GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags='-s -w' -o out/bench/go.wasm test/bench/guests/hello/main.go
	gcc -O2 -o out/bench/hello.cgi test/bench/guests/hello.c
	CGO_ENABLED=0 go -C test/bench build -trimpath -o $(CURDIR)/out/bench/nethttp ./hello
	go -C test/bench build -trimpath -o $(CURDIR)/out/bench/ . ./peer

# Unpacked, not installed: nothing of the machine changes.
out/bench/debian:
	rm -rf $@.tmp && mkdir -p $@.tmp
	apt-cache show apache2-bin >/dev/null 2>&1 || apt-get update -q
	cd $@.tmp && apt-get download -q apache2-bin libapr1 libaprutil1 libexpat1 nginx fcgiwrap libfcgi0ldbl wrk libluajit-5.1-2
	cd $@.tmp && for package in *.deb; do dpkg -x $$package .; done && rm *.deb
	mv $@.tmp $@

# Debian 12's Docker is too old for shims of others. Debian 13's runs here as unpacked, in a folder of its own.
out/docker: out/trixie/apt.conf
	rm -rf $@.tmp && mkdir -p $@.tmp/cli-plugins $@.tmp/debs
	cd $@.tmp/debs && $(TRIXIE) download -q docker.io docker-cli docker-buildx docker-compose containerd tini && for deb in *.deb; do dpkg -x "$$deb" .; done
	cd $@.tmp && mv debs/usr/sbin/{dockerd,docker-proxy} debs/usr/bin/{docker,docker-init,tini-static,containerd,containerd-shim-runc-v2} . && \
		mv debs/usr/libexec/docker/cli-plugins/* cli-plugins/ && rm -rf debs
	mv $@.tmp $@ && touch $@

# Debian 13, for what Debian 12 has too old. apt keeps its lists apart, so that those of the machine stay as they are.
out/trixie/apt.conf:
	rm -rf $(@D) && mkdir -p $(@D)/{lists,cache/archives}/partial && touch $(@D)/status
	mirror=$$(apt-get indextargets --format '$$(REPO_URI)' | grep -v security | head -n 1) && \
		for type in deb deb-src; do echo "$$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $$mirror trixie main"; done >$(@D)/sources.list
	cd $(@D) && printf '%s "%s";\n' Dir::Etc::SourceList "$$PWD/sources.list" Dir::Etc::SourceParts - Dir::State::Lists "$$PWD/lists" \
		Dir::State::Status "$$PWD/status" Dir::Cache "$$PWD/cache" APT::Sandbox::User root >apt.conf.tmp
	APT_CONFIG=$(CURDIR)/$@.tmp apt-get update -q && mv $@.tmp $@
