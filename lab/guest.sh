# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests of lab/ share. Sourced in the guest.
set -euo pipefail
[ "${LAB_GUEST:-}" = 1 ] || { echo "this runs in a guest: make lab"; exit 2; }
PS4='+ $SECONDS '
set -x
export ASAN_OPTIONS=detect_leaks=0
mkdir -p /etc/nvme /tmp/lab
cd /tmp/lab
[ -s /etc/nvme/hostnqn ] || nvme gen-hostnqn > /etc/nvme/hostnqn

fail() {
	echo "lab: $*" >&2
	dmesg | tail -30
	exit 1
}

# expect FILE WORDS: a line of the file has them.
expect() {
	grep -qE -- "$2" "$1" || { cat "$1"; fail "expected \"$2\" in $1"; }
}

# wait_for SECONDS COMMAND...
wait_for() {
	local tries=$(($1 * 5))
	shift
	while ! "$@" > /dev/null 2>&1; do
		((tries-- > 0)) || fail "never happened: $*"
		sleep .2
	done
}

# The block device of namespace $2 (1) of a subsystem that is connected.
nvme_disk() {
	local s
	for s in /sys/class/nvme-subsystem/*; do
		[ "$(cat "$s/subsysnqn" 2>/dev/null)" = "$1" ] || continue
		local d
		d=$(find "$s/" -maxdepth 1 -regex ".*/nvme[0-9]+n${2:-1}" -printf '%f\n' | head -1)
		[ -n "$d" ] && [ -b "/dev/$d" ] && { echo "/dev/$d"; return; }
	done
	return 1
}

# verify DISK BLOCK_SIZE SIZE: random writes and reads that prove their content.
verify() {
	fio --name=verify --filename="$1" --ioengine=io_uring --direct=1 --rw=randrw --bs="$2" \
		--iodepth=16 --size="$3" --verify=crc32c --verify_fatal=1 --randseed=1 \
		--output=fio.out || { cat fio.out; fail "fio on $1 with blocks of $2"; }
	expect fio.out 'err= 0'
}
