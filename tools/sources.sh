#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The .c files of the directories named (-x EXT: other files), one a line, in a fixed order. For
# meson.build; a directory that is not there has none.
cd "$(dirname "$0")/.." || exit 1
extension=c
if [ "${1:-}" = -x ]; then
	extension=$2
	shift 2
fi
for dir in "$@"; do
	[ ! -d "$dir" ] || find "$dir" -maxdepth 1 -name "*.$extension"
done | LC_ALL=C sort
