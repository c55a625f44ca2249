#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# seal_library.sh IN.a OUT.a CC [ARG...]: one object of all of IN.a that shows only the names weir_*,
# so that a program which embeds it may use names like buf_get() itself. The compiler makes it, since
# IN.a may hold what only the compiler can turn into code (link-time optimisation).
set -eu
archive=$1
out=$2
object=$out.o
shift 2
case $("$@" --version) in
*clang*) flags= ;;
*) flags=-flinker-output=nolto-rel ;;
esac
# shellcheck disable=SC2086 # none or one
"$@" -r -nostdlib $flags -o "$object" -Wl,--whole-archive "$archive" -Wl,--no-whole-archive
objcopy --wildcard --keep-global-symbol='weir_*' "$object"
rm -f "$out"
ar rcs "$out" "$object"
rm -f "$object"
