#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the test cases of a `meson test` run: test_report.py testlog.json...

A program that speaks TAP (cmocka with CMOCKA_MESSAGE_OUTPUT=TAP, the judges) counts as its cases;
a case that was planned and never reported has failed, and so has a program that ended badly with
no failed case of its own. Any other program is one case: 77 is a skip. Prints what failed, then
"N passed, N failed, N skipped"; exits 1 if any failed or none ran.
"""
import collections
import json
import re
import sys

PLAN = re.compile(r"^1\.\.(\d+)", re.M)
SKIP = re.compile(r"#\s*SKIP\b(.*)", re.I)
CASE = re.compile(r"^(not )?ok\b(?: (\d+))?(.*)$", re.M)


def count_tap(output):
    """Counter of the TAP cases, the names of those that failed."""
    counts, failed = collections.Counter(), []
    for match in CASE.finditer(output):
        if SKIP.search(match[3]):
            counts["skipped"] += 1
        elif match[1]:
            counts["failed"] += 1
            failed.append(match[3].strip(" -") or f"case {match[2]}")
        else:
            counts["passed"] += 1
    planned = sum(int(n) for n in PLAN.findall(output))
    if planned > sum(counts.values()):
        failed.append(f"{planned - sum(counts.values())} case(s) that never ended")
        counts["failed"] += planned - sum(counts.values())
    return counts, failed


def count_program(record):
    ended = record["result"]  # OK, FAIL, SKIP, TIMEOUT, ERROR, EXPECTEDFAIL ...
    good = ended in ("OK", "SKIP", "EXPECTEDFAIL")
    output = record.get("stdout", "")
    if not PLAN.search(output):
        verdict = "skipped" if ended == "SKIP" else "passed" if good else "failed"
        return collections.Counter({verdict: 1}), [] if good else [ended]
    counts, failed = count_tap(output)
    if ended == "SKIP" and not counts:
        counts["skipped"] += 1
    if not good and not counts["failed"]:
        counts["failed"] += 1
        failed.append(ended)
    return counts, failed


def main(paths):
    total = collections.Counter()
    for path in paths:
        for line in open(path, encoding="utf-8", errors="replace"):
            record = json.loads(line)
            counts, failed = count_program(record)
            total += counts
            name = record["name"].split(" / ")[-1].split(":")[-1]
            for case in failed:
                print(f"FAILED {name}: {case}")
            for why in SKIP.findall(record.get("stdout", "")):
                print(f"skipped {name}: {why.strip()}")
            if failed:
                print(f"       again: make test T={name}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] or not total["passed"] else 0


sys.exit(main(sys.argv[1:]))
