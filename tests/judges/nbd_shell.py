#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""libnbd's Python module against a volume: each command, flag and error of the protocol."""
import errno

from judge import Tap, parser, skip
from nbd_judge import served

try:
    import nbd
except ImportError:
    skip("no python3-libnbd (package python3-libnbd)")

SIZE, BLOCK = 64 << 20, 4096


def connect(server, name, structured=True, strict=0):
    handle = nbd.NBD()
    handle.set_strict_mode(strict)
    handle.set_request_structured_replies(structured)
    if structured:
        handle.add_meta_context("base:allocation")
    handle.connect_uri(server.uri(name))
    return handle


def fails(call, wanted):
    try:
        call()
    except nbd.Error as error:
        return error.errnum == wanted or f"{error.errnum} is not {wanted}: {error}"
    return "it did not fail"


def commands(tap, server, structured):
    kind = "structured" if structured else "simple"
    h = connect(server, "disk", structured)
    data = bytes(range(256)) * 16 * 8
    tap.case(h.get_size() == SIZE and h.can_fua() and h.can_flush() and h.can_multi_conn() and
             h.can_trim() and h.can_zero() and h.can_fast_zero() and h.can_cache() and
             h.can_df() == structured, f"{kind}: flags")
    h.pwrite(data, 8 * BLOCK)
    tap.case(h.pread(len(data), 8 * BLOCK) == data, f"{kind}: write and read")
    h.pwrite(data, 16 * BLOCK, nbd.CMD_FLAG_FUA)
    h.flush()
    tap.case(h.pread(BLOCK, 16 * BLOCK) == data[:BLOCK], f"{kind}: FUA, flush")
    h.zero(2 * BLOCK, 8 * BLOCK)
    h.trim(2 * BLOCK, 10 * BLOCK, nbd.CMD_FLAG_FUA)
    h.zero(BLOCK, 12 * BLOCK, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    tap.case(h.pread(8 * BLOCK, 8 * BLOCK) == bytes(5 * BLOCK) + data[5 * BLOCK:],
             f"{kind}: zeroes, trim")
    h.cache(1 << 20, 0)
    large = bytes(1 << 20) + data * 31 + bytes(13 << 20)
    h.pwrite(large, 1 << 20)
    tap.case(h.pread(len(large), 1 << 20) == large, f"{kind}: 15 MB at once")
    h.shutdown()


def errors(tap, server, structured):
    kind = "structured" if structured else "simple"
    h = connect(server, "disk", structured)
    for name, call, wanted in (
            ("behind the end", lambda: h.pread(BLOCK, SIZE), errno.EINVAL),
            ("write behind the end", lambda: h.pwrite(bytes(BLOCK), SIZE), errno.ENOSPC),
            ("over the end", lambda: h.pread(2 * BLOCK, SIZE - BLOCK), errno.EINVAL),
            ("no whole block", lambda: h.pread(100, 0), errno.EINVAL),
            ("not at a block", lambda: h.pwrite(bytes(BLOCK), 512), errno.EINVAL),
            ("trim of no whole block", lambda: h.trim(1000, 0), errno.EINVAL)):
        good = fails(call, wanted)
        tap.case(good is True, f"{kind}: {name}", good)
    tap.case(h.pread(BLOCK, SIZE - BLOCK) == bytes(BLOCK), f"{kind}: it goes on after errors")
    h.shutdown()
    h = connect(server, "disk@1", structured)
    good = fails(lambda: h.pwrite(bytes(BLOCK), 0), errno.EPERM)
    tap.case(good is True, f"{kind}: a write to a snapshot", good)
    h.shutdown()


def extents(tap, server):
    h = connect(server, "disk")
    h.trim(SIZE, 0)
    h.pwrite(bytes([1]) * 3 * BLOCK, 100 * BLOCK)
    h.pwrite(bytes([1]) * BLOCK, 300 * BLOCK)
    seen = []

    def note(context, offset, entries, _error):
        if context == "base:allocation":
            seen.extend(zip(entries[::2], entries[1::2]))

    h.block_status(512 * BLOCK, 0, note)
    tap.case(seen == [(100 * BLOCK, 3), (3 * BLOCK, 0), (197 * BLOCK, 3), (BLOCK, 0),
                      (211 * BLOCK, 3)], "block status", seen)
    seen.clear()
    h.block_status(512 * BLOCK, 101 * BLOCK, note, nbd.CMD_FLAG_REQ_ONE)
    tap.case(seen == [(2 * BLOCK, 0)], "block status, one extent", seen)
    h.shutdown()


def several(tap, server):
    """A flush on one connection is of what the others have written, and all see the same."""
    handles = [connect(server, "disk") for _ in range(4)]
    for i, h in enumerate(handles):
        h.pwrite(bytes([i + 1]) * BLOCK, i * BLOCK)
    handles[0].flush()
    tap.case(all(h.pread(4 * BLOCK, 0) == b"".join(bytes([i + 1]) * BLOCK for i in range(4))
                 for h in handles), "four connections see one device")
    text, code = server.volume("delete", "disk", check=False)
    tap.case(code == 1 and "in use" in text, "a volume that is in use is not deleted", text)
    server.volume("resize", "disk", str(SIZE * 2))
    h = connect(server, "disk")
    tap.case(h.get_size() == 2 * SIZE, "a new connection sees the new size")
    for handle in (*handles, h):
        handle.shutdown()


def depth(tap, server):
    """Many under way at a time."""
    h = connect(server, "disk")
    buffers = []
    for i in range(500):  # each retires itself
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i % 251]) * BLOCK), i * BLOCK,
                     completion=lambda error: 1)
    while h.aio_in_flight() > 0:
        h.poll(-1)
    for i in range(500):
        buffers.append(nbd.Buffer(BLOCK))
        h.aio_pread(buffers[-1], i * BLOCK, completion=lambda error: 1)
    while h.aio_in_flight() > 0:
        h.poll(-1)
    tap.case(all(b.to_bytearray() == bytearray([i % 251]) * BLOCK for i, b in enumerate(buffers)),
             "500 reads under way at a time")
    h.shutdown()


def main():
    parser(__doc__).parse_args()
    tap = Tap()
    with served() as server:
        server.volume("create", "disk", str(SIZE))
        server.volume("snapshot", "disk", "disk@1")
        for structured in (True, False):
            commands(tap, server, structured)
            errors(tap, server, structured)
        extents(tap, server)
        depth(tap, server)
        several(tap, server)
    tap.plan()


if __name__ == "__main__":
    main()
