#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The npm clients ioredis and redis, as applications use them, with a kill -9 in the middle."""
import shutil
import signal
import subprocess

from judge import CACHE, HERE, Tap, judged, parser, skip

VERSIONS = {"ioredis": "6.0.0", "redis": "6.3.1"}


def install():
    """node_modules in the cache, beside copies of the scripts: node looks for modules there."""
    home = CACHE / "npm"
    home.mkdir(parents=True, exist_ok=True)
    for script in (HERE / "clients").glob("*.mjs"):
        shutil.copy(script, home)
    if all((home / "node_modules" / name).is_dir() for name in VERSIONS):
        return home
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix",
                           str(home)] + [f"{name}@{version}" for name, version in VERSIONS.items()],
                          capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(home / "node_modules", ignore_errors=True)
        skip("npm install: " + (done.stderr.strip().splitlines() or ["failed"])[-1])
    return home


def run_script(home, name, server, tap):
    node = subprocess.Popen(["node", f"{name}.mjs", str(server.port)], cwd=home, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    case, detail = None, []
    for line in node.stdout:
        line = line.rstrip("\n")
        if line == "KILL":
            server.stop(signal.SIGKILL)
            node.stdin.write("KILLED\n")
            node.stdin.flush()
            server.start()
        elif line.startswith(("ok - ", "not ok - ")):
            if case:
                tap.case(*case, "\n".join(detail))
            good, text = line.split(" - ", 1)
            case, detail = (good == "ok", f"{name}: {text}"), []
        else:
            detail.append(line.removeprefix("# "))
    if case:
        tap.case(*case, "\n".join(detail))
    if node.wait() not in (0, 1) or not case:
        tap.case(False, f"{name}: the script ended with {node.returncode}", "\n".join(detail))


def main():
    options = parser(__doc__).parse_args()
    for program in ("node", "npm"):
        if not shutil.which(program):
            skip(f"no {program}")
    home, tap = install(), Tap()
    for name in VERSIONS:
        with judged(options.server) as server:
            run_script(home, name, server, tap)
    tap.plan()


if __name__ == "__main__":
    main()
