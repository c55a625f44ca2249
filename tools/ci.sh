#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make ci: both compilers, lint, every test, the threaded tests under TSan, each fuzzer for a while.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

(export CC=clang && configure build-clang --buildtype=debug -Dtests=enabled && ninja -C build-clang)
make lint
./test
make tsan
for target in fuzz/*_fuzz.c; do
	[ -f "$target" ] || continue
	name=${target#fuzz/}
	make fuzz F="${name%_fuzz.c}" S="${S:-60}"
done
