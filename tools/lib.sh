# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
# What ./run, ./test and the Makefile share. Sourced from the root of the tree, under `set -eu`.

# What a build needs, and what the tests need besides: packages of Debian 12.
build_packages='gcc libc6-dev meson ninja-build pkg-config liburing-dev libisal-dev libxxhash-dev
	libhwloc-dev libssl-dev libnghttp2-dev'
test_packages='libcmocka-dev python3 binutils curl'
judge_packages='redis-tools tcl prometheus s3cmd rclone restic awscli python3-boto3 tshark'

say() {
	printf '%s\n' "$*" >&2
}

die() {
	say "$0: $*"
	exit 3 # the environment refused
}

# The packages among the arguments that are not installed, on one line.
missing_packages() {
	missing=''
	for package in "$@"; do
		state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=none
		[ "$state" = installed ] || missing="$missing $package"
	done
	printf '%s' "${missing# }"
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "not root and no sudo: as root, run: $*"
	fi
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >&2
}

# Installs those of the packages that are missing. Asks nothing; says what it installs.
need_packages() {
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		say "Not a Debian: going on as if these were here: $*"
		return 0
	fi
	missing=$(missing_packages "$@")
	[ -n "$missing" ] || return 0
	say "Installing with apt-get: $missing"
	# shellcheck disable=SC2086 # one word a package
	apt_get install -y --no-install-recommends $missing 2>/dev/null && return 0
	apt_get update || say "apt-get update failed; trying with the lists that are here"
	# shellcheck disable=SC2086
	apt_get install -y --no-install-recommends $missing || return 1
}

# All the files that meson.build finds by looking: when they change, it must look again.
source_list() {
	tools/sources.sh src/* tests fuzz bench
	find include docs -name '*.h' -o -name '*.scd' 2>/dev/null | LC_ALL=C sort
}

# configure DIR OPTION...: makes the build directory, or brings it up to date with the tree.
configure() {
	dir=$1
	shift
	list=$(source_list)
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$dir" "$@" >&2
	elif [ "$list" != "$(cat "$dir/sources.list" 2>/dev/null)" ]; then
		meson setup --reconfigure "$dir" >&2
	fi
	printf '%s\n' "$list" >"$dir/sources.list"
}

configure_release() {
	configure build --buildtype=release -Dtests=disabled
}

configure_debug() {
	configure build-debug --buildtype=debug -Db_lto=false -Db_sanitize=address,undefined \
		-Dtests=enabled
}
