#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# example_test.sh BUILD FLAGS CC [ARG...]: the library as programs outside the tree meet it. The
# header alone in C11 and C++17, what the libraries show, the examples built with pkg-config.
# shellcheck disable=SC2317,SC2046 # functions that check() calls; lists of words
set -u
build=$1
flags=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
count=0

check() { # check NAME COMMAND...: one TAP-like line
	name=$1
	shift
	count=$((count + 1))
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
		sed 's/^/# /' "$dir/log"
		failed=1
	fi
}

only_weir() { # only_weir NM_OPTIONS FILE: shows weir_* and at least 30 of these
	names=$(nm "$1" --defined-only "$2" | awk 'NF >= 3 { print $3 }')
	printf '%s\n' "$names" | grep -v '^weir_' && return 1
	[ "$(printf '%s\n' "$names" | grep -c '^weir_')" -ge 30 ]
}

all_declared() { # every function of the header is there
	sed -n 's/^[a-z].*[ *]\(weir_[a-z_]*\)(.*/\1/p' "$root/include/weir.h" | grep -v _fn |
		sort -u >"$dir/declared"
	nm -D --defined-only "$1" | awk '{ print $3 }' | sort -u >"$dir/shown"
	[ -s "$dir/declared" ] && diff "$dir/declared" "$dir/shown"
}

run_example() { # run_example NAME EXPECTED
	rm -rf "$dir/data"
	LD_LIBRARY_PATH="$libdir" "$dir/$1" "$dir/data" >"$dir/out" || return 1
	printf '%s\n' "$2" | diff - "$dir/out"
}

check 'meson installs it' meson install -C "$build" --no-rebuild --quiet --tags devel,runtime \
	--destdir "$dir/root"
pc=$(find "$dir/root" -name weir.pc)
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$dir/root"
check 'pkg-config knows it' pkg-config --exists --print-errors weir
cflags=$(pkg-config --cflags weir)
libs=$(pkg-config --libs weir)
printf '#include <weir.h>\nint main(void) { return weir_api() == WEIR_API ? 0 : 1; }\n' \
	>"$dir/alone.c"
cp "$dir/alone.c" "$dir/alone.cc"
warn='-Wall -Wextra -Wpedantic -Werror'
# shellcheck disable=SC2086 # lists of words
{
	check 'header alone, C11' "$@" -std=c11 $warn $cflags -fsyntax-only "$dir/alone.c"
	if command -v g++ >/dev/null; then
		check 'header alone, C++17' g++ -std=c++17 $warn $cflags -fsyntax-only "$dir/alone.cc"
		check 'header alone, C++11' g++ -std=c++11 $warn $cflags -fsyntax-only "$dir/alone.cc"
	fi
	check 'libweir.so shows weir_* only' only_weir -D "$libdir/libweir.so"
	check 'libweir.so has all of the header' all_declared "$libdir/libweir.so"
	check 'libweir.a shows weir_* only' only_weir -g "$libdir/libweir.a"
	for name in embed process_query block_write large; do
		check "$name builds" "$@" -std=c11 -O1 $warn $flags $cflags \
			"$root/examples/$name.c" -o "$dir/$name" $libs
	done
	check 'embed builds with libweir.a' "$@" -std=c11 -O1 $warn $flags $cflags \
		"$root/examples/embed.c" -o "$dir/embed_static" "$libdir/libweir.a" \
		$(PKG_CONFIG_SYSROOT_DIR="" pkg-config --libs liburing libisal libxxhash hwloc libssl libcrypto libnghttp2) -pthread -lm
}
embed='the river is the Wear
city = Durham
river = Wear'
check 'embed runs' run_example embed "$embed"
check 'embed runs with libweir.a' run_example embed_static "$embed"
check 'process_query runs' run_example process_query 'process hamlet: 6 words
process weir: 2 words
query hamlet: 6 words
query macbeth: no such key, object or file'
check 'block_write runs' run_example block_write '256 acknowledged, 0 wrong, 256 stored'
check 'large runs' run_example large '67108864 bytes, the same'
echo "1..$count"
exit "$failed"
