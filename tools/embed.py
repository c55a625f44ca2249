#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pages of src/server/web as C: what the binary serves, and what its browser may then do.

A page of HTML gets a Content-Security-Policy that allows its own <script> and <style>, by their
digests, and requests to the server that it came from; nothing else.
"""
import base64
import hashlib
import pathlib
import re
import sys

TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


def policy(text):
    def sources(tag):
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        digests = (base64.b64encode(hashlib.sha256(part.encode()).digest()) for part in parts)
        return " ".join(f"'sha256-{digest.decode()}'" for digest in digests) or "'none'"

    return (f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'")


def as_c(path):
    data = path.read_bytes()
    name = re.sub(r"\W", "_", path.stem)
    lines = [f"static const uint8_t {name}_data[] = {{"]
    lines += ["\t" + ",".join(map(str, data[at:at + 32])) + "," for at in range(0, len(data), 32)]
    html = path.suffix == ".html"
    lines += ["};", f"const struct http_page http_page_{name} = {{",
              f"\t.type = \"{TYPES[path.suffix]}\",",
              f"\t.policy = \"{policy(data.decode()) if html else ''}\",",
              f"\t.data = {{ {name}_data, sizeof({name}_data) }},", "};"]
    return lines


def main():
    out, *inputs = map(pathlib.Path, sys.argv[1:])
    lines = ["/* Made by tools/embed.py. */", '#include "server/http_face_internal.h"']
    for path in inputs:
        lines += as_c(path)
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
