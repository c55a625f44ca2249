#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 under durable load, again and again; every acknowledged write is looked for afterwards.

Each writer has connections and keys of its own and numbers what it does to a key, so that the
value says which write it is from. After a restart a key must show the last write that was
acknowledged, or one that was sent after it, and nothing else; two keys that are always written in
one transaction must show the same number. --server redis --expect-loss, a server that keeps
nothing, shows that the judge finds losses.
"""
import random
import signal
import socket
import threading
import time

from judge import CACHE, Tap, judged, parser

KEYS_PER_WRITER, PIPELINE = 200, 16
SIZES = (16, 64, 300, 1024, 4096, 20000)
BLOB_SIZE = 300000
ABSENT = (0, None)


class Refused(str):
    """An error reply."""


class Connection:
    """A RESP2 client: commands out, replies in order."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")

    def send(self, *commands):
        out = bytearray()
        for command in commands:
            out += b"*%d\r\n" % len(command)
            for word in command:
                out += b"$%d\r\n%s\r\n" % (len(word), word)
        self.socket.sendall(out)

    def reply(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server is gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            body = self.input.read(size + 2)
            if len(body) != size + 2:
                raise ConnectionError("the server is gone")
            return body[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(max(int(rest), 0))]
        if kind == b"-":
            return Refused(rest.decode(errors="replace"))
        return int(rest) if kind == b":" else rest

    def close(self):
        self.input.close()
        self.socket.close()


class Writer:
    """History of some keys: per key the last acknowledged state and those sent after it. A state
    is (number of the write, value or None for absent); numbers grow for ever."""

    def __init__(self, index, seed):
        self.index, self.random = index, random.Random(seed * 1000 + index)
        self.number, self.acknowledged_count = 0, 0
        self.refused = []  # error replies: there must be none
        self.acked = {}  # key: state
        self.sent = {}   # key: states not acknowledged yet, in order

    def value(self, key, number):
        text = b"%s=%d;" % (key, number)
        size = BLOB_SIZE if self.random.random() < 0.005 else self.random.choice(SIZES)
        return (text * (size // len(text) + 1))[:max(size, len(text))]

    def next_commands(self):
        """Some commands to send, and [(key, state)] that each acknowledges by its last reply."""
        self.number += 1
        key = b"w%d:k%d" % (self.index, self.random.randrange(KEYS_PER_WRITER))
        draw = self.random.random()
        if draw < 0.15:
            return [(b"DEL", key)], [(key, (self.number, None))]
        if draw < 0.30:
            pair = [(b"w%d:pair%s" % (self.index, end), (self.number, b"%d" % self.number))
                    for end in (b"A", b"B")]
            return ([(b"MULTI",)] + [(b"SET", k, state[1]) for k, state in pair] + [(b"EXEC",)],
                    pair)
        value = self.value(key, self.number)
        return [(b"SET", key, value)], [(key, (self.number, value))]

    def write(self, port):
        """Until the server dies."""
        try:
            connection = Connection(port)
            while True:
                batch = [self.next_commands() for _ in range(PIPELINE)]
                for _, states in batch:
                    for key, state in states:
                        self.sent.setdefault(key, []).append(state)
                connection.send(*[command for commands, _ in batch for command in commands])
                for commands, states in batch:
                    refused = [(command, reply) for command in commands
                               for reply in [connection.reply()] if isinstance(reply, Refused)]
                    if refused:
                        self.refused += refused
                        continue
                    for key, state in states:
                        self.acked[key] = state
                        self.sent[key] = [s for s in self.sent[key] if s[0] > state[0]]
                    self.acknowledged_count += 1
        except OSError:
            pass

    def verify(self, connection):
        """What is wrong now; then what is there becomes the acknowledged state."""
        keys = sorted(set(self.acked) | set(self.sent))
        wrong = [f"{command[0].decode()} {b' '.join(command[1:])[:30]}: {reply}"
                 for command, reply in self.refused[:3]]
        self.refused, seen = [], {}
        for first in range(0, len(keys), 100):
            part = keys[first:first + 100]
            connection.send(*[(b"GET", key) for key in part])
            for key in part:
                seen[key] = connection.reply()
        for key in keys:
            allowed = [self.acked.get(key, ABSENT)] + self.sent.get(key, [])
            match = next((state for state in allowed if state[1] == seen[key]), None)
            if match is None:
                sizes = [len(state[1] or b"") for state in allowed]
                wrong.append(f"{key.decode()}: {str(seen[key])[:60]}, but write {allowed[0][0]} was "
                             f"acknowledged and {len(allowed) - 1} sent after it, of {sizes} bytes")
            self.acked[key] = match or (self.number, seen[key])
        pair = [self.acked.get(b"w%d:pair%s" % (self.index, end), ABSENT)[1] for end in (b"A", b"B")]
        if pair[0] != pair[1]:
            wrong.append(f"writer {self.index}: half a transaction: {pair}")
        self.sent = {}
        return wrong


def one_round(server, writers, chance):
    """Load, kill -9 at some moment, restart, verify; what was wrong."""
    threads = [threading.Thread(target=w.write, args=(server.port,)) for w in writers]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0.02, 0.4))
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    server.start()
    connection = Connection(server.port)
    wrong = [line for writer in writers for line in writer.verify(connection)]
    connection.close()
    return wrong


def main():
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=10)
    made.add_argument("--writers", type=int, default=4)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--expect-loss", action="store_true",
                      help="redis without persistence: the judge must find losses")
    options = made.parse_args()
    CACHE.mkdir(exist_ok=True)
    chance, tap = random.Random(options.seed), Tap()
    durability = "none" if options.expect_loss else "durable"
    with judged(options.server, durability) as server:
        writers = [Writer(index, options.seed) for index in range(options.writers)]
        wrong, begin = [], time.monotonic()
        for number in range(options.rounds):
            found = one_round(server, writers, chance)
            wrong += [f"round {number + 1}: {line}" for line in found]
            if (number + 1) % 50 == 0:
                print(f"# {number + 1} kills, {len(wrong)} wrong, "
                      f"{time.monotonic() - begin:.0f} s", flush=True)
        writes = sum(writer.acknowledged_count for writer in writers)
        good = bool(wrong) if options.expect_loss else not wrong and writes > options.rounds
        tap.case(good, f"{options.rounds} kills, {writes} acknowledged writes, {len(wrong)} wrong",
                 "\n".join(wrong))
    tap.plan()


if __name__ == "__main__":
    main()
