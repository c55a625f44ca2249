# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by hand, for the judge of its frames: a writer of frames, HPACK (RFC 7541), a client."""
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
 CONTINUATION) = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 0x20
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED,
 FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR,
 ENHANCE_YOUR_CALM) = range(12)
NAMES = ("NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED "
         "FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR "
         "ENHANCE_YOUR_CALM").split()
(TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, WINDOW_SIZE, MAX_FRAME, MAX_LIST) = range(1, 7)


def frame(kind, flags, stream, payload=b""):
    return (struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
            + struct.pack(">I", stream) + payload)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


# HPACK. The code of Huffman is canonical: the lengths of RFC 7541 Appendix B make it.
LENGTHS = [int(n) for n in """
13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
30""".split()]


def huffman_codes():
    codes, code, before = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(LENGTHS)):
        code <<= length - before
        before = length
        codes[symbol] = (code, length)
        code += 1
    return codes


CODES = huffman_codes()
SYMBOLS = {(length, code): symbol for symbol, (code, length) in CODES.items()}


def huffman_bits(text, padding="1"):
    bits = "".join(format(code, f"0{length}b") for code, length in (CODES[c] for c in text))
    bits += padding * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def huffman_text(data):
    text, code, length = bytearray(), 0, 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, length = code << 1 | byte >> shift & 1, length + 1
            if (length, code) in SYMBOLS:
                text.append(SYMBOLS[length, code])
                code = length = 0
    assert length < 8 and code == (1 << length) - 1, "wrong padding"
    return bytes(text)


STATIC = [line.partition(" ")[::2] for line in """:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate""".split("\n")]


def integer(value, prefix, bits=0):
    """`value` behind a prefix of so many bits, below the pattern `bits`."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([bits | value])
    out, value = bytearray([bits | limit]), value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + bytes([value]))


def string(text, huffman=False):
    text = text if isinstance(text, bytes) else text.encode()
    data = huffman_bits(text) if huffman else text
    return integer(len(data), 7, 0x80 if huffman else 0) + data


def literal(name, value, bits=0, prefix=4, huffman=False):
    return bytes([bits]) + string(name, huffman) + string(value, huffman)


def block(fields, huffman=False):
    """Literals without an index: what is written is what is meant."""
    return b"".join(literal(name, value, huffman=huffman) for name, value in fields)


class Decoder:
    """HPACK of the server, its dynamic table included."""

    def __init__(self):
        self.table, self.size, self.size_max = [], 0, 4096

    def integer(self, data, at, prefix):
        limit = (1 << prefix) - 1
        value, shift = data[at] & limit, 0
        at += 1
        while value >= limit:
            value, shift = value + ((data[at] & 127) << shift), shift + 7
            at += 1
            if data[at - 1] < 128:
                break
        return value, at

    def string(self, data, at):
        size, after = self.integer(data, at, 7)
        text = data[after:after + size]
        assert len(text) == size, "a string longer than its block"
        return huffman_text(text) if data[at] & 0x80 else bytes(text), after + size

    def entry(self, index):
        assert index > 0, "index 0"
        if index <= len(STATIC):
            return tuple(part.encode() for part in STATIC[index - 1])
        return self.table[index - len(STATIC) - 1]

    def fit(self):
        while self.size > self.size_max:
            name, value = self.table.pop()
            self.size -= len(name) + len(value) + 32

    def decode(self, data):
        fields, at = [], 0
        while at < len(data):
            first = data[at]
            if first & 0x80:
                index, at = self.integer(data, at, 7)
                fields.append(self.entry(index))
                continue
            if first & 0xe0 == 0x20:
                self.size_max, at = self.integer(data, at, 5)
                self.fit()
                continue
            index, at = self.integer(data, at, 6 if first & 0x40 else 4)
            name, at = (self.entry(index)[0], at) if index else self.string(data, at)
            value, at = self.string(data, at)
            fields.append((name, value))
            if first & 0x40:
                self.table.insert(0, (name, value))
                self.size += len(name) + len(value) + 32
                self.fit()
        return fields


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload
        self.fields = None

    def code(self):
        return struct.unpack(">I", self.payload[4:8] if self.kind == GOAWAY else self.payload)[0]

    def __repr__(self):
        kinds = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE " \
                "CONTINUATION".split()
        name = kinds[self.kind] if self.kind < 10 else self.kind
        more = f" {NAMES[self.code()]}" if self.kind in (GOAWAY, RST_STREAM) else ""
        return f"{name}({self.stream}, {self.flags:#x}, {len(self.payload)} bytes{more})"


class Wrong(Exception):
    pass


def wait_for(address, timeout_s=60):
    """Until it listens: a server's ports open one after the other."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(address, 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


class Client:
    """A connection. Frames are kept in self.seen as they come."""

    timeout_s = 10

    def __init__(self, address, greet=True, own=(), path="/"):
        self.socket = socket.create_connection(address, self.timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host, self.path = f"{address[0]}:{address[1]}", path
        self.input, self.seen, self.decoder, self.open_block = b"", [], Decoder(), None
        if greet:
            self.send(PREFACE + settings(*own))
            self.wait(lambda f: f.kind == SETTINGS and not f.flags & ACK)
            self.send(frame(SETTINGS, ACK, 0))
            self.wait(lambda f: f.kind == SETTINGS and f.flags & ACK)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # what it said before it closed is what counts

    def fields(self, method="GET", path=None, *more):
        return [(":method", method), (":scheme", "http"), (":path", path or self.path),
                (":authority", self.host), *more]

    def request(self, stream, method="GET", path=None, *more, flags=END_STREAM | END_HEADERS):
        self.send(frame(HEADERS, flags, stream, block(self.fields(method, path, *more))))

    def read(self, deadline):
        while True:
            if len(self.input) >= 9:
                size = int.from_bytes(self.input[:3], "big")
                if len(self.input) >= 9 + size:
                    break
            left = deadline - time.monotonic()
            if left <= 0:
                raise Wrong(f"nothing more came; before: {self.seen}")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                return None
            self.input += data
        kind, flags, stream = self.input[3], self.input[4], int.from_bytes(self.input[5:9], "big")
        made = Frame(kind, flags, stream & 0x7fffffff, self.input[9:9 + size])
        self.input = self.input[9 + size:]
        self.check(made)
        self.seen.append(made)
        return made

    def check(self, made):
        """What a server may send at all."""
        assert len(made.payload) <= 16384, f"{made} is larger than we allow"
        if made.kind in (DATA, HEADERS, RST_STREAM, CONTINUATION):
            assert made.stream % 2 == 1, made
        if made.kind in (SETTINGS, PING, GOAWAY):
            assert made.stream == 0, made
        if made.kind == HEADERS:
            assert not made.flags & (PADDED | HAS_PRIORITY), made
            self.open_block = made.payload
        elif made.kind == CONTINUATION:
            self.open_block += made.payload
        if made.kind in (HEADERS, CONTINUATION) and made.flags & END_HEADERS:
            made.fields = self.decoder.decode(self.open_block)

    def wait(self, is_it, timeout_s=None):
        """The next frame that is it. Wrong: the connection ended, or nothing came."""
        deadline = time.monotonic() + (timeout_s or self.timeout_s)
        while True:
            made = self.read(deadline)
            if made is None:
                raise Wrong(f"closed; before: {self.seen}")
            if is_it(made):
                return made

    def answer(self, stream):
        """Status and body, when the stream ends."""
        status, body = None, b""
        while True:
            made = self.wait(lambda f: f.stream == stream or f.kind == GOAWAY and f.code())
            if made.kind == GOAWAY or made.kind == RST_STREAM:
                raise Wrong(f"{made} instead of an answer")
            if made.fields and made.fields[0][0] == b":status" and made.fields[0][1] != b"100":
                status = int(made.fields[0][1])
            body += made.payload if made.kind == DATA else b""
            if made.kind in (DATA, HEADERS) and made.flags & END_STREAM:
                return status, body

    def stream_error(self, stream, *codes, connection=True):
        """An error of that stream; `connection`: or of the connection with the same code."""
        made = self.wait(lambda f: f.kind == RST_STREAM and f.stream == stream or f.kind == GOAWAY)
        if made.code() not in codes or (made.kind == GOAWAY and not connection):
            raise Wrong(f"{made}, not {[NAMES[c] for c in codes]}")
        if made.kind == RST_STREAM:
            self.alive()

    def connection_error(self, *codes):
        made = self.wait(lambda f: f.kind == GOAWAY)
        if made.code() not in codes:
            raise Wrong(f"{made}, not {[NAMES[c] for c in codes]}")
        self.closed()

    def closed(self):
        """The server closes, within the time that it gives us to read."""
        deadline = time.monotonic() + self.timeout_s
        while self.read(deadline) is not None:
            pass

    def alive(self):
        data = struct.pack(">Q", len(self.seen) + 0x1234)
        self.send(frame(PING, 0, 0, data))
        got = self.wait(lambda f: f.kind == PING and f.payload == data or f.kind == GOAWAY)
        if got.kind == GOAWAY or not got.flags & ACK:
            raise Wrong(f"{got} for a PING")
