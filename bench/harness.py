# SPDX-License-Identifier: Apache-2.0
"""Servers, load and figures for bench/run.py.

Every server runs pinned to one core and the load to another, all in one session (the kernel's
autogroups share the processor between sessions, so a server of its own would be favoured). Rounds
interleave: one burst of each contender, then the next round; who waits is stopped with SIGSTOP.
Compare within one run only: other work on the machine moves all of it.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))

from servers import ROOT, Redis, Server, Weir  # noqa: E402: the path comes first

SERVER_CPU, LOAD_CPU, BOTH_CPUS = "0", "1", "0,1"
Server.cpus = SERVER_CPU


def read_json(text):
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def get_command_size():
    return len(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n")


def set_command_size(value_size):
    return len(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n" + b"$%d\r\n\r\n" % value_size) + value_size


class EchoFloor(Server):
    checks = False

    def __init__(self, directory, programs, request_size, reply_size):
        super().__init__("echo-floor", directory)
        self.words = [str(programs / "echo_floor"), "-p", str(self.port), "-q", str(request_size),
                      "-r", str(reply_size)]

    def command(self):
        return self.words


class Bench:
    """The options of a run, where its programs and data are, and what it has measured."""

    def __init__(self, options):
        self.options = options
        self.root = ROOT
        self.programs = ROOT / options.programs
        self.scratch = ROOT / options.data
        self.scratch_count = 0
        self.prefix = ["chrt", "-f", "5"] if options.realtime else []
        Server.prefix = self.prefix
        self.figures = []
        self.row = ""

    def directory(self):
        self.scratch_count += 1
        return self.scratch / f"{os.getpid()}-{self.scratch_count}"

    def ours(self, durability="durable", **more):
        kind = {"weir": Weir, "redis": Redis}[self.options.server]
        server = kind(self.directory(), durability, **more)
        server.is_ours = True
        if self.options.server == "redis":
            server.name = "ours=redis"
        return server

    def redis(self, durability="none"):
        return Redis(self.directory(), durability)

    def echo(self, request_size, reply_size):
        return EchoFloor(self.directory(), self.programs, request_size, reply_size)

    def run(self, words, cpus=LOAD_CPU, timeout_s=1200):
        done = subprocess.run([*self.prefix, "taskset", "-c", cpus, *map(str, words)],
                              capture_output=True, text=True, timeout=timeout_s)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def load(self, server, *options):
        """One burst of kvload; its figures, and the server's CPU per operation beside them."""
        words = [self.programs / "kvload", "-p", server.port]
        if not server.checks:
            words.append("-x")
        before = server.schedule()
        figures = read_json(self.run(words + list(options)))
        after = server.schedule()
        figures["cpu_ns"] = (after[0] - before[0]) / max(figures["operations"], 1)
        figures["waited"] = (after[1] - before[1]) / 1e9 / figures["seconds"]
        figures["rss_mib"] = server.rss_kib() / 1024
        return figures

    def fill(self, server, keys, value_size):
        if server.checks:
            self.load(server, "-t", "fill", "-P", 64, "-s", value_size, "-k", keys)

    def rounds(self, servers, *options):
        """{server's name: list of figures}: the same burst for each, interleaved."""
        results = {server.name: [] for server in servers}
        for server in servers:
            server.pause()
        for turn in range(self.options.rounds):
            first = turn % len(servers)
            for server in servers[first:] + servers[:first]:
                server.resume()
                results[server.name].append(
                    self.load(server, "-d", self.options.milliseconds, *options))
                server.pause()
        for server in servers:
            server.resume()
        return results

    def record(self, who, **values):
        """A figure: each value is a list of one per round, or one number."""
        summary = {}
        for key, value in values.items():
            value = value if isinstance(value, list) else [value]
            summary[key] = {"median": statistics.median(value), "min": min(value),
                            "max": max(value)}
        self.figures.append({"row": self.row, "who": who, **summary})
        text = "  ".join(f"{key} {show(key, s['median'])} [{show(key, s['min'])}.."
                         f"{show(key, s['max'])}]" for key, s in summary.items())
        print(f"{self.row:<16} {who:<16} {text}", flush=True)

    def record_rounds(self, results, keys=("rate", "cpu_ns", "p50_us", "p99_us", "waited")):
        for who, list_of in results.items():
            self.record(who, **{key: [r[key] for r in list_of] for key in keys})

    def ratio(self, what, results, key, who, against, reach=None, at_most=None):
        """Medians' ratio who/against, and whether it is what was to be reached."""
        value = (statistics.median(r[key] for r in results[who])
                 / statistics.median(r[key] for r in results[against]))
        self.verdict(what, value, reach, at_most)

    def verdict(self, what, value, reach=None, at_most=None):
        goal, ok = "", None
        if reach is not None:
            goal, ok = f"to reach: {reach:g}", value >= reach
        if at_most is not None:
            goal, ok = f"at most: {at_most:g}", value <= at_most
        self.figures.append({"row": self.row, "what": what, "value": value, "goal": goal,
                             "reached": ok})
        said = {None: "", True: "reached", False: "NOT REACHED"}[ok]
        print(f"{self.row:<16} {what}: {value:.3g}  {goal}  {said}", flush=True)

    def skip(self, why):
        self.figures.append({"row": self.row, "skipped": why})
        print(f"{self.row:<16} skipped: {why}", flush=True)

    def save(self, path):
        machine = {"cpus": os.cpu_count(), "kernel": os.uname().release,
                   "model": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                                  if line.startswith("model name")), "?"),
                   "load": os.getloadavg()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"time": time.strftime("%F %T"), "machine": machine,
                                    "server": self.options.server, "rounds": self.options.rounds,
                                    "realtime": self.options.realtime,
                                    "figures": self.figures}, indent=1) + "\n")
        print(f"written: {path}", file=sys.stderr)


def show(key, value):
    if key == "waited":
        return f"{100 * value:.0f} %"
    if key.endswith(("rate", "iops")) or value >= 1e5:
        return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value / 1e3:.4g} K"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
