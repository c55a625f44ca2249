#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fio verifies what it writes by NBD, to volumes and to stacks; tshark sees no malformed frame."""
import subprocess
import time

from judge import Tap, parser, skip
from nbd_judge import need, run, served


def fio(uri, *words):
    return run("fio", "--name=v", "--ioengine=nbd", f"--uri={uri}", "--verify=crc32c",
               "--verify_fatal=1", "--verify_dump=0", "--verify_state_save=0",
               "--randrepeat=1", *words)


def verifies(tap, server, name):
    for title, words in (
            ("4 KiB at depth 32", ("--rw=randrw", "--bs=4k", "--size=24M", "--iodepth=32")),
            ("4 to 256 KiB", ("--rw=randwrite", "--bsrange=4k-256k", "--size=48M",
                              "--iodepth=8")),
            ("1 MiB in order", ("--rw=write", "--bs=1M", "--size=48M", "--iodepth=4"))):
        text, good = fio(server.uri(name), *words)
        tap.case(good and "err= 0" in text, f"fio verifies {name}, {title}", text)
    text, good = run("fio", "--name=t", "--ioengine=nbd", f"--uri={server.uri(name)}",
                     "--rw=randtrim", "--bs=64k", "--size=32M", "--iodepth=4")
    tap.case(good and "err= 0" in text, f"fio trims {name}", text)


def sniff(tap, server):
    """What was sent on the wire, in the eyes of a dissector that others wrote."""
    path = str(server.directory / "capture.pcap")
    tshark = subprocess.Popen(["tshark", "-q", "-i", "lo", "-w", path, "-f",
                               f"tcp port {server.nbd_port}"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = tshark.stderr.readline()
    while "Capturing" not in line and line:
        line = tshark.stderr.readline()
    if not line:
        print("# tshark may not capture here", flush=True)
        return
    time.sleep(1)
    run("nbdinfo", server.uri("disk"))
    run("qemu-io", "-f", "raw", "-c", "write -P 3 0 128k", "-c", "read 0 128k", "-c",
        "discard 0 64k", "-c", "flush", server.uri("disk"))
    time.sleep(1)
    tshark.terminate()
    tshark.communicate(timeout=30)
    dissect = ("tshark", "-r", path)  # it knows NBD by its magic numbers
    text, good = run(*dissect, "-Y", "nbd")
    tap.case(good and "Read Request" in text, "tshark knows it for NBD", text)
    text, good = run(*dissect, "-Y", "nbd and _ws.malformed")
    lines = [row for row in text.splitlines() if "Running as user" not in row]
    tap.case(good and not lines, "no malformed frame", "\n".join(lines))


def main():
    parser(__doc__).parse_args()
    need(("fio", "fio"), ("tshark", "tshark"), ("nbdinfo", "libnbd-bin"),
         ("qemu-io", "qemu-utils"))
    if "nbd" not in run("fio", "--enghelp")[0]:
        skip("this fio has no engine for NBD")
    tap = Tap()
    with served() as server:
        server.volume("create", "disk", "64M")
        server.volume("create", "large", "64M", "--record", "32K")
        verifies(tap, server, "disk")
        server.volume("snapshot", "disk", "disk@1")
        verifies(tap, server, "disk")
        text, good = fio(server.uri("large"), "--rw=randwrite", "--bs=32k", "--size=32M",
                         "--iodepth=8")
        tap.case(good and "err= 0" in text, "fio verifies records of 32 KiB", text)
        sniff(tap, server)
    tap.plan()


if __name__ == "__main__":
    main()
