#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The TCL suite of Redis 7.0.15, out of Debian's source package, against a running server.

Each unit must run as many tests as it does on redis-server itself: those that passed and those
that redis-skip.txt names make up the number below, so that a suite that ends early is not a pass.
"""
import os
import re
import shutil
import subprocess
import tarfile

from judge import CACHE, HERE, Tap, judged, parser, skip

VERSION = "7.0.15"
UNITS = {  # tests that redis-server 7.0.15 passes; `protocol` first, as long as all is fresh
    "protocol": 19, "keyspace": 52, "scan": 17, "expire": 58, "multi": 53, "type/string": 74,
    "type/incr": 23, "bitops": 45, "bitfield": 16, "pubsub": 30,
}
# "trim on SET with big value" is about jemalloc: the suite runs it where INFO names that allocator.
JEMALLOC_ONLY = {"type/string": 1}
FLAGS = ["--clients", "1", "--durable", "--tags", "-slow -needs:debug", "--ignore-encoding",
         "--ignore-digest", "--timeout", "120"]


def fetch():
    """The unpacked source. With a configuration of its own: the system's apt stays as it is."""
    tree = CACHE / f"redis-{VERSION}"
    if tree.is_dir():
        return tree
    apt = CACHE / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    listing = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)",
                              "Created-By: Packages"], capture_output=True, text=True).stdout
    lines = {f"deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {line} main"
             for line in listing.splitlines() if line.endswith(" bookworm")}
    (apt / "sources.list").write_text("\n".join(lines) + "\n")
    options = ["-o", f"Dir::Etc::sourcelist={apt}/sources.list", "-o", "Dir::Etc::sourceparts=-",
               "-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache",
               "-o", "APT::Sandbox::User=root"]
    for words in (["update"], ["source", "--download-only", "redis"]):
        done = subprocess.run(["apt-get", "-qq"] + options + words, cwd=CACHE, capture_output=True,
                              text=True)
        if done.returncode != 0:
            skip("apt-get source redis: " + done.stderr.strip().replace("\n", "; ")[:200])
    archive = CACHE / f"redis_{VERSION}.orig.tar.gz"
    if not archive.exists():
        skip(f"Debian's redis is no longer {VERSION}")
    with tarfile.open(archive) as tar:
        tar.extractall(CACHE)
    for program in ("redis-cli", "redis-benchmark"):
        (tree / "src" / program).symlink_to(shutil.which(program))
    return tree


def run_unit(tree, port, unit, skipped):
    own_ports = str(22000 + os.getpid() % 140 * 64)  # two runs at a time must not meet
    words = ["./runtest", "--host", "127.0.0.1", "--port", str(port), "--skipfile", str(skipped),
             "--baseport", own_ports, "--single", f"unit/{unit}"] + FLAGS
    try:
        done = subprocess.run(words, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=400)
        text = done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        text = (late.stdout or b"").decode(errors="replace") + "\n[err]: the unit did not end"
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def main():
    made = parser(__doc__)
    made.add_argument("--port", type=int, help="of a server that runs already, empty")
    made.add_argument("--no-skips", action="store_true", help="run what redis-skip.txt names, too")
    made.add_argument("units", nargs="*", metavar="unit", help=", ".join(UNITS))
    options = made.parse_args()
    for program, package in (("tclsh", "tcl"), ("redis-cli", "redis-tools"), ("apt-get", "apt")):
        if not shutil.which(program):
            skip(f"no {program} (package {package})")
    CACHE.mkdir(exist_ok=True)
    tree = fetch()
    names = [line for line in (HERE / "redis-skip.txt").read_text().splitlines()
             if line and not line.startswith("#")]
    skipped = CACHE / "redis-skip.names"
    skipped.write_text("\n".join([] if options.no_skips else names))
    tap = Tap()
    for unit in options.units or UNITS:
        if options.port:
            judge(tap, tree, options.port, unit, (skipped, options.server))
            continue
        with judged(options.server) as server:  # a new one: what one unit leaves is not the next's
            judge(tap, tree, server.port, unit, (skipped, options.server))
    tap.plan()


def judge(tap, tree, port, unit, how):
    skipped, kind = how
    whole = UNITS[unit] - (JEMALLOC_ONLY.get(unit, 0) if kind == "weir" else 0)
    text = run_unit(tree, port, unit, skipped)
    passed, left_out = (len(re.findall(rf"^\[{tag}\]", text, re.M)) for tag in ("ok", "skip"))
    wrong = sorted(set(re.findall(r"^\[(?:err|exception)\].*(?:\n(?!\[).+)?", text, re.M)))
    good = not wrong and passed + left_out == whole
    tap.case(good, f"{unit}: {passed} ok, {len(wrong)} err, {left_out} left out, of {whole}",
             "\n".join(wrong) or text[-1500:])


if __name__ == "__main__":
    main()
