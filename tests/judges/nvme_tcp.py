#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two servers, one on a stack of the other's export, and a host in Python; tshark finds no PDU malformed.

Every byte that the host writes goes through the target of one, the initiator of that one, and the
target of the other; all digests of PDUs and the data that comes back are checked here.
"""
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time

from judge import CACHE, Tap, parser, skip
from servers import Weir, free_port

BLOCK, HOST = 4096, "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff"
TABLE = []


def crc32c(data):
    if not TABLE:
        for value in range(256):
            for _ in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
            TABLE.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


class Queue:
    """A connection of a host: commands one at a time."""

    def __init__(self, port, digests):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.header, self.data, self.cid = False, False, 0
        self.socket.sendall(struct.pack("<BBBBIHBBI112x", 0, 0, 128, 0, 128, 0, 0, digests, 0))
        answer = self.take(128)
        assert answer[0] == 1 and answer[11] == digests, answer
        self.header, self.data = bool(digests & 1), bool(digests & 2)

    def take(self, size):
        parts = b""
        while len(parts) < size:
            part = self.socket.recv(size - len(parts))
            if not part:
                raise EOFError("the target closed the connection")
            parts += part
        return parts

    def send(self, kind, body, data=b"", flags=0):
        size = 8 + len(body) + 4 * self.header
        total = size + (len(data) + 4 * self.data if data else 0)
        flags |= 1 * self.header | 2 * (self.data and bool(data))
        pdu = struct.pack("<BBBBI", kind, flags, 8 + len(body), size if data else 0, total) + body
        pdu += crc32c(pdu) if self.header else b""
        pdu += data + (crc32c(data) if self.data and data else b"")
        self.socket.sendall(pdu)

    def pdu(self):
        common = self.take(8)
        kind, flags, head, offset, total = struct.unpack("<BBBBI", common)
        body = common + self.take(head - 8)
        before = head
        if flags & 1:
            assert self.take(4) == crc32c(body), "the digest of a header"
            before += 4
        data = b""
        if total > before:
            self.take(offset - before)
            data = self.take(total - offset - 4 * bool(flags & 2))
            if flags & 2:
                assert self.take(4) == crc32c(data), "the digest of data"
        return kind, body, data

    def call(self, opcode, nsid=0, words=(), data=b"", wanted=0, in_capsule=True, fctype=None):
        """(status, result, data that came)"""
        self.cid = (self.cid + 1) & 0xFFFF
        words = list(words) + [0] * (6 - len(words))
        inside = bool(data) and in_capsule
        sgl = struct.pack("<QI3xB", 0, len(data) or wanted, 0x01 if inside else 0x5A)
        second = nsid if fctype is None else fctype
        self.send(4, struct.pack("<BBHI16x", opcode, 0x40, self.cid, second) + sgl
                  + struct.pack("<6I", *words), data if inside else b"")
        came = bytearray(wanted)
        while True:
            kind, body, piece = self.pdu()
            if kind == 5:
                result, _, _, cid, status = struct.unpack_from("<QHHHH", body, 8)
                assert cid == self.cid
                return status >> 1, result, bytes(came)
            assert kind in (7, 9), f"PDU type {kind}"
            cid, tag, at, size = struct.unpack_from("<HHII", body, 8)
            assert cid == self.cid
            if kind == 7:
                came[at:at + size] = piece
            else:
                self.send(6, struct.pack("<HHIII", cid, tag, at, size, 0), data[at:at + size], 4)

    def connect(self, nqn, number=0, controller=0xFFFF):
        data = bytes(range(16)) + struct.pack("<H238x", controller)
        data += nqn.encode().ljust(256, b"\0") + HOST.encode().ljust(256, b"\0") + bytes(256)
        status, result, _ = self.call(0x7F, words=[number << 16, 31, 0], data=data, fctype=1)
        assert status == 0, f"connect: {status:x}"
        return result & 0xFFFF


class Target(Weir):
    def __init__(self, directory, name, stacks):
        super().__init__(directory, settings=["resp.listen=off"])
        self.nqn, self.port = f"nqn.2026-01.org.example:{name}", free_port()
        self.settings = ["memory=512M", "resp.listen=off", "http.listen=off", "s3.listen=off",
                         f"nvme_tcp.listen=127.0.0.1:{self.port}", f"nvme_tcp.nqn={self.nqn}",
                         "workers.count=2"]
        self.config = self.directory / "weir.conf"
        self.config.write_text("".join(f"[stack {key}]\nlayers = {text}\nexport = yes\n"
                                       for key, text in stacks.items()))

    def command(self):
        words = super().command()
        return words[:2] + ["-c", str(self.config)] + words[2:]

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False


def exercise(tap, target, digests):
    admin = Queue(target.port, digests)
    controller = admin.connect(target.nqn)
    admin.call(0x7F, words=[0, 0x14, 6 << 16 | 4 << 20 | 1], fctype=0)
    status, _, page = admin.call(0x06, words=[1], wanted=4096)
    tap.case(status == 0 and page[24:28] == b"weir", f"identify, digests {digests}")
    io = Queue(target.port, digests)
    assert io.connect(target.nqn, 1, controller) == controller
    for size, in_capsule in ((1, True), (1, False), (2, True), (32, False)):
        data = os.urandom(size * BLOCK)
        wrote = io.call(1, 1, [5, 0, size - 1], data, in_capsule=in_capsule)
        read = io.call(2, 1, [5, 0, size - 1], wanted=len(data))
        tap.case(wrote[0] == 0 and read[0] == 0 and read[2] == data,
                 f"{size} blocks, in capsule {in_capsule}, digests {digests}", (wrote[0], read[0]))
    status = io.call(8, 1, [5, 0, 7 | 1 << 25])[0]
    read = io.call(2, 1, [5, 0, 7], wanted=8 * BLOCK)
    tap.case(status == 0 and read[2] == bytes(8 * BLOCK), f"write zeroes, digests {digests}")
    tap.case(io.call(0, 1)[0] == 0, f"flush, digests {digests}")
    status = io.call(9, 1, [0, 4], struct.pack("<IIQ", 0, 8, 5))[0]
    tap.case(status == 0, f"deallocate, digests {digests}")
    status = io.call(2, 1, [1 << 30, 0, 0], wanted=BLOCK)[0]
    tap.case(status & 0x7FF == 0x80, f"out of range, digests {digests}", f"{status:x}")


def capture(ports, path):
    if not shutil.which("tshark"):
        skip("no tshark (package tshark)")
    words = ["tshark", "-q", "-i", "lo", "-f", " or ".join(f"tcp port {p}" for p in ports), "-w",
             str(path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    if process.poll() is not None:
        skip(f"tshark captures nothing here: {process.stderr.read().strip()[:200]}")
    return process


def count_frames(ports, path, wanted):
    words = ["tshark", "-r", str(path), "-Y", wanted]
    for port in ports:
        words += ["-d", f"tcp.port=={port},nvme-tcp"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    return [line for line in done.stdout.splitlines() if line.strip()]


def main():
    parser(__doc__).parse_args()
    directory = CACHE / f"data-{os.getpid()}"
    tap = Tap()
    with Target(directory / "far", "far", {"ram": "mem size=16M"}) as far:
        layers = f"nvme_tcp addr=127.0.0.1:{far.port} nqn={far.nqn} digests=both"
        with Target(directory / "near", "near", {"over": layers}) as near:
            ports, path = [far.port, near.port], pathlib.Path(directory / "frames.pcapng")
            tshark = capture(ports, path)
            for digests in range(4):
                exercise(tap, near if digests % 2 else far, digests)
            exercise(tap, near, 0)
            time.sleep(1)
            tshark.send_signal(signal.SIGINT)
            tshark.wait(60)
            frames = count_frames(ports, path, "nvme-tcp")
            tap.case(len(frames) > 100, "tshark saw NVMe/TCP", f"{len(frames)} frames")
            bad = count_frames(ports, path, "nvme-tcp && _ws.malformed")
            tap.case(not bad, "no frame is malformed", "\n".join(bad))
            near.stop()
            tap.case(near.process.returncode == 0, "a clean end")
    shutil.rmtree(directory, ignore_errors=True)
    tap.plan()


if __name__ == "__main__":
    main()
