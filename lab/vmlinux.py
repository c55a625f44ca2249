#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmlinux.py BZIMAGE VMLINUX: unpacks a kernel, so that the guest need not: that takes seconds."""
import lzma
import struct
import subprocess
import sys
import zlib


def payload(image):
    """What the boot protocol says is compressed (Documentation/arch/x86/boot.rst)."""
    sectors = image[0x1F1] or 4
    offset, size = struct.unpack_from("<II", image, 0x248)
    return image[(sectors + 1) * 512 + offset:][:size]


def unpack(data):
    if data.startswith(b"\x1f\x8b\x08"):
        return zlib.decompressobj(31).decompress(data)
    if data.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(data[:-4])
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return subprocess.run(["zstd", "-dc"], input=data[:-4], capture_output=True,
                              check=False).stdout
    raise SystemExit(f"an unknown compression: {data[:6].hex()}")


def main():
    with open(sys.argv[1], "rb") as image:
        kernel = unpack(payload(image.read()))
    if not kernel.startswith(b"\x7fELF"):
        raise SystemExit("no ELF file came out")
    with open(sys.argv[2], "wb") as out:
        out.write(kernel)


if __name__ == "__main__":
    main()
