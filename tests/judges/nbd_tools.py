#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libnbd's and QEMU's tools against volumes: what they are told, copied, compared, written."""
import json
import os
import random

from judge import CACHE, Tap, parser
from nbd_judge import need, run, served

SIZE = 96 << 20


def make_image(path):
    """Data, zeroes that are written, holes, and a tail."""
    draw = random.Random(7)
    with open(path, "wb") as out:
        out.truncate(SIZE)
        for at, size in ((0, 5 << 20), (20 << 20, 4096), (33 << 20, 12 << 20),
                         (SIZE - (1 << 20), 1 << 20)):
            out.seek(at)
            out.write(draw.randbytes(size))
        out.seek(60 << 20)
        out.write(bytes(2 << 20))


def infos(tap, server):
    text, good = run("nbdinfo", "--json", server.uri("disk"))
    facts = json.loads(text)["exports"][0] if good else {}
    tap.case(good and facts["export-size"] == SIZE and facts["can_multi_conn"] and
             facts["can_trim"] and facts["block_size_minimum"] == 4096 and
             not facts["is_read_only"], "nbdinfo of a volume", text)
    text, good = run("nbdinfo", "--json", server.uri("disk@1"))
    tap.case(good and json.loads(text)["exports"][0]["is_read_only"],
             "nbdinfo of a snapshot says that it is read-only", text)
    text, good = run("nbdinfo", "--list", "--json", server.uri(""))
    names = sorted(e["export-name"] for e in json.loads(text)["exports"]) if good else []
    tap.case(names == ["disk", "disk@1"], "nbdinfo --list names them", text)
    text, good = run("nbdinfo", "--json", server.uri("none"))
    tap.case(not good, "an export that is not there is refused", text)


def copies(tap, server, image):
    directory = server.directory
    text, good = run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, server.uri("disk"))
    tap.case(good, "qemu-img compare: what was imported is the image", text)
    text, good = run("qemu-img", "map", "--output=json", "-f", "raw", server.uri("disk"))
    there = sum(e["length"] for e in json.loads(text) if e["data"]) if good else -1
    tap.case(18 << 20 <= there <= 22 << 20, "qemu-img map: holes take no room", there)
    copy = str(directory / "copy.img")
    text, good = run("nbdcopy", server.uri("disk"), copy)
    tap.case(good and open(copy, "rb").read() == open(image, "rb").read(),
             "nbdcopy from a volume, over several connections", text)
    server.volume("create", "target", str(SIZE))
    text, good = run("nbdcopy", copy, server.uri("target"))
    same = good and run("qemu-img", "compare", "-f", "raw", "-F", "raw", image,
                        server.uri("target"))[1]
    tap.case(same, "nbdcopy to a volume", text)
    out = str(directory / "out.qcow2")
    text, code = server.volume("export", "disk@1", out, "--format", "qcow2", check=False)
    checked, good = run("qemu-img", "check", out)
    tap.case(code == 0 and good and run("qemu-img", "compare", image, out)[1],
             "weir volume export to qcow2; qemu-img check and compare", text + checked)
    text, code = server.volume("import", out, "again", check=False)
    tap.case(code == 0 and run("qemu-img", "compare", "-f", "raw", "-F", "raw",
                               server.uri("disk"), server.uri("again"))[1],
             "weir volume import of qcow2", text)


def writes(tap, server):
    server.volume("clone", "disk@1", "clone")
    text, good = run("qemu-io", "-f", "raw", "-c", "write -P 7 1M 3M", "-c", "write -z 2M 64k",
                     "-c", "discard 3M 64k", "-c", "flush", "-c", "read -P 7 1M 1M",
                     "-c", "read -P 0 2M 64k", "-c", "read -P 7 2112k 900k",
                     "-c", "read -P 0 3M 64k", server.uri("clone"))
    tap.case(good and "failed" not in text, "qemu-io patterns, zeroes, discard", text)
    tap.case(run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri("disk"),
                 server.uri("disk@1"))[1], "what a clone writes is not seen elsewhere")
    text, good = run("qemu-img", "bench", "-f", "raw", "-w", "-c", "2000", "-d", "32", "-s",
                     "4096", server.uri("clone"))
    tap.case(good, "qemu-img bench, writes at depth 32", text)
    text, code = server.volume("delete", "none", check=False)
    tap.case(code == 1, "weir volume delete of what is not there", text)


def main():
    parser(__doc__).parse_args()
    need(("nbdinfo", "libnbd-bin"), ("nbdcopy", "libnbd-bin"), ("qemu-img", "qemu-utils"))
    tap = Tap()
    os.makedirs(CACHE, exist_ok=True)
    with served() as server:
        image = str(server.directory / "image.img")
        make_image(image)
        server.volume("import", image, "disk", "--format", "raw")
        server.volume("snapshot", "disk", "disk@1")
        infos(tap, server)
        copies(tap, server, image)
        writes(tap, server)
        for name in ("clone", "disk", "disk@1", "target", "again"):
            server.volume("delete", name)
        text, _ = server.volume("list")
        tap.case(text == "", "all are deleted", text)
    tap.plan()


if __name__ == "__main__":
    main()
