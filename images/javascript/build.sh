#!/bin/sh
# Compiles QuickJS and main.c: build.sh SOURCE RESULT, with the folder of QuickJS's source. Needs clang 19, lld 19,
# wasi-libc and libclang-rt-19-dev-wasm32.
set -eu
source=$1 result=$2 here=$(dirname "$0")
touch "$source/setjmp.h" # which dtoa.c includes but does not use, and wasi-libc lacks
# As for Emscripten: without computed gotos, atomics and the native stack's limit.
clang-19 --target=wasm32-wasi -O2 -s -w -D_GNU_SOURCE -DEMSCRIPTEN -DCONFIG_VERSION="\"$(cat "$source/VERSION")\"" \
	-Wl,-z,stack-size=4194304,--stack-first -I"$source" -o "$result" \
	"$here/main.c" "$source/quickjs.c" "$source/libregexp.c" "$source/libunicode.c" "$source/cutils.c" "$source/dtoa.c"
