#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""redis-benchmark's own tests of what is served, without pipelining and with: no error, all done."""
import csv
import shutil
import subprocess

from judge import Tap, judged, parser, skip

TESTS = "ping_inline,ping_mbulk,set,get,incr,mset"


def main():
    made = parser(__doc__)
    made.add_argument("--tests", default=TESTS, help=f"default: {TESTS}")
    made.add_argument("--requests", type=int, default=20000)
    options = made.parse_args()
    if not shutil.which("redis-benchmark"):
        skip("no redis-benchmark (package redis-tools)")
    tap = Tap()
    with judged(options.server) as server:
        for pipeline in (1, 16):
            done = subprocess.run(["redis-benchmark", "-p", str(server.port), "--csv", "-P",
                                   str(pipeline), "-n", str(options.requests), "-r", "10000", "-d",
                                   "64", "-t", options.tests], capture_output=True, text=True,
                                  timeout=300)
            rows = list(csv.DictReader(done.stdout.splitlines()))
            for row in rows:
                tap.case(float(row["rps"]) > 0, f"-P {pipeline} {row['test']}: {row['rps']}/s, "
                                                f"p99 {row['p99_latency_ms']} ms")
            tap.case(done.returncode == 0 and len(rows) == len(options.tests.split(",")),
                     f"-P {pipeline}: every test ended", done.stdout + done.stderr)
    tap.plan()


if __name__ == "__main__":
    main()
