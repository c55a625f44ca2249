#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same random commands to two servers; every reply must be the same, byte by byte.

usage: resp_compare.py PORT_OF_REDIS PORT_OF_WEIR [SEED [COUNT]]

WATCH is left out: a key that was absent, was made and is absent again has not changed for weir.
Databases 0 to 3 of both are flushed. Replies that may differ (order of KEYS, times to live that
tick over, versions) are brought into one form first.
"""
import random, socket, sys

class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.data = b""

    def fill(self):
        more = self.socket.recv(1 << 20)
        if not more:
            raise EOFError("connection closed")
        self.data += more

    def line(self):
        while b"\r\n" not in self.data:
            self.fill()
        line, self.data = self.data.split(b"\r\n", 1)
        return line

    def reply(self):
        line = self.line()
        if line[:1] in b"$=" and line[1:] != b"-1":
            size = int(line[1:])
            while len(self.data) < size + 2:
                self.fill()
            value, self.data = self.data[:size], self.data[size + 2:]
            return line, value
        if line[:1] in b"*~%>" and line[1:] != b"-1":
            count = int(line[1:]) * (2 if line[:1] == b"%" else 1)
            return line, [self.reply() for _ in range(count)]
        return line, None

    def send(self, commands):
        out = []
        for words in commands:
            out.append(b"*%d\r\n" % len(words))
            out += [b"$%d\r\n%s\r\n" % (len(w), w) for w in words]
        self.socket.sendall(b"".join(out))

KEYS = [b"k%d" % i for i in range(8)] + [b"", b"\x00\xff", b"long" * 50]
NUMBERS = [b"0", b"1", b"-1", b"5", b"-5", b"10", b"100", b"9223372036854775807",
           b"-9223372036854775808", b"9223372036854775808", b"1.5", b"-0", b"+1", b" 1", b"01",
           b"abc", b"", b"3e2", b"inf", b"0x10", b"1e400"]
OFFSETS = [b"0", b"1", b"7", b"8", b"63", b"1000", b"-1", b"4294967296", b"x", b"#2"]
INDEXES = [b"0", b"1", b"2", b"-1", b"-2", b"-100", b"100", b"5", b"x", b"9223372036854775807"]
TIMES = [b"0", b"-1", b"100000", b"1000000", b"x", b"9223372036854775807", b"-9223372036854775808"]

def choose(r, *lists):
    return r.choice(r.choice(lists))

def value(r):
    kind = r.randrange(8)
    if kind < 3:
        return r.choice(NUMBERS)
    if kind < 6:
        return bytes(r.randrange(97, 123) for _ in range(r.randrange(20)))
    if kind == 6:
        return bytes(r.randrange(256) for _ in range(r.randrange(300)))
    return b"x" * r.choice([44, 45, 4000, 32768, 32769, 70000])

def some(r, *words):
    return [w for w in words if r.randrange(3) == 0]

def expiry(r):
    return r.choice([[], [], [b"EX", choose(r, TIMES)], [b"PX", choose(r, TIMES)], [b"KEEPTTL"],
                     [b"EXAT", r.choice([b"2000000000", b"1", b"0"])], [b"EX"], [b"PERSIST"],
                     [b"PXAT", r.choice([b"2000000000000", b"1"])], [b"nonsense"]])

def field(r):
    step = r.choice([b"GET", b"SET", b"INCRBY"])
    width = r.choice([b"u8", b"i8", b"u63", b"i64", b"u1", b"i5", b"u64", b"x"])
    words = [step, width, choose(r, OFFSETS[:6], [b"#2", b"#0"])]
    if step != b"GET":
        words.append(choose(r, NUMBERS[:8]))
    if r.randrange(3) == 0:
        words = [b"OVERFLOW", r.choice([b"SAT", b"WRAP", b"FAIL"])] + words
    return words

def command(r):
    k, k2, k3 = (r.choice(KEYS) for _ in range(3))
    n = r.choice(NUMBERS)
    rows = [
        lambda: [b"GET", k], lambda: [b"SET", k, value(r)] + some(r, b"NX", b"XX", b"GET") + expiry(r),
        lambda: [b"SETNX", k, value(r)], lambda: [b"SETEX", k, choose(r, TIMES), value(r)],
        lambda: [b"PSETEX", k, choose(r, TIMES), value(r)], lambda: [b"GETSET", k, value(r)],
        lambda: [b"GETDEL", k], lambda: [b"GETEX", k] + expiry(r),
        lambda: [b"MGET", k, k2, k3], lambda: [b"MGET", k], lambda: [b"MSET", k, value(r), k2, value(r)],
        lambda: [b"MSETNX", k, value(r), k2, value(r)], lambda: [b"MSET", k, value(r), k2],
        lambda: [b"APPEND", k, value(r)], lambda: [b"STRLEN", k],
        lambda: [b"SETRANGE", k, choose(r, INDEXES), value(r)],
        lambda: [b"GETRANGE", k, choose(r, INDEXES), choose(r, INDEXES)],
        lambda: [b"SUBSTR", k, choose(r, INDEXES), choose(r, INDEXES)],
        lambda: [b"INCR", k], lambda: [b"DECR", k], lambda: [b"INCRBY", k, n], lambda: [b"DECRBY", k, n],
        lambda: [b"INCRBYFLOAT", k, n], lambda: [b"DEL", k], lambda: [b"DEL", k, k2, k2],
        lambda: [b"UNLINK", k, k2], lambda: [b"EXISTS", k, k, k2], lambda: [b"TOUCH", k, k2],
        lambda: [b"TYPE", k], lambda: [b"OBJECT", b"ENCODING", k], lambda: [b"OBJECT", b"REFCOUNT", b"none"],
        lambda: [r.choice([b"EXPIRE", b"PEXPIRE"]), k, choose(r, TIMES)] + some(r, b"NX", b"XX", b"GT", b"lt"),
        lambda: [r.choice([b"EXPIREAT", b"PEXPIREAT"]), k, r.choice([b"1", b"2000000000000", b"x", b"2000000000"])]
                + some(r, b"NX", b"XX", b"GT", b"junk"),
        lambda: [b"TTL", k], lambda: [b"PTTL", k], lambda: [b"EXPIRETIME", k], lambda: [b"PERSIST", k],
        lambda: [b"RENAME", k, k2], lambda: [b"RENAMENX", k, k2], lambda: [b"COPY", k, k2] + some(r, b"REPLACE"),
        lambda: [b"COPY", k, k2, b"DB", r.choice([b"0", b"1", b"2", b"99", b"x"])],
        lambda: [b"MOVE", k, r.choice([b"0", b"1", b"2", b"99", b"x"])],
        lambda: [b"SELECT", r.choice([b"0", b"1", b"2", b"3", b"99", b"x"])],
        lambda: [b"KEYS", r.choice([b"*", b"k*", b"k[1-3]", b"k?", b"nope", b"long*", b""])],
        lambda: [b"LCS", k, k2] + some(r, b"LEN", b"IDX") + some(r, b"WITHMATCHLEN"),
        lambda: [b"LCS", k, k2, b"IDX", b"MINMATCHLEN", b"2"],
        lambda: [b"SETBIT", k, choose(r, OFFSETS[:6], [b"-1", b"x"]), r.choice([b"0", b"1", b"2"])],
        lambda: [b"GETBIT", k, choose(r, OFFSETS)], lambda: [b"BITCOUNT", k],
        lambda: [b"BITCOUNT", k, choose(r, INDEXES), choose(r, INDEXES)] + some(r, b"BIT", b"BYTE"),
        lambda: [b"BITPOS", k, r.choice([b"0", b"1", b"2"])] + some(r, b"1") + some(r, b"-1") + some(r, b"BIT"),
        lambda: [b"BITOP", r.choice([b"AND", b"OR", b"XOR", b"NOT", b"x"]), k, k2] + some(r, k3),
        lambda: [b"BITFIELD", k] + field(r) + field(r), lambda: [b"BITFIELD_RO", k] + field(r),
        lambda: [b"DUMP", b"none"], lambda: [b"RESTORE", k, b"0", b"junk"],
        lambda: [b"PING"], lambda: [b"PING", k], lambda: [b"ECHO", k], lambda: [b"RANDOMKEY", b"x"],
        lambda: [b"MULTI"], lambda: [b"EXEC"], lambda: [b"EXEC"], lambda: [b"DISCARD"],
        lambda: [b"UNWATCH"], lambda: [b"NOSUCH", k, k2],
        lambda: [r.choice([b"get", b"SeT", b"incr", b"mget", b"object", b"expire", b"bitop"])],
        lambda: [b"WAIT", b"0", b"0"], lambda: [b"FLUSHDB"] + some(r, b"ASYNC", b"junk"),
    ]
    weights = [1] * len(rows)
    weights[-1] = 0.1
    return r.choices(rows, weights)[0]()

ENCODINGS = (b"int", b"embstr", b"raw")

def same_form(words, reply):
    line, body = reply
    name = words[0].upper()
    if name == b"KEYS" and body is not None:
        return line, sorted(map(str, body))
    if name in (b"TTL", b"PTTL") and line[:1] == b":" and int(line[1:]) > 0:
        return (b":about", int(line[1:]) // (30 if name == b"TTL" else 30000))
    if isinstance(body, bytes) and body in ENCODINGS:
        return b"$", b"some encoding"  # how a string came to be is not kept
    if name == b"EXEC" and isinstance(body, list):
        body = [(b"$", b"") if isinstance(b, bytes) and b in ENCODINGS else (l, b)
                for l, b in body]
        return line, [(l if not l.startswith(b":") or int(l[1:]) < 50 else b":n",
                       sorted(map(str, b)) if isinstance(b, list) else b) for l, b in body]
    return line, body

def main():
    ports = [int(p) for p in sys.argv[1:3]]
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 20000
    r = random.Random(seed)
    clients = [Client(port) for port in ports]
    for db in (b"3", b"2", b"1", b"0"):
        for c in clients:
            c.send([[b"SELECT", db], [b"FLUSHDB"]])
            c.reply(), c.reply()
    done = 0
    while done < count:
        batch = [command(r) for _ in range(r.choice([1, 1, 3, 20]))]
        for c in clients:
            c.send(batch)
        for words in batch:
            replies = [same_form(words, c.reply()) for c in clients]
            done += 1
            if b"transient memory for LCS" in replies[1][0]:
                continue  # a lower limit than Redis'
            if replies[0] != replies[1]:
                for i, before in enumerate(batch):
                    print("  %s%.200r" % (">" if before is words else " ", [w[:40] for w in before]))
                print("seed %d, command %d: %r" % (seed, done, [w[:60] for w in words]))
                if isinstance(replies[0][1], list) and isinstance(replies[1][1], list):
                    replies = [[x for x, y in zip(replies[i][1], replies[1 - i][1]) if x != y]
                               for i in (0, 1)]
                print("  %.300r\n  %.300r" % (replies[0], replies[1]))
                return 1
    print("%d commands, no difference" % done)
    return 0

sys.exit(main())
