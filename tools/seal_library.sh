#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# seal_library.sh IN.a OUT.a: one object of all of IN.a that shows only the names weir_*, so that a
# program which embeds it may use names like buf_get() itself.
set -eu
object=$2.o
ld -r --whole-archive "$1" -o "$object"
objcopy --wildcard --keep-global-symbol='weir_*' "$object"
rm -f "$2"
ar rcs "$2" "$object"
rm -f "$object"
