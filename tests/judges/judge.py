# SPDX-License-Identifier: Apache-2.0
"""What the judges share: which server to judge, where to keep things, TAP, skipping."""
import argparse
import contextlib
import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tools"))

from servers import ROOT, Redis, Weir  # noqa: E402: the path comes first

HERE = pathlib.Path(__file__).resolve().parent
CACHE = ROOT / "build-judges"  # what was fetched; survives


def parser(text):
    made = argparse.ArgumentParser(description=text.split("\n")[0])
    made.add_argument("--server", choices=("weir", "redis"), default="weir",
                      help="redis: prove the judge itself against redis-server")
    return made


@contextlib.contextmanager
def judged(name, durability="durable"):
    """A new, empty server to judge; killed and removed at the end."""
    directory = CACHE / f"data-{os.getpid()}"
    if name == "redis":
        if not shutil.which("redis-server"):
            skip("no redis-server (package redis-server)")
        server = Redis(directory, durability)
    else:
        server = Weir(directory, durability)
    with server:
        yield server


def skip(why):
    print(f"1..0 # SKIP {why}", flush=True)
    sys.exit(77)


class Tap:
    """Cases as they end; plan() at the end makes the exit status."""

    def __init__(self):
        self.count, self.failed = 0, 0

    def case(self, good, name, detail=""):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)
        if not good:
            for line in str(detail).strip().splitlines()[:40]:
                print(f"# {line}", flush=True)

    def plan(self):
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed or not self.count else 0)
