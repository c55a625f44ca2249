#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The S3 face through npm @aws-sdk/client-s3 with its default flags."""
import shutil
import subprocess

from judge import CACHE, HERE, Tap, parser, skip
from s3_server import KEYS, served

PACKAGES = ("@aws-sdk/client-s3", "@aws-sdk/lib-storage", "@aws-sdk/s3-request-presigner")


def install():
    home = CACHE / "npm-s3"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "clients/s3_sdk.mjs", home)
    if all((home / "node_modules" / name).is_dir() for name in PACKAGES):
        return home
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix",
                           str(home)] + [f"{name}@3" for name in PACKAGES],
                          capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(home / "node_modules", ignore_errors=True)
        skip("npm install: " + (done.stderr.strip().splitlines() or ["failed"])[-1])
    return home


def main():
    parser(__doc__).parse_args()
    for program in ("node", "npm"):
        if not shutil.which(program):
            skip(f"no {program}")
    home, tap = install(), Tap()
    with served() as server:
        done = subprocess.run(["node", "s3_sdk.mjs", server.url, *KEYS["main"]], cwd=home,
                              capture_output=True, text=True, timeout=300)
        for line in done.stdout.splitlines():
            good, _, name = line.partition(" - ")
            tap.case(good == "ok", name)
        if done.returncode not in (0, 1) or not tap.count:
            tap.case(False, f"the script ended with {done.returncode}", done.stderr)
    tap.plan()


main()
