#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The NVMe/TCP target, judged by the kernel's initiator and nvme-cli.
# shellcheck source=lab/guest.sh
. "$(dirname "$0")/guest.sh"
modprobe nvme-tcp
NQN=nqn.2026-01.org.example:lab

cat > weir.conf <<END
memory = 512M
[resp]
listen = off
[http]
listen = off
[s3]
listen = off
[workers]
count = 2
[nvme_tcp]
listen = 127.0.0.1:4420
nqn = $NQN
[stack disk]
layers = file path=/dev/shm/disk.img size=64M create=yes
export = yes
[stack fixed]
layers = file path=/dev/shm/disk2.img size=16M create=yes
export = yes
read_only = yes
END

start() {
	"$WEIR" serve -c weir.conf store > serve.out 2>> serve.log &
	PID=$!
	wait_for 60 grep -q nvme_tcp serve.out
}

start
nvme discover -t tcp -a 127.0.0.1 -s 4420 > discovery.txt
expect discovery.txt "subnqn: +$NQN"
expect discovery.txt 'subtype: current discovery subsystem'
nvme connect -t tcp -a 127.0.0.1 -s 4420 -n nqn.2026-01.org.example:none > refused.txt 2>&1 &&
	fail "a subsystem that is not there"

for digests in "" "--hdr-digest" "--data-digest" "--hdr-digest --data-digest"; do
	# shellcheck disable=SC2086 # words
	nvme connect -t tcp -a 127.0.0.1 -s 4420 -n $NQN -i 2 $digests
	wait_for 20 nvme_disk $NQN
	disk=$(nvme_disk $NQN)
	controller=${disk%n1}
	nvme id-ctrl "$controller" > id-ctrl.txt
	expect id-ctrl.txt 'mn +: weir'
	expect id-ctrl.txt 'subnqn +: '$NQN
	nvme id-ns "$disk" > id-ns.txt
	expect id-ns.txt 'nsze +: 0x4000'
	expect id-ns.txt 'lbads:12 .*in use'
	nvme ns-descs "$disk" | grep -q uuid
	nvme list-ns "$controller" > list-ns.txt
	expect list-ns.txt '0\]:0x1'
	expect list-ns.txt '1\]:0x2'
	[ "$(blockdev --getsize64 "$disk")" = $((64 << 20)) ]
	[ "$(blockdev --getro "$(nvme_disk $NQN 2)")" = 1 ]
	verify "$disk" 4k 4m
	verify "$disk" 128k 16m
	nvme flush "$disk"
	blkdiscard -o 0 -l $((1 << 20)) "$disk"
	dd if=/dev/urandom of="$disk" bs=1M seek=1 count=1 oflag=direct status=none
	blkdiscard -z -o $((1 << 20)) -l $((1 << 20)) "$disk"
	cmp -n $((1 << 20)) -i $((1 << 20)):0 "$disk" /dev/zero
	nvme compare "$disk" -s 256 -c 0 -z 4096 -d /dev/zero
	nvme compare "$disk" -s 256 -c 0 -z 4096 -d /dev/urandom > compare.txt 2>&1 &&
		fail "different blocks compared as equal"
	nvme verify "$disk" -s 0 -c 63
	nvme smart-log "$controller" > smart.txt
	expect smart.txt 'host_read_commands\s*: [1-9]'
	nvme fw-log "$controller" | grep -q frs1
	nvme error-log "$controller" > /dev/null
	nvme changed-ns-list-log "$controller"
	nvme get-feature "$controller" -f 7 | grep -q 'value:0x0*3f003f'
	nvme get-feature "$controller" -f 0x55 > feature.txt 2>&1 && fail "an unknown feature"
	nvme disconnect -n $NQN
	wait_for 20 bash -c "! [ -e $disk ]"
done

# Killed with I/O running: the initiator connects again, and nothing that was acknowledged is lost.
nvme connect -t tcp -a 127.0.0.1 -s 4420 -n $NQN -i 2 --reconnect-delay=1 --ctrl-loss-tmo=120
wait_for 20 nvme_disk $NQN
disk=$(nvme_disk $NQN)
fio --name=kill --filename="$disk" --ioengine=io_uring --direct=1 --rw=randrw --bs=4k --iodepth=8 \
	--size=8m --io_size=64m --verify=crc32c --verify_backlog=64 --verify_fatal=1 \
	--time_based --runtime=25 --output=kill.out &
FIO=$!
for round in 1 2; do
	sleep 5
	kill -9 $PID
	wait $PID || true
	start
	echo "killed and started again: $round"
done
wait $FIO || { cat kill.out; fail "I/O over a target that was killed"; }
expect kill.out 'err= 0'
dmesg | grep -c 'Successfully reconnected' > reconnected.txt
[ "$(cat reconnected.txt)" -ge 2 ]
nvme disconnect -n $NQN
kill -TERM $PID
wait $PID
if grep -E 'malformed|assert|Sanitizer' serve.log; then
	fail "the server's log"
fi
