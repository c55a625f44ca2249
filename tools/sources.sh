#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The .c files of the directories named, one a line, in a fixed order: for meson.build.
cd "$(dirname "$0")/.." || exit 1
for dir in "$@"; do
	find "$dir" -maxdepth 1 -name '*.c'
done | LC_ALL=C sort
