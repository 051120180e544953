#!/usr/bin/env bash
# Checks who may import whom: cgi and shim meet in cgi/codecache alone, cgi has no containerd but its log package, shim no WebAssembly;
# the suites in test run the commands and import none of them.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(go list -m)
status=0

# forbid PACKAGES PATTERN [-test]: no dependency of PACKAGES, or with -test of their tests, may match PATTERN.
forbid() {
	local found
	found=$(GOOS=linux go list ${3:-} -deps "$1" | grep -E "$2" || true)
	if [ -n "$found" ]; then
		printf '%s must not depend on:\n%s\n' "$1" "$found" >&2
		status=1
	fi
}

forbid ./cgi/... "^$module/shim|^github.com/containerd/(containerd|ttrpc|cgroups|go-runc)"
forbid ./shim/... "^$module/(cgi$|cgi/guest|cgi/command|cgi/wat|images)|^github.com/tetratelabs/wazero"
forbid ./cgi/wat "\."
forbid ./cgi/codecache "^$module/(cgi$|cgi/guest|cgi/command|cgi/wat|images)|^github.com"
forbid ./cgi/guest "^$module/(cgi$|cgi/command|images)"
forbid ./cgi "^$module/(cgi/command|images)|^github.com/spf13"
forbid ./images "^$module/(cgi|shim)|^github.com/containerd/containerd"
forbid ./test/... "^$module/(cgi|cmd|images|shim)" -test
forbid ./cmd/wagi "^$module/shim|^github.com/containerd/containerd"
for package in ./cgi ./cgi/command ./cgi/wat ./images; do
	if go list -f '{{join .Imports "\n"}}' "$package" | grep -q '^github.com/tetratelabs/wazero'; then
		echo "$package must not import wazero: cgi/guest alone does" >&2
		status=1
	fi
done
exit $status
