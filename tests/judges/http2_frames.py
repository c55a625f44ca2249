#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frame by frame: each section of RFC 9113 and RFC 7541 that a client can break, and what the
server must say. In the manner of h2spec, which Debian has not.

--server nginx judges nginx: is the judge right? --only TEXT runs cases with TEXT in their names.
"""
import argparse
import contextlib
import os
import shutil
import struct

from http2_wire import (ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM,
                        ENABLE_PUSH, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
                        GOAWAY, HAS_PRIORITY, HEADERS, MAX_FRAME, MAX_STREAMS, NO_ERROR, PADDED, PING,
                        PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM,
                        SETTINGS, STREAM_CLOSED, TABLE_SIZE, WINDOW_SIZE, WINDOW_UPDATE, Client,
                        Wrong, block, frame, huffman_bits, integer, literal, settings, string,
                        wait_for)
from judge import CACHE, Tap, skip
from servers import Nginx2, Weir, free_port

WHOLE = END_STREAM | END_HEADERS
CASES = []


def case(name, **how):
    def add(function):
        CASES.append((name, function, how))
        return function
    return add


# 3. Starting.

@case("3.4 a whole preface is answered with SETTINGS first")
def _(c):
    assert c.seen[0].kind == SETTINGS and not c.seen[0].flags & ACK, c.seen


@case("3.4 a preface that goes wrong behind its first line", greet=False)
def _(c):
    c.send(PREFACE[:18] + b"XX\r\n\r\n")
    c.connection_error(PROTOCOL_ERROR)


@case("3.4 the preface byte by byte", greet=False)
def _(c):
    for byte in PREFACE + settings():
        c.send(bytes([byte]))
    c.request(1)
    assert c.answer(1)[0] == 200


@case("3.4 no SETTINGS behind the preface", greet=False)
def _(c):
    c.send(PREFACE + frame(PING, 0, 0, bytes(8)))
    c.connection_error(PROTOCOL_ERROR)


@case("3.4 a request at once, before our SETTINGS are acknowledged", greet=False)
def _(c):
    c.send(PREFACE + settings())
    c.request(1)
    assert c.answer(1)[0] == 200


@case("3.1 HTTP/1.1 with Upgrade: h2c is answered as HTTP/1.1", greet=False)
def _(c):
    c.send(f"GET {c.path} HTTP/1.1\r\nHost: {c.host}\r\nConnection: Upgrade, HTTP2-Settings\r\n"
           "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n".encode())
    got = c.socket.recv(12)
    assert got == b"HTTP/1.1 200", got


# 4. Frames.

@case("4.1 an unknown type of frame is ignored")
def _(c):
    c.send(frame(0x42, 0xff, 0, bytes(8)) + frame(0x42, 0, 1, bytes(8)))
    c.alive()


@case("4.1 unknown flags are ignored")
def _(c):
    c.send(frame(PING, 0x16, 0, bytes(8)))
    c.wait(lambda f: f.kind == PING and f.flags == ACK)


@case("4.1 the reserved bit is ignored")
def _(c):
    c.send(frame(PING, 0, 0x80000000, bytes(8)))
    c.wait(lambda f: f.kind == PING and f.flags == ACK)


@case("4.2 DATA of 16,384 bytes is taken")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, bytes(16384)))
    assert c.answer(1)[0] is not None


@case("4.2 DATA larger than SETTINGS_MAX_FRAME_SIZE")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, bytes(16385)))
    c.stream_error(1, FRAME_SIZE_ERROR)


@case("4.2 HEADERS larger than SETTINGS_MAX_FRAME_SIZE")
def _(c):
    c.send(frame(HEADERS, WHOLE, 1, block(c.fields() + [(f"x{i}", "v" * 4000) for i in range(5)])))
    c.connection_error(FRAME_SIZE_ERROR)


@case("4.3 a block that is no HPACK")
def _(c):
    c.send(frame(HEADERS, WHOLE, 1, b"\x00\x7f\x01"))
    c.connection_error(COMPRESSION_ERROR)


@case("4.3 a block cut short")
def _(c):
    c.send(frame(HEADERS, WHOLE, 1, block(c.fields())[:-3]))
    c.connection_error(COMPRESSION_ERROR)


@case("4.3 PRIORITY inside a block")
def _(c):
    c.request(1, flags=END_STREAM)
    c.send(frame(PRIORITY, 0, 1, bytes(5)))
    c.connection_error(PROTOCOL_ERROR)


@case("4.3 HEADERS of another stream inside a block")
def _(c):
    c.request(1, flags=END_STREAM)
    c.request(3)
    c.connection_error(PROTOCOL_ERROR)


@case("4.3 CONTINUATION of another stream inside a block")
def _(c):
    c.request(1, flags=END_STREAM)
    c.send(frame(CONTINUATION, END_HEADERS, 3, b""))
    c.connection_error(PROTOCOL_ERROR)


@case("4.3 a block in pieces of one byte, over CONTINUATIONs")
def _(c):
    whole = block(c.fields())
    c.send(frame(HEADERS, END_STREAM, 1, whole[:-20]))
    for i in range(20, 0, -1):
        end = len(whole) - i
        c.send(frame(CONTINUATION, END_HEADERS if i == 1 else 0, 1, whole[end:end + 1]))
    assert c.answer(1)[0] == 200


# 5.1 States of a stream.

@case("5.1 idle: DATA")
def _(c):
    c.send(frame(DATA, END_STREAM, 1, b"x"))
    c.connection_error(PROTOCOL_ERROR)


@case("5.1 idle: RST_STREAM")
def _(c):
    c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.connection_error(PROTOCOL_ERROR)


@case("5.1 idle: WINDOW_UPDATE")
def _(c):
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
    c.connection_error(PROTOCOL_ERROR)


@case("5.1 idle: CONTINUATION")
def _(c):
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(c.fields())))
    c.connection_error(PROTOCOL_ERROR)


@case("5.1 idle: PRIORITY is allowed")
def _(c):
    c.send(frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 16)))
    c.request(1)
    assert c.answer(1)[0] == 200


@case("5.1 half-closed (remote): DATA")
def _(c):
    c.request(1)
    c.send(frame(DATA, END_STREAM, 1, b"x"))
    c.stream_error(1, STREAM_CLOSED)


@case("5.1 half-closed (remote): HEADERS")
def _(c):
    c.request(1)
    c.request(1)
    c.stream_error(1, STREAM_CLOSED)


@case("5.1 half-closed (remote): CONTINUATION")
def _(c):
    c.request(1)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(c.fields())))
    c.connection_error(STREAM_CLOSED, PROTOCOL_ERROR)


@case("5.1 half-closed (remote): WINDOW_UPDATE, PRIORITY, RST_STREAM are allowed")
def _(c):
    c.request(1)
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))
           + frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 16))
           + frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.alive()


@case("5.1 closed by the client's RST_STREAM: DATA")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.send(frame(DATA, END_STREAM, 1, b"x"))
    c.stream_error(1, STREAM_CLOSED)


@case("5.1 closed by the client's RST_STREAM: HEADERS")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.request(1)
    c.stream_error(1, STREAM_CLOSED)


@case("5.1 closed by the client's RST_STREAM: CONTINUATION")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.send(frame(CONTINUATION, END_HEADERS, 1, b""))
    c.connection_error(STREAM_CLOSED, PROTOCOL_ERROR)


@case("5.1 closed by both: DATA")
def _(c):
    c.request(1)
    c.answer(1)
    c.send(frame(DATA, END_STREAM, 1, b"x"))
    c.connection_error(STREAM_CLOSED)


@case("5.1 closed by both: HEADERS")
def _(c):
    c.request(1)
    c.answer(1)
    c.request(1)
    c.connection_error(STREAM_CLOSED)


@case("5.1 closed by both: CONTINUATION")
def _(c):
    c.request(1)
    c.answer(1)
    c.send(frame(CONTINUATION, END_HEADERS, 1, b""))
    c.connection_error(STREAM_CLOSED, PROTOCOL_ERROR)


@case("5.1 closed by both: WINDOW_UPDATE, PRIORITY, RST_STREAM are ignored")
def _(c):
    c.request(1)
    c.answer(1)
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))
           + frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 16))
           + frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.alive()


@case("5.1 closed by our RST_STREAM: what was on its way is ignored")
def _(c):
    c.request(1, "POST", c.post, ("connection", "close"), flags=END_HEADERS)
    c.wait(lambda f: f.kind == RST_STREAM)
    c.send(frame(DATA, 0, 1, bytes(1000)))
    c.send(frame(HEADERS, WHOLE, 1, block([("x-trailer", "1")])))
    c.alive()


@case("5.1 closed long ago: DATA of a stream of 3,000 before")
def _(c):
    for first in range(1, 6001, 200):
        for stream in range(first, first + 200, 2):
            c.request(stream, "HEAD")
        c.answer(first + 198)
    c.alive()
    c.send(frame(DATA, END_STREAM, 5001, b"x"))
    c.connection_error(STREAM_CLOSED)


@case("5.1.1 a stream with an even number")
def _(c):
    c.request(2)
    c.connection_error(PROTOCOL_ERROR)


@case("5.1.1 a stream with a number lower than one before")
def _(c):
    c.request(5)
    c.request(3)
    c.connection_error(PROTOCOL_ERROR)


@case("5.1.1 numbers may be left out")
def _(c):
    c.request(1)
    assert c.answer(1)[0] == 200
    c.request(1001)
    assert c.answer(1001)[0] == 200
    c.request(0x7fffffff)
    assert c.answer(0x7fffffff)[0] == 200


@case("5.1.1 DATA of a number that was left out")
def _(c):
    c.request(5)
    c.send(frame(DATA, END_STREAM, 3, b"x"))
    c.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("5.1.2 more streams than SETTINGS_MAX_CONCURRENT_STREAMS")
def _(c):
    limit = dict(struct.iter_unpack(">HI", c.seen[0].payload))[MAX_STREAMS]
    for stream in range(1, 2 * limit + 400, 2):
        c.request(stream, "PUT", c.post, flags=END_HEADERS)
    got = c.wait(lambda f: f.kind in (RST_STREAM, GOAWAY))
    if got.kind != RST_STREAM or got.code() not in (REFUSED_STREAM, PROTOCOL_ERROR):
        raise Wrong(got)
    c.alive()


# 5.3 Priorities.

@case("5.3 a stream that depends on itself: HEADERS")
def _(c):
    c.send(frame(HEADERS, WHOLE | HAS_PRIORITY, 1, struct.pack(">IB", 1, 9) + block(c.fields())))
    c.stream_error(1, PROTOCOL_ERROR)


@case("5.3 a stream that depends on itself: PRIORITY")
def _(c):
    c.send(frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 9)))
    c.stream_error(1, PROTOCOL_ERROR)


@case("5.3 HEADERS with a priority and padding")
def _(c):
    c.send(frame(HEADERS, WHOLE | HAS_PRIORITY | PADDED, 1,
                 b"\x03" + struct.pack(">IB", 0x80000000, 9) + block(c.fields()) + bytes(3)))
    assert c.answer(1)[0] == 200


# 6. Kinds of frames.

@case("6.1 DATA of stream 0")
def _(c):
    c.send(frame(DATA, END_STREAM, 0, b"x"))
    c.connection_error(PROTOCOL_ERROR)


@case("6.1 DATA with as much padding as bytes")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(DATA, END_STREAM | PADDED, 1, b"\x05abcd"))
    c.connection_error(PROTOCOL_ERROR)


@case("6.1 DATA with padding is taken, without its padding")
def _(c):
    c.request(1, "PUT", c.put + "/padded", flags=END_HEADERS)
    c.send(frame(DATA, END_STREAM | PADDED, 1, b"\x03hello" + bytes(3)))
    assert c.answer(1)[0] in (200, 201, 204, 405), c.seen


@case("6.2 HEADERS of stream 0")
def _(c):
    c.request(0)
    c.connection_error(PROTOCOL_ERROR)


@case("6.2 HEADERS with more padding than bytes")
def _(c):
    c.send(frame(HEADERS, WHOLE | PADDED, 1, b"\xff" + block(c.fields())))
    c.connection_error(PROTOCOL_ERROR)


@case("6.2 HEADERS with the flag of a priority and too few bytes")
def _(c):
    c.send(frame(HEADERS, WHOLE | HAS_PRIORITY, 1, b"\0\0\0"))
    c.connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)


@case("6.3 PRIORITY of stream 0")
def _(c):
    c.send(frame(PRIORITY, 0, 0, bytes(5)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.3 PRIORITY of 4 bytes")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(PRIORITY, 0, 1, bytes(4)))
    c.stream_error(1, FRAME_SIZE_ERROR)


@case("6.4 RST_STREAM of stream 0")
def _(c):
    c.send(frame(RST_STREAM, 0, 0, struct.pack(">I", CANCEL)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.4 RST_STREAM of 3 bytes")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, bytes(3)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.5 SETTINGS with ACK and bytes")
def _(c):
    c.send(frame(SETTINGS, ACK, 0, bytes(6)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.5 SETTINGS of a stream")
def _(c):
    c.send(frame(SETTINGS, 0, 1))
    c.connection_error(PROTOCOL_ERROR)


@case("6.5 SETTINGS of 5 bytes")
def _(c):
    c.send(frame(SETTINGS, 0, 0, bytes(5)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.5.2 SETTINGS_ENABLE_PUSH of 2")
def _(c):
    c.send(settings((ENABLE_PUSH, 2)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.5.2 SETTINGS_INITIAL_WINDOW_SIZE of 2^31")
def _(c):
    c.send(settings((WINDOW_SIZE, 1 << 31)))
    c.connection_error(FLOW_CONTROL_ERROR)


@case("6.5.2 SETTINGS_MAX_FRAME_SIZE of 16,383")
def _(c):
    c.send(settings((MAX_FRAME, 16383)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.5.2 SETTINGS_MAX_FRAME_SIZE of 2^24")
def _(c):
    c.send(settings((MAX_FRAME, 1 << 24)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.5.2 an unknown setting is ignored")
def _(c):
    c.send(settings((0xff, 1)))
    c.alive()


@case("6.5.3 the last of two values counts")
def _(c):
    c.send(settings((WINDOW_SIZE, 100), (WINDOW_SIZE, 1)))
    c.wait(lambda f: f.kind == SETTINGS and f.flags & ACK)
    c.request(1)
    assert len(c.wait(lambda f: f.kind == DATA).payload) == 1


@case("6.5.3 SETTINGS are acknowledged")
def _(c):
    c.send(settings((MAX_STREAMS, 100)))
    c.wait(lambda f: f.kind == SETTINGS and f.flags & ACK)


@case("6.5.3 an ACK too many")
def _(c):
    c.send(frame(SETTINGS, ACK, 0))
    try:
        c.alive()  # RFC 9113 says nothing of it: either is right
    except Wrong:
        pass


@case("6.6 PUSH_PROMISE of a client")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + block(c.fields())))
    c.connection_error(PROTOCOL_ERROR)


@case("6.7 PING is acknowledged with its bytes")
def _(c):
    c.send(frame(PING, 0, 0, b"h2 judge"))
    assert c.wait(lambda f: f.kind == PING).payload == b"h2 judge"


@case("6.7 an acknowledged PING is not answered")
def _(c):
    c.send(frame(PING, ACK, 0, b"invalid!"))
    c.send(frame(PING, 0, 0, b"h2 judge"))
    assert c.wait(lambda f: f.kind == PING).payload == b"h2 judge"


@case("6.7 PING of a stream")
def _(c):
    c.send(frame(PING, 0, 1, bytes(8)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.7 PING of 6 bytes")
def _(c):
    c.send(frame(PING, 0, 0, bytes(6)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.8 GOAWAY of a stream")
def _(c):
    c.send(frame(GOAWAY, 0, 1, bytes(8)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.8 GOAWAY: what was asked before is answered, then the server closes")
def _(c):
    c.request(1)
    c.send(frame(GOAWAY, 0, 0, bytes(8)))
    assert c.answer(1)[0] == 200
    c.closed()


@case("6.9 WINDOW_UPDATE of 0 for the connection")
def _(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, bytes(4)))
    c.connection_error(PROTOCOL_ERROR)


@case("6.9 WINDOW_UPDATE of 0 for a stream")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(WINDOW_UPDATE, 0, 1, bytes(4)))
    c.stream_error(1, PROTOCOL_ERROR)


@case("6.9 WINDOW_UPDATE of 3 bytes")
def _(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, bytes(3)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.9.1 no more is sent than the window has")
def _(c):
    c.send(settings((WINDOW_SIZE, 1)))
    c.wait(lambda f: f.kind == SETTINGS and f.flags & ACK)
    c.request(1)
    assert len(c.wait(lambda f: f.kind == DATA).payload) == 1
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 3)))
    assert len(c.wait(lambda f: f.kind == DATA).payload) == 3
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1000)))
    assert c.answer(1)[1] == c.content[4:]


@case("6.9.1 the window of the connection grows past 2^31 - 1")
def _(c):
    c.send(2 * frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7fffffff)))
    c.connection_error(FLOW_CONTROL_ERROR)


@case("6.9.1 the window of a stream grows past 2^31 - 1")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(2 * frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 0x7fffffff)))
    c.stream_error(1, FLOW_CONTROL_ERROR)


@case("6.9.1 the client sends more than the window has")
def _(c):
    window = dict(struct.iter_unpack(">HI", c.seen[0].payload)).get(WINDOW_SIZE, 65535)
    for stream in range(1, 41, 2):  # past the connection's window, if nobody takes them
        c.request(stream, "POST", c.post, ("expect", "100-continue"), flags=END_HEADERS)
    for _ in range(window // 16384 * 4 + 8):
        c.send(frame(DATA, 0, 1, bytes(16384)))
    got = c.wait(lambda f: f.kind in (RST_STREAM, GOAWAY, WINDOW_UPDATE) and f.stream in (0, 1))
    assert got.kind == WINDOW_UPDATE or got.code() in (FLOW_CONTROL_ERROR, NO_ERROR,
                                                       STREAM_CLOSED), got


@case("6.9.2 the window of a stream changes with SETTINGS, also below 0")
def _(c):
    c.send(settings((WINDOW_SIZE, 3)))
    c.wait(lambda f: f.kind == SETTINGS and f.flags & ACK)
    c.request(1)
    assert len(c.wait(lambda f: f.kind == DATA).payload) == 3
    c.send(settings((WINDOW_SIZE, 2)))
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2)))
    assert len(c.wait(lambda f: f.kind == DATA).payload) == 1
    c.send(settings((WINDOW_SIZE, 1000)))
    assert c.answer(1)[1] == c.content[4:]


@case("6.9.2 SETTINGS make a window grow past 2^31 - 1")
def _(c):
    c.send(settings((WINDOW_SIZE, 0)))
    c.wait(lambda f: f.kind == SETTINGS and f.flags & ACK)
    c.request(1)
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 0x7fffffff - 100)))
    c.send(settings((WINDOW_SIZE, 0x7fffffff)))
    c.send(settings((WINDOW_SIZE, 0x7fffffff)))
    try:
        c.connection_error(FLOW_CONTROL_ERROR)
    except Wrong:
        # The answer may have ended, and its window with it.
        if not any(f.kind == DATA and f.flags & END_STREAM for f in c.seen):
            raise


@case("6.10 CONTINUATION behind END_HEADERS")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block([("x", "y")])))
    c.connection_error(PROTOCOL_ERROR)


@case("6.10 CONTINUATION of stream 0")
def _(c):
    c.request(1, flags=END_STREAM)
    c.send(frame(CONTINUATION, END_HEADERS, 0, block([("x", "y")])))
    c.connection_error(PROTOCOL_ERROR)


@case("6.10 DATA between HEADERS and CONTINUATION")
def _(c):
    c.request(1, "POST", c.post, flags=0)
    c.send(frame(DATA, END_STREAM, 1, b"x"))
    c.connection_error(PROTOCOL_ERROR)


@case("6.10 an unknown frame between HEADERS and CONTINUATION")
def _(c):
    c.request(1, "POST", c.post, flags=0)
    c.send(frame(0x42, 0, 1, b"x"))
    c.connection_error(PROTOCOL_ERROR)


@case("7 unknown codes of errors are ignored")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", 0xff)))
    c.alive()


# 8. HTTP.

@case("8.1 a second HEADERS without END_STREAM")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(HEADERS, END_HEADERS, 1, block([("x-test", "ok")])))
    c.stream_error(1, PROTOCOL_ERROR)


@case("8.1 trailers are taken")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(DATA, 0, 1, b"hello") + frame(HEADERS, WHOLE, 1, block([("x-trailer", "1")])))
    assert c.answer(1)[0] is not None


@case("8.1 a pseudo field in trailers")
def _(c):
    c.request(1, "POST", c.post, flags=END_HEADERS)
    c.send(frame(DATA, 0, 1, b"hello") + frame(HEADERS, WHOLE, 1, block([(":method", "GET")])))
    c.stream_error(1, PROTOCOL_ERROR)


def malformed(name, make):
    """A request whose fields are wrong: a stream error, and the connection goes on."""
    @case(name)
    def _(c):
        c.send(frame(HEADERS, WHOLE, 1, block(make(c.fields()))))
        c.stream_error(1, PROTOCOL_ERROR, connection=False)
        c.request(3)
        assert c.answer(3)[0] == 200


def without(name):
    return lambda fields: [f for f in fields if f[0] != name]


def and_field(name, value):
    return lambda fields: [*fields, (name, value)]


def instead(name, value):
    return lambda fields: [(n, value if n == name else v) for n, v in fields]


malformed("8.2 a name in upper case", and_field("X-Test", "1"))
malformed("8.2.1 an empty name", and_field("", "1"))
malformed("8.2.1 a name with a space", and_field("x test", "1"))
malformed("8.2.1 a name with a colon", and_field("x:test", "1"))
malformed("8.2.1 a name with a byte above 0x7f", and_field(b"x\xe4", "1"))
malformed("8.2.1 a value with NUL", and_field("x-test", b"a\0b"))
malformed("8.2.1 a value with LF", and_field("x-test", "a\nb"))
malformed("8.2.1 a value with CR", and_field("x-test", "a\rb"))
malformed("8.2.1 a value that begins with a space", and_field("x-test", " a"))
malformed("8.2.1 a value that ends with a tab", and_field("x-test", "a\t"))
malformed("8.2.2 connection", and_field("connection", "keep-alive"))
malformed("8.2.2 proxy-connection", and_field("proxy-connection", "keep-alive"))
malformed("8.2.2 keep-alive", and_field("keep-alive", "1"))
malformed("8.2.2 transfer-encoding", and_field("transfer-encoding", "chunked"))
malformed("8.2.2 upgrade", and_field("upgrade", "h2c"))
malformed("8.2.2 te that says more than trailers", and_field("te", "trailers, deflate"))
malformed("8.3 an unknown pseudo field", lambda fields: [(":test", "1"), *fields])
malformed("8.3 a pseudo field of answers", lambda fields: [(":status", "200"), *fields])
malformed("8.3 a pseudo field behind others", lambda fields: [("x-test", "1"), *fields])
malformed("8.3 :protocol, which we have not offered", lambda fields: [(":protocol", "x"), *fields])
malformed("8.3.1 :method twice", lambda fields: [(":method", "GET"), *fields])
malformed("8.3.1 :scheme twice", lambda fields: [(":scheme", "http"), *fields])
malformed("8.3.1 :path twice", lambda fields: [(":path", "/"), *fields])
malformed("8.3.1 :authority twice", lambda fields: [(":authority", "x"), *fields])
malformed("8.3.1 no :method", without(":method"))
malformed("8.3.1 no :scheme", without(":scheme"))
malformed("8.3.1 no :path", without(":path"))
malformed("8.3.1 neither :authority nor host", without(":authority"))
malformed("8.3.1 an empty :path", instead(":path", ""))
malformed("8.3.1 :path without a slash", instead(":path", "x"))
malformed("8.3.1 :path * with GET", instead(":path", "*"))
malformed("8.3.1 :path with a space", instead(":path", "/a b"))
malformed("8.3.1 an empty :method", instead(":method", ""))
malformed("8.3.1 :method with a space", instead(":method", "GE T"))
malformed("8.3.1 :authority with user information", instead(":authority", "me@example.com"))
malformed("8.3.1 host that is not :authority", and_field("host", "other.example.com"))
malformed("8.3.1 host twice", lambda fields: [*without(":authority")(fields), ("host", "a"),
                                              ("host", "a")])
malformed("8.1.1 Content-Length without a body", and_field("content-length", "1"))
malformed("8.1.1 Content-Length that is no number", and_field("content-length", "x"))
malformed("8.1.1 Content-Length twice", lambda fields: [*fields, ("content-length", "0"),
                                                        ("content-length", "1")])
malformed("8.5 CONNECT with :scheme and :path", instead(":method", "CONNECT"))


@case("8.2.2 te: trailers is allowed")
def _(c):
    c.request(1, "GET", None, ("te", "trailers"))
    assert c.answer(1)[0] == 200


@case("8.3.1 host instead of :authority")
def _(c):
    c.send(frame(HEADERS, WHOLE, 1, block(without(":authority")(c.fields())
                                          + [("host", c.host)])))
    assert c.answer(1)[0] == 200


@case("8.1.1 Content-Length less than the body")
def _(c):
    c.request(1, "POST", c.post, ("content-length", "1"), flags=END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.stream_error(1, PROTOCOL_ERROR)


@case("8.1.1 Content-Length less than the body, in two frames")
def _(c):
    c.request(1, "POST", c.post, ("content-length", "5"), flags=END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test") + frame(DATA, END_STREAM, 1, b"test"))
    c.stream_error(1, PROTOCOL_ERROR)


@case("8.1.1 Content-Length more than the body")
def _(c):
    c.request(1, "POST", c.post, ("content-length", "100"), flags=END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.stream_error(1, PROTOCOL_ERROR)


@case("8.1.1 Content-Length more than the body, with trailers")
def _(c):
    c.request(1, "POST", c.post, ("content-length", "100"), flags=END_HEADERS)
    c.send(frame(DATA, 0, 1, b"test") + frame(HEADERS, WHOLE, 1, block([("x-trailer", "1")])))
    c.stream_error(1, PROTOCOL_ERROR)


@case("8.2.3 cookies in several fields")
def _(c):
    c.request(1, "GET", None, ("cookie", "a=b"), ("cookie", "c=d"))
    assert c.answer(1)[0] == 200


@case("8.5 CONNECT is refused")
def _(c):
    c.send(frame(HEADERS, END_HEADERS, 1, block([(":method", "CONNECT"), (":authority", "a:1")])))
    got = c.wait(lambda f: f.stream == 1)
    assert got.kind == RST_STREAM or got.fields[0][1][:1] in b"45", got
    c.alive()


@case("9110: HEAD has no body")
def _(c):
    c.request(1, "HEAD")
    got = c.wait(lambda f: f.kind == HEADERS)
    assert got.flags & END_STREAM and (b"content-length", b"%d" % len(c.content)) in got.fields


@case("9110: OPTIONS *")
def _(c):
    c.request(1, "OPTIONS", "*")
    assert c.answer(1)[0] is not None


@case("9110: Expect: 100-continue is told to go on", ours=True)
def _(c):
    c.request(1, "PUT", c.put + "/expect", ("expect", "100-continue"), flags=END_HEADERS)
    assert c.wait(lambda f: f.kind == HEADERS).fields == [(b":status", b"100")]
    c.send(frame(DATA, END_STREAM, 1, b"value"))
    assert c.answer(1)[0] == 201


@case("8.1 an early answer to a short body: the rest is dropped", ours=True)
def _(c):
    c.request(1, "PUT", "/nowhere/at/all", ("content-length", "2000"), flags=END_HEADERS)
    assert c.answer(1)[0] >= 400
    c.send(2 * frame(DATA, 0, 1, bytes(1000)) + frame(DATA, END_STREAM, 1))
    c.alive()
    assert not [f for f in c.seen if f.kind == RST_STREAM]


@case("8.1 an early answer to a body without an end: RST_STREAM NO_ERROR in time", ours=True)
def _(c):
    c.request(1, "PUT", "/nowhere/at/all", flags=END_HEADERS)
    assert c.answer(1)[0] >= 400
    for _ in range(10):
        c.send(8 * frame(DATA, 0, 1, bytes(16000)))
        c.send(frame(PING, 0, 0, bytes(8)))  # behind it there is room again
        if c.wait(lambda f: f.kind in (PING, RST_STREAM)).kind == RST_STREAM:
            break
    got = c.seen[-1] if c.seen[-1].kind == RST_STREAM else \
         c.wait(lambda f: f.kind == RST_STREAM)
    assert got.code() == NO_ERROR, got
    c.alive()


@case("6.5.2 more fields than SETTINGS_MAX_HEADER_LIST_SIZE: 431", ours=True)
def _(c):
    fields = c.fields() + [(f"x-{i}", "v" * 3000) for i in range(11)]
    whole = block(fields)
    c.send(frame(HEADERS, END_STREAM, 1, whole[:16384])
           + frame(CONTINUATION, 0, 1, whole[16384:32768])
           + frame(CONTINUATION, END_HEADERS, 1, whole[32768:]))
    assert c.answer(1)[0] == 431


@case("6.5.2 too many fields: 431", ours=True)
def _(c):
    c.request(1, "GET", None, *((f"x-{i}", "") for i in range(101)))
    assert c.answer(1)[0] == 431


@case("9110: a path of 17,000 bytes: 414", ours=True)
def _(c):
    whole = block(c.fields("GET", "/" + "x" * 17000))
    c.send(frame(HEADERS, END_STREAM, 1, whole[:16384])
           + frame(CONTINUATION, END_HEADERS, 1, whole[16384:]))
    assert c.answer(1)[0] == 414


@case("9110: an expectation that nobody knows: 417", ours=True)
def _(c):
    c.request(1, "GET", None, ("expect", "the unexpected"))
    assert c.answer(1)[0] == 417


# 10. Floods.

def flood(name, make, count):
    @case(name, ours=True)
    def _(c):
        for _ in range(count // 100):
            c.send(make(c) * 100)
        c.connection_error(ENHANCE_YOUR_CALM)


flood("10.5 a flood of PING", lambda c: frame(PING, 0, 0, bytes(8)), 30000)
flood("10.5 a flood of SETTINGS", lambda c: settings(), 30000)
flood("10.5 a flood of PRIORITY", lambda c: frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)), 30000)
flood("10.5 a flood of unknown frames", lambda c: frame(0x42, 0, 0), 30000)
flood("10.5 a flood of WINDOW_UPDATE",
      lambda c: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)), 30000)


@case("10.5 a flood of empty DATA", ours=True)
def _(c):
    c.request(1, "PUT", c.put + "/empty", flags=END_HEADERS)
    c.send(frame(DATA, 0, 1) * 30000)
    c.connection_error(ENHANCE_YOUR_CALM)


@case("10.5 a flood of DATA with nothing but padding", ours=True)
def _(c):
    c.request(1, "PUT", c.put + "/empty", flags=END_HEADERS)
    c.send(frame(DATA, PADDED, 1, b"\x01\0") * 30000)
    c.connection_error(ENHANCE_YOUR_CALM)


@case("10.5 rapid reset", ours=True)
def _(c):
    head = block(c.fields())
    for stream in range(1, 20001, 2):
        c.send(frame(HEADERS, WHOLE, stream, head)
               + frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
    c.connection_error(ENHANCE_YOUR_CALM)


@case("10.5.1 endless CONTINUATION", ours=True)
def _(c):
    c.request(1, flags=END_STREAM)
    for i in range(200):
        c.send(frame(CONTINUATION, 0, 1, block([(f"x{i}", "v" * 1000)])))
    c.connection_error(ENHANCE_YOUR_CALM)


@case("10.5.1 empty CONTINUATIONs", ours=True)
def _(c):
    c.request(1, flags=END_STREAM)
    c.send(frame(CONTINUATION, 0, 1) * 1000)
    c.connection_error(ENHANCE_YOUR_CALM)


@case("10.5.1 a small block that unpacks to much: 431", ours=True)
def _(c):
    whole = block(c.fields()) + literal("x-bomb", "v" * 3900, bits=0x40)
    c.send(frame(HEADERS, WHOLE, 1, whole + bytes([0x80 | 62]) * 10000))
    assert c.answer(1)[0] == 431


# RFC 7541.

def hpack_error(name, make):
    @case("HPACK " + name)
    def _(c):
        c.send(frame(HEADERS, WHOLE, 1, make(block(c.fields()))))
        c.connection_error(COMPRESSION_ERROR)


hpack_error("2.3.3 an index past both tables", lambda b: b + integer(70, 7, 0x80))
hpack_error("2.3.3 a literal with a name past both tables",
            lambda b: b + integer(70, 6, 0x40) + string("x"))
hpack_error("4.2 a change of the table's size at the end of a block", lambda b: b + b"\x20")
hpack_error("5.1 an integer larger than any", lambda b: b + b"\xff" + b"\xff" * 12 + b"\x01")
hpack_error("5.2 padding of Huffman longer than 7 bits",
            lambda b: b + b"\x00" + string("x") + integer(3, 7, 0x80) + huffman_bits(b"aa") + b"\xff")
hpack_error("5.2 padding of Huffman that is zeros",
            lambda b: b + b"\x00" + string("x") + integer(1, 7, 0x80) + huffman_bits(b"a", "0"))
hpack_error("5.2 EOS inside Huffman",
            lambda b: b + b"\x00" + string("x") + integer(4, 7, 0x80) + b"\xff\xff\xff\xff")
hpack_error("5.2 a string longer than the block", lambda b: b + b"\x00" + integer(50, 7) + b"x")
hpack_error("6.1 index 0", lambda b: b + b"\x80")
hpack_error("6.3 a size larger than SETTINGS_HEADER_TABLE_SIZE",
            lambda b: integer(5000, 5, 0x20) + b)


@case("HPACK 5.2 Huffman is understood")
def _(c):
    c.send(frame(HEADERS, WHOLE, 1, block(c.fields(), huffman=True)))
    assert c.answer(1)[0] == 200


@case("HPACK 6 all forms of fields, and the dynamic table")
def _(c):
    head = block(c.fields())
    c.send(frame(HEADERS, WHOLE, 1, head + literal("x-one", "1", bits=0x40)
                 + literal("x-two", "2", bits=0x10) + literal("x-three", "3", bits=0x40, huffman=True)))
    c.send(frame(HEADERS, WHOLE, 3, head + bytes([0x80 | 62, 0x80 | 63])
                 + integer(62, 6, 0x40) + string("4")))
    c.send(frame(HEADERS, WHOLE, 5, integer(0, 5, 0x20) + integer(4096, 5, 0x20) + head))
    assert c.answer(5)[0] == 200


@case("HPACK 4.3 the table is emptied, then an index into it")
def _(c):
    c.send(frame(HEADERS, WHOLE, 1, block(c.fields()) + literal("x-one", "1", bits=0x40)))
    c.answer(1)
    c.send(frame(HEADERS, WHOLE, 3, integer(0, 5, 0x20) + block(c.fields()) + bytes([0x80 | 62])))
    c.connection_error(COMPRESSION_ERROR)


@case("HPACK 4.2 a table of 0 for the server's fields", own=((TABLE_SIZE, 0),))
def _(c):
    for stream in (1, 3):
        c.request(stream)
        assert c.answer(stream)[0] == 200
    assert not c.decoder.table, "it indexes, though we have no table"


@contextlib.contextmanager
def served(options):
    if options.server == "nginx":
        if not shutil.which("nginx"):
            skip("no nginx (package nginx-light)")
        with Nginx2(CACHE / f"http2-{os.getpid()}") as server:
            (server.directory / "www/file").write_text("v" * 64)
            yield ("127.0.0.1", server.port), "/file", "/file", "/file"
        return
    port = free_port()
    with Weir(CACHE / f"http2-{os.getpid()}", "relaxed",
              settings=(f"http.listen=127.0.0.1:{port}",)) as server:
        server.call("SET", "file", "v" * 64)
        wait_for(("127.0.0.1", port))
        yield ("127.0.0.1", port), "/kv/default/file", "/kv/default", "/kv/default/posted"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--server", choices=("weir", "nginx"), default="weir",
                           help="nginx: is the judge right?")
    arguments.add_argument("--only", default="", metavar="TEXT", help="cases with it in their name")
    options = arguments.parse_args()
    tap = Tap()
    with served(options) as (address, path, put, post):
        for name, function, how in CASES:
            if options.only not in name or (how.get("ours") and options.server != "weir"):
                continue
            try:
                with Client(address, how.get("greet", True), how.get("own", ()), path) as client:
                    client.put, client.post, client.content = put, post, b"v" * 64
                    function(client)
                    wrong = ""
            except (Wrong, AssertionError, OSError) as error:
                wrong = f"{type(error).__name__}: {error}"
            tap.case(not wrong, name, wrong[:600])
    tap.plan()


main()
