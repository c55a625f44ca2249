#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a server under NBD load, again and again: no acknowledged block is lost.

Every block that is written says which write it is from. After a restart a block has what was
acknowledged last, or a write that was under way; a snapshot that was acknowledged has what its
volume had then.
"""
import random
import signal
import struct

from judge import Tap, parser, skip
from nbd_judge import served

try:
    import nbd
except ImportError:
    skip("no python3-libnbd (package python3-libnbd)")

BLOCK, BLOCKS, DEPTH = 4096, 2000, 32


class Model:
    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.acked = [0] * BLOCKS
        self.sent = [[] for _ in range(BLOCKS)]  # since the last that was acknowledged
        self.number = 0

    def write(self, h):
        first = self.draw.randrange(BLOCKS)
        count = min(self.draw.choice((1, 1, 1, 8, 64)), BLOCKS - first)
        if any(self.sent[i] for i in range(first, first + count)):
            return  # two at a time have no order
        self.number += 1
        number = self.number
        zeroes = self.draw.randrange(8) == 0
        for i in range(first, first + count):
            self.sent[i].append(0 if zeroes else number)

        def done(error):
            for i in range(first, first + count):
                if not error:
                    self.acked[i] = 0 if zeroes else number
                    self.sent[i].clear()
            return 1

        if zeroes:
            h.aio_zero(count * BLOCK, first * BLOCK, completion=done)
            return
        data = b"".join(struct.pack("<QQ", number, i) * (BLOCK // 16)
                        for i in range(first, first + count))
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), first * BLOCK, completion=done)

    def check(self, h):
        wrong = []
        for i in range(BLOCKS):
            data = h.pread(BLOCK, i * BLOCK)
            number, index = struct.unpack("<QQ", data[:16])
            whole = data == data[:16] * (BLOCK // 16) and (index == i or number == 0)
            if not whole or (number != self.acked[i] and number not in self.sent[i]):
                wrong.append((i, number, self.acked[i], self.sent[i]))
            self.acked[i] = number
            self.sent[i].clear()
        return wrong


def load(server, model, count):
    h = nbd.NBD()
    h.connect_uri(server.uri("disk"))
    try:
        for i in range(count):
            while h.aio_in_flight() >= DEPTH:
                h.poll(-1)
            model.write(h)
            if i == count - DEPTH:
                server.process.send_signal(signal.SIGKILL)
        while h.aio_in_flight() > 0:
            h.poll(1000)
    except nbd.Error:
        pass  # it was killed


def main():
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=8)
    made.add_argument("--seed", type=int, default=1)
    options = made.parse_args()
    tap = Tap()
    with served() as server:
        model = Model(options.seed)
        server.volume("create", "disk", str(BLOCKS * BLOCK))
        for n in range(options.rounds):
            load(server, model, model.draw.randrange(200, 1500))
            server.process.wait()
            server.start()
            h = nbd.NBD()
            h.connect_uri(server.uri("disk"))
            wrong = model.check(h)
            tap.case(not wrong, f"round {n}: {model.number} writes so far", wrong[:5])
            h.shutdown()
            if n == 2:
                server.volume("snapshot", "disk", "then")
                then = list(model.acked)
            if n == 5:
                model_then = Model(0)
                model_then.acked = then
                h = nbd.NBD()
                h.connect_uri(server.uri("then"))
                wrong = model_then.check(h)
                tap.case(not wrong, "a snapshot has what it had", wrong[:5])
                h.shutdown()
                server.volume("delete", "then")
    tap.plan()


if __name__ == "__main__":
    main()
