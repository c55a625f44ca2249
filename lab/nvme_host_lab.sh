#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The NVMe/TCP initiator, judged by the kernel's target: a stack on nvme_tcp of nvmet, exported
# again, so that the kernel's initiator reads what went through both.
# shellcheck source=lab/guest.sh
. "$(dirname "$0")/guest.sh"
FAR=nqn.2026-01.org.example:far NEAR=nqn.2026-01.org.example:near
N=/sys/kernel/config/nvmet
modprobe brd rd_nr=1 rd_size=65536
modprobe nvmet-tcp
modprobe nvme-tcp

mkdir -p "$N/subsystems/$FAR/namespaces/1" "$N/ports/1"
echo 1 > "$N/subsystems/$FAR/attr_allow_any_host"
echo -n /dev/ram0 > "$N/subsystems/$FAR/namespaces/1/device_path"
echo 1 > "$N/subsystems/$FAR/namespaces/1/enable"
echo tcp > $N/ports/1/addr_trtype
echo ipv4 > $N/ports/1/addr_adrfam
echo 127.0.0.1 > $N/ports/1/addr_traddr
echo 4420 > $N/ports/1/addr_trsvcid
ln -s "$N/subsystems/$FAR" "$N/ports/1/subsystems/$FAR"

"$WEIR" inspect nvme 127.0.0.1:4420 > discovery.txt
expect discovery.txt "$FAR at 127.0.0.1:4420"
expect discovery.txt 'controller  Linux'
expect discovery.txt 'the first   64.0 MiB'

for digests in none both; do
	cat > weir.conf <<-END
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
	listen = 127.0.0.1:4421
	nqn = $NEAR
	[stack far]
	layers = nvme_tcp addr=127.0.0.1:4420 nqn=$FAR digests=$digests
	export = yes
	END
	"$WEIR" serve -c weir.conf store > serve.out 2>> serve.log &
	PID=$!
	wait_for 60 grep -q nvme_tcp serve.out
	nvme connect -t tcp -a 127.0.0.1 -s 4421 -n $NEAR -i 1
	wait_for 20 nvme_disk $NEAR
	disk=$(nvme_disk $NEAR)
	verify "$disk" 4k 4m
	verify "$disk" 128k 8m
	dd if=/dev/urandom of=random bs=1M count=2 status=none
	dd if=random of="$disk" bs=1M seek=3 oflag=direct conv=fsync status=none
	echo 1 > /proc/sys/vm/drop_caches # of /dev/ram0: the target goes past them
	cmp -n $((2 << 20)) -i $((3 << 20)):0 /dev/ram0 random
	blkdiscard -z -o $((3 << 20)) -l $((1 << 20)) "$disk"
	echo 1 > /proc/sys/vm/drop_caches
	cmp -n $((1 << 20)) -i $((3 << 20)):0 /dev/ram0 /dev/zero

	# The target goes, with I/O running, and comes back.
	fio --name=away --filename="$disk" --ioengine=io_uring --direct=1 --rw=randrw --bs=4k \
		--iodepth=8 --size=8m --verify=crc32c --verify_backlog=64 --verify_fatal=1 \
		--time_based --runtime=10 --output=away.out &
	FIO=$!
	sleep 3
	rm "$N/ports/1/subsystems/$FAR"
	sleep 2
	ln -s "$N/subsystems/$FAR" "$N/ports/1/subsystems/$FAR"
	wait $FIO || { cat away.out; cat serve.log; fail "I/O over a target that was away"; }
	expect away.out 'err= 0'
	expect serve.log 'nvme_tcp: lost'
	nvme disconnect -n $NEAR
	kill -TERM $PID
	wait $PID
done
