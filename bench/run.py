#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/performance.md against real peers: run.py [options] [row...]

Needs the programs of bench/ (make bench builds them) and, from Debian, redis-server, fio,
rocksdb-tools, nginx-light, wrk and nghttp2-client; a row whose peer is missing is skipped. --server
redis puts redis-server in weir's place, which shows that the harness itself is fair: its ratios must
be near 1.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import time

from harness import BOTH_CPUS, Bench, get_command_size, read_json, set_command_size
from servers import Nginx, Nginx2, Server, Weir, free_port

KEYS = 300000
CONNECTIONS = 50
HTTP2_REQUESTS = 100000


def get_row(bench, pipeline, reach, cpu_at_most, value_size=64):
    reply = len(f"${value_size}\r\n\r\n") + value_size
    with bench.ours("relaxed") as ours, bench.redis() as redis, \
            bench.echo(get_command_size(), reply) as floor:
        servers = [ours, redis, floor]
        for server in servers:
            bench.fill(server, KEYS, value_size)
        results = bench.rounds(servers, "-t", "get", "-P", pipeline, "-s", value_size, "-k", KEYS,
                               "-n", CONNECTIONS)
        bench.record_rounds(results)
        bench.ratio("rate / redis", results, "rate", ours.name, redis.name, reach=reach)
        bench.ratio("CPU / echo floor", results, "cpu_ns", ours.name, floor.name,
                    at_most=cpu_at_most)


def http_row(bench, size=64):
    """GET of a key by HTTP/1.1, against nginx and a file of the same size; wrk is the client."""
    against_nginx(bench, size, wrk, ("wrk", "wrk"), Nginx, 1)


def http2_row(bench, size=64):
    """The same by HTTP/2: 32 streams of one connection; h2load is the client."""
    against_nginx(bench, size, h2load, ("h2load", "nghttp2-client"), Nginx2, 0.35)


def against_nginx(bench, size, burst, client, nginx_class, cpu_at_most):
    for program, package in (("nginx", "nginx-light"), client):
        if not shutil.which(program):
            return bench.skip(f"no {program} (package {package})")
    if bench.options.server != "weir":
        return bench.skip("only weir speaks HTTP")
    port = free_port()
    with bench.ours("relaxed", settings=[f"http.listen=127.0.0.1:{port}"]) as ours, \
            nginx_class(bench.directory()) as nginx:
        ours.call("SET", "file", "v" * size)
        (nginx.directory / "www/file").write_text("v" * size)
        urls = {ours: f"http://127.0.0.1:{port}/kv/default/file",
                nginx: f"http://127.0.0.1:{nginx.port}/file"}
        results = {server.name: [] for server in urls}
        for server in urls:
            server.pause()
        for _ in range(bench.options.rounds):
            for server, url in urls.items():
                server.resume()
                results[server.name].append(burst(bench, server, url))
                server.pause()
        for server in urls:
            server.resume()
        bench.record_rounds(results, ("rate", "cpu_ns", "waited"))
        bench.ratio("rate / nginx", results, "rate", ours.name, nginx.name, reach=1)
        bench.ratio("CPU / nginx", results, "cpu_ns", ours.name, nginx.name, at_most=cpu_at_most)


def h2load(bench, server, url):
    """One burst of h2load: as many requests as make about a second."""
    before = server.schedule()
    text = bench.run(["h2load", "-n", HTTP2_REQUESTS, "-c", 1, "-m", 32, url])
    after = server.schedule()
    seconds, scale = re.search(r"finished in ([\d.]+)(m?s)", text).groups()
    done = int(re.search(r"(\d+) succeeded", text)[1])
    if done != HTTP2_REQUESTS or f"{done} 2xx" not in text:
        raise SystemExit(f"{server.name}: {text}")
    seconds = float(seconds) / (1000 if scale == "ms" else 1)
    return {"rate": done / seconds, "cpu_ns": (after[0] - before[0]) / done,
            "waited": (after[1] - before[1]) / 1e9 / seconds}


class NvmeRam(Server):
    """bench/nvme_ram.c: the target on memory, one worker."""

    checks = False

    def __init__(self, directory, programs):
        super().__init__("weir", directory)
        self.words = [str(programs / "nvme_ram"), "-p", str(self.port)]

    def command(self):
        return self.words


def nvme_row(bench, connections=8, depth=16):
    """4 KiB reads by NVMe/TCP from memory, against an echo of the same bytes: 72 there, 4,120 back."""
    if bench.options.server != "weir":
        return bench.skip("only weir speaks NVMe/TCP")
    with NvmeRam(bench.directory(), bench.programs) as ours, bench.echo(72, 4120) as floor:
        servers = [ours, floor]
        results = {server.name: [] for server in servers}
        for server in servers:
            server.pause()
        for turn in range(bench.options.rounds):
            for server in servers if turn % 2 == 0 else servers[::-1]:
                server.resume()
                before = server.schedule()
                figures = read_json(bench.run(
                    [bench.programs / "nvmeload", "-p", server.port, "-c", connections, "-q", depth,
                     "-d", bench.options.milliseconds] + (["-x"] if server is floor else [])))
                after = server.schedule()
                figures["cpu_ns"] = (after[0] - before[0]) / max(figures["operations"], 1)
                results[server.name].append(figures)
                server.pause()
        for server in servers:
            server.resume()
        bench.record_rounds(results, ("rate", "cpu_ns"))
        bench.ratio("CPU / echo floor", results, "cpu_ns", ours.name, floor.name, at_most=1.5)
        bench.ratio("rate / echo floor", results, "rate", ours.name, floor.name, reach=0.67)


def wrk(bench, server, url):
    """One burst of wrk, at least its shortest, a second."""
    before = server.schedule()
    text = bench.run(["wrk", "-t", 1, "-c", CONNECTIONS, "-d",
                      max(1, round(bench.options.milliseconds / 1000)), url])
    after = server.schedule()
    count, seconds = re.search(r"(\d+) requests in ([\d.]+)s", text).groups()
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{server.name}: {text}")
    return {"rate": int(count) / float(seconds),
            "cpu_ns": (after[0] - before[0]) / max(int(count), 1),
            "waited": (after[1] - before[1]) / 1e9 / float(seconds)}


def set_relaxed_row(bench):
    with bench.ours("relaxed") as ours, bench.redis() as redis, \
            bench.echo(set_command_size(1024), 5) as floor:
        servers = [ours, redis, floor]
        for server in servers:
            bench.fill(server, KEYS, 1024)
        results = bench.rounds(servers, "-t", "set", "-P", 16, "-s", 1024, "-k", KEYS,
                               "-n", CONNECTIONS)
        bench.record_rounds(results)
        bench.ratio("rate / redis without persistence", results, "rate", ours.name, redis.name,
                    reach=4)


def durable_row(bench, value_size, pipeline, reach_always, reach_everysec):
    keys = 100000
    with bench.ours() as ours, bench.redis("always") as always, \
            bench.redis("everysec") as everysec:
        servers = [ours, always, everysec]
        for server in servers:
            bench.fill(server, keys, value_size)
        results = bench.rounds(servers, "-t", "set", "-P", pipeline, "-s", value_size, "-k", keys,
                               "-n", CONNECTIONS)
        bench.record_rounds(results)
        bench.ratio("rate / redis always", results, "rate", ours.name, always.name,
                    reach=reach_always)
        bench.ratio("rate / redis everysec", results, "rate", ours.name, everysec.name,
                    reach=reach_everysec)


def commit_floor(bench, size=4096, in_flight=1):
    path = bench.scratch / f"commit-{os.getpid()}"
    bench.scratch.mkdir(parents=True, exist_ok=True)
    try:
        return read_json(bench.run([bench.programs / "commit_floor", "-f", path, "-b", size, "-k",
                                    in_flight, "-d", bench.options.milliseconds]))
    finally:
        path.unlink(missing_ok=True)


def latency_row(bench):
    """One client alone: the echo of the same shape, plus a bare commit, is all it may wait for."""
    with bench.ours() as ours, bench.redis("always") as redis, \
            bench.echo(set_command_size(64), 5) as floor:
        for server in (ours, redis):
            bench.fill(server, 10000, 64)
        results = bench.rounds([ours, redis, floor], "-t", "set", "-P", 1, "-s", 64, "-k", 10000,
                               "-n", 1)
        commits = [commit_floor(bench) for _ in range(bench.options.rounds)]
        bench.record_rounds(results)
        bench.record("commit-floor", rate=[c["rate"] for c in commits],
                     p50_us=[c["p50_us"] for c in commits], p99_us=[c["p99_us"] for c in commits])
        median = {name: statistics.median(r["p50_us"] for r in list_of)
                  for name, list_of in results.items()}
        floors = median[floor.name] + statistics.median(c["p50_us"] for c in commits)
        bench.verdict("p50 / (echo + commit)", median[ours.name] / floors, at_most=1.4)
        bench.verdict("redis p50 / (echo + commit)", median[redis.name] / floors)


class Stack(Weir):
    """A weir that exports a stack over a file, by NBD; its volume is on the store."""

    def __init__(self, directory, image):
        self.nbd_port = free_port()
        super().__init__(directory, memory="512M",
                         settings=(f"nbd.listen=127.0.0.1:{self.nbd_port}",))
        self.conf = directory / "conf"
        self.conf.write_text(f"[stack file]\nlayers = uring path={image.resolve()}\nexport = yes\n")

    def command(self):
        words = super().command()
        return [*words[:2], "--config", str(self.conf), *words[2:]]

    def uri(self, name):
        return f"nbd://127.0.0.1:{self.nbd_port}/{name}"


class QemuNbd(Server):
    checks = False

    def __init__(self, directory, image):
        super().__init__("qemu-nbd", directory)
        self.image = image

    def command(self):
        return ["qemu-nbd", "-f", "raw", "-t", "-e", "64", "--cache=none", "--aio=io_uring", "-p",
                str(self.port), str(self.image)]

    def uri(self, _name):
        return f"nbd://127.0.0.1:{self.port}"


class NbdKit(QemuNbd):
    def __init__(self, directory, image):
        super().__init__(directory, image)
        self.name = "nbdkit file"

    def command(self):
        return ["nbdkit", "-f", "-p", str(self.port), "file", str(self.image)]


def process_ns(server):
    """CPU of all its threads, those that have ended too."""
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def fio_nbd(bench, server, name, kind, depth):
    before = process_ns(server)
    text = bench.run(["fio", "--name=x", "--ioengine=nbd", f"--uri={server.uri(name)}",
                      f"--rw={kind}", "--bs=4k", f"--iodepth={depth}", "--size=256M",
                      "--time_based", f"--runtime={bench.options.milliseconds}ms",
                      "--randrepeat=0", "--output-format=json"])
    after = process_ns(server)
    job = json.loads(text[text.index("{"):])["jobs"][0]["read" if kind == "randread" else "write"]
    return {"rate": job["iops"], "cpu_ns": (after - before) / max(job["total_ios"], 1),
            "p50_us": job["clat_ns"]["percentile"]["50.000000"] / 1000}


def nbd_row(bench, depth=32):
    """4 KiB by NBD: a stack on a file and a volume, against two servers on that file, and fio."""
    for program in ("fio", "qemu-nbd", "nbdkit"):
        if not shutil.which(program):
            return bench.skip(f"no {program}")
    if bench.options.server != "weir":
        return bench.skip("only weir speaks NBD")
    directory = bench.directory()
    directory.mkdir(parents=True)
    images = [directory / f"image{i}" for i in range(3)]  # each is locked by its server
    for image in images:
        bench.run(["fio", "--name=fill", f"--filename={image}", "--rw=write", "--bs=1M",
                   "--size=256M", "--direct=1"])
    with Stack(bench.directory(), images[0]) as ours, \
            QemuNbd(bench.directory(), images[1]) as qemu, \
            NbdKit(bench.directory(), images[2]) as kit:
        ours.call("WEIR.VOLCREATE", "volume", str(256 << 20))
        bench.run(["fio", "--name=fill", "--ioengine=nbd", f"--uri={ours.uri('volume')}",
                   "--rw=write", "--bs=1M", "--size=256M", "--iodepth=4"])
        peers = [(ours, "file", "weir, stack"), (ours, "volume", "weir, volume"),
                 (qemu, "", qemu.name), (kit, "", "nbdkit (page cache)")]
        for kind in ("randread", "randwrite"):
            results = {label: [] for _, _, label in peers}
            floors = []
            for _ in range(bench.options.rounds):
                for server, name, label in peers:
                    results[label].append(fio_nbd(bench, server, name, kind, depth))
                text = bench.run(["fio", "--name=x", "--ioengine=io_uring", "--direct=1",
                                  f"--filename={image}", f"--rw={kind}", "--bs=4k",
                                  f"--iodepth={depth}", "--size=256M", "--time_based",
                                  f"--runtime={bench.options.milliseconds}ms", "--randrepeat=0",
                                  "--output-format=json"])
                job = json.loads(text[text.index("{"):])["jobs"][0]
                floors.append(job["read" if kind == "randread" else "write"]["iops"])
            print(f"{bench.row:<16} {kind}, depth {depth}", flush=True)
            bench.record_rounds(results, ("rate", "cpu_ns", "p50_us"))
            bench.record("fio, the file", iops=floors)
            bench.ratio(f"{kind}: CPU of a stack / qemu-nbd", results, "cpu_ns", "weir, stack",
                        qemu.name, at_most=1)
            rate = statistics.median(r["rate"] for r in results["weir, stack"])
            bench.verdict(f"{kind}: rate of a stack / fio", rate / statistics.median(floors),
                          reach=0.9)


def cold_row(bench):
    """GET of 1 KiB values when the data are ten times the memory, against fio's random read."""
    if not shutil.which("fio"):
        return bench.skip("no fio (package fio)")
    memory_mib = max(32, int(64 * bench.options.scale))
    keys, depth = memory_mib * 10 * 1024, CONNECTIONS
    with bench.ours(memory=f"{memory_mib}M") as ours:
        bench.fill(ours, keys, 1024)
        if bench.options.server == "redis":
            path, size = bench.directory() / "fio", keys * 1024
            path.parent.mkdir(parents=True)
        else:
            files = [p for p in ours.data.rglob("*") if p.is_file()] \
                if ours.data.is_dir() else [ours.data]
            path = max(files, key=lambda p: p.stat().st_blocks)
            size = min(path.stat().st_size, keys * 1200)
        rates, floors, cpus = [], [], []
        for _ in range(bench.options.rounds):
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
            figures = bench.load(ours, "-t", "get", "-P", 1, "-s", 1024, "-k", keys, "-n", depth,
                                 "-d", bench.options.milliseconds)
            rates.append(figures["rate"])
            cpus.append(figures["cpu_ns"])
            ours.pause()
            floors.append(fio_iops(bench, path, size, depth))
            ours.resume()
        bench.record(ours.name, rate=rates, cpu_ns=cpus, rss_mib=ours.rss_kib() / 1024)
        bench.record("fio randread", iops=floors)
        bench.verdict("rate / fio", statistics.median(rates) / statistics.median(floors),
                      reach=0.85)
        bench.verdict("RSS / memory=", ours.rss_kib() / 1024 / memory_mib, at_most=1.1)


def fio_iops(bench, path, size, depth):
    text = bench.run(["fio", "--name=floor", f"--filename={path}", f"--size={size}", "--bs=4k",
                      "--rw=randread", "--direct=1", "--ioengine=io_uring", f"--iodepth={depth}",
                      f"--runtime={bench.options.milliseconds / 1000}", "--time_based",
                      "--output-format=terse", "--terse-version=3"]
                     + (["--readonly"] if path.exists() else []))
    return float(text.strip().splitlines()[-1].split(";")[7])


def db_bench(bench, directory, name, *options):
    text = bench.run(["db_bench", f"--benchmarks={name}", f"--db={directory}", "--key_size=16",
                      "--compression_type=none", "--cache_size=134217728", "--bloom_bits=10",
                      "--statistics=0", "--stats_per_interval=0", *options], cpus=BOTH_CPUS)
    return float(re.search(name + r"\s*:\s*[\d.]+ micros/op (\d+) ops/sec", text)[1])


def rocksdb_row(bench):
    """db_bench, which is its own client, on both cores; ours on one, its client on the other."""
    if not shutil.which("db_bench"):
        return bench.skip("no db_bench (package rocksdb-tools)")
    size, sync_writes, keys = 100, int(1000 * bench.options.scale), 200000
    synced, plain = bench.directory(), bench.directory()
    for directory in (synced, plain):
        directory.mkdir(parents=True)
    value = f"--value_size={size}"
    theirs = {"fill": [], "overwrite": [], "read": [], "scan100": []}
    works = {"overwrite": "set", "read": "get"}
    if bench.options.server == "weir":
        works["scan100"] = "range"  # WEIR.RANGE of 100 keys and values
    mine = {"fill": [], **{what: [] for what in works}}
    try:
        db_bench(bench, plain, "fillrandom", f"--num={keys}", value)
        with bench.ours() as ours:
            for _ in range(bench.options.rounds):
                ours.pause()
                common = ["--sync=1", "--threads=32", value, f"--num={sync_writes}"]
                theirs["fill"].append(db_bench(bench, synced, "fillrandom", *common))
                theirs["overwrite"].append(db_bench(bench, synced, "overwrite", *common,
                                                    "--use_existing_db=1"))
                read = [value, f"--num={keys}", "--use_existing_db=1"]
                theirs["read"].append(db_bench(bench, plain, "readrandom", *read, "--reads=100000"))
                theirs["scan100"].append(db_bench(bench, plain, "seekrandom", *read,
                                                  "--seek_nexts=100", "--reads=10000"))
                ours.resume()
                ours.call("FLUSHALL")
                load = ["-P", 16, "-s", size, "-k", keys, "-n", CONNECTIONS]
                mine["fill"].append(bench.load(ours, "-t", "fill", *load)["rate"])
                for what, work in works.items():
                    mine[what].append(bench.load(ours, "-t", work, *load, "-d",
                                                 bench.options.milliseconds)["rate"])
            bench.record(ours.name, **{f"{k}_rate": v for k, v in mine.items()})
    finally:
        for directory in (synced, plain):
            shutil.rmtree(directory, ignore_errors=True)
    bench.record("rocksdb", **{f"{k}_rate": v for k, v in theirs.items()})
    for what in mine:
        reach = 10 if what in ("fill", "overwrite") else 1
        bench.verdict(f"{what} / rocksdb", statistics.median(mine[what])
                      / statistics.median(theirs[what]), reach=reach)


def amplification_row(bench):
    """Uniform overwrite of a store that is 70 % full: bytes written to the device per byte put.

    A store as it comes from a fill has no garbage yet, so all of it is written over first; then as
    much once more is measured, with other keys: the kernel's count, and the server's own.
    """
    value_size, size_mib = 1024, max(128, int(1024 * bench.options.scale))
    keys = int(0.70 * size_mib * 2**20 / (value_size + 64))
    settings = [f"storage.size={size_mib}M"] if bench.options.server == "weir" else []
    ours = bench.ours(settings=settings)
    if settings and not ours.has_setting(settings[0]):
        return bench.skip(f"no setting for the size of a store ({settings[0]})")
    overwrite = ["-t", "set", "-P", 16, "-s", value_size, "-k", keys, "-n", CONNECTIONS, "-o",
                 size_mib * 2**20 // value_size]
    with ours:
        bench.fill(ours, keys, value_size)
        bench.load(ours, *overwrite, "-S", 2)
        device, own = ours.written_bytes(), own_written_bytes(ours)
        figures = bench.load(ours, *overwrite, "-S", 3)
        device = ours.written_bytes() - device
        own = own_written_bytes(ours) - own
        put = figures["operations"] * value_size
        bench.record(ours.name, rate=figures["rate"], p99_us=figures["p99_us"],
                     max_us=figures["max_us"], written_mib=device / 2**20, put_mib=put / 2**20)
        bench.verdict("bytes written / bytes put", device / put, at_most=2.5)
        if own > 0:
            bench.verdict("the same, as the server counts", own / put)


def own_written_bytes(server):
    found = re.search(r"weir_written_bytes:(\d+)", server.call("INFO"))
    return int(found[1]) if found else 0


def memory_row(bench):
    """Resident bytes a key of 16 B costs, beside an empty server."""
    keys = int(1000000 * bench.options.scale)
    for server in (bench.ours("relaxed"), bench.redis()):
        with server:
            empty = server.rss_kib()
            bench.fill(server, keys, 16)
            time.sleep(1)
            full = server.rss_kib()
            bench.record(server.name, keys=keys, empty_mib=empty / 1024, full_mib=full / 1024,
                         bytes_per_key=(full - empty) * 1024 / keys)
            if server.is_ours:
                bench.verdict("bytes / key", (full - empty) * 1024 / keys, at_most=40)
                bench.verdict("empty MiB", empty / 1024, at_most=30)


def restart_row(bench):
    """Time to the first PONG after kill -9 and after SIGTERM, with a full store."""
    value_size, keys = 1024, int(4 * 2**20 * bench.options.scale / 4)
    for server in (bench.ours(), bench.redis("everysec")):
        with server:
            bench.fill(server, keys, value_size)
            killed, clean = [], []
            for _ in range(bench.options.rounds):
                for how, times in ((signal.SIGKILL, killed), (signal.SIGTERM, clean)):
                    server.stop(how)
                    times.append(wait_loaded(server))
            # everysec puts off its writes while an fsync runs, so kill -9 takes some with it.
            check = bench.load(server, "-t", "get", "-P", 16, "-s", value_size, "-k", keys, "-n",
                               CONNECTIONS, "-d", bench.options.milliseconds,
                               *([] if server.is_ours else ["-m"]))
            bench.record(server.name, gib=keys * value_size / 2**30, killed_s=killed,
                         clean_s=clean, verified=check["operations"], missed=check["missed"])
            if server.is_ours:
                bench.verdict("seconds after kill -9", max(killed), at_most=5)
                bench.verdict("seconds after SIGTERM", max(clean), at_most=1)


def wait_loaded(server):
    """Seconds until a GET is answered; redis says PONG, or LOADING, while it still reads."""
    begin = time.monotonic()
    server.start(300)
    while server.call("GET", "key:000000000000").startswith("-LOADING"):
        time.sleep(0.005)
    return time.monotonic() - begin


def idle_row(bench):
    """CPU of a server with 1,000 connections that say nothing."""
    for server in (bench.ours(), bench.redis()):
        with server:
            idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1000)]
            time.sleep(2)
            ran, switches, begin = server.schedule()[0], wakes(server), time.monotonic()
            time.sleep(10)
            elapsed = time.monotonic() - begin
            percent = (server.schedule()[0] - ran) / 1e9 / elapsed * 100
            bench.record(server.name, cpu_percent=percent,
                         wakes_per_s=(wakes(server) - switches) / elapsed,
                         rss_mib=server.rss_kib() / 1024)
            if server.is_ours:
                bench.verdict("percent of a core", percent, at_most=0.5)
            for connection in idle:
                connection.close()


def wakes(server):
    """Times that any of its threads went to sleep."""
    total = 0
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        for line in open(task / "status"):
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def tail_row(bench):
    """p99 of GET at half of our peak, batches sent when they are due; the floor at the same."""
    reply = len("$64\r\n\r\n") + 64
    with bench.ours("relaxed") as ours, bench.redis() as redis, \
            bench.echo(get_command_size(), reply) as floor:
        servers = [ours, redis, floor]
        for server in servers:
            bench.fill(server, KEYS, 64)
        common = ["-t", "get", "-P", 1, "-s", 64, "-k", KEYS, "-n", CONNECTIONS]
        peak = bench.load(ours, *common, "-d", bench.options.milliseconds)["rate"]
        results = bench.rounds(servers, *common, "-R", int(peak / 2))
        bench.record("peak", rate=peak)
        bench.record_rounds(results)
        bench.ratio("p99 / echo floor", results, "p99_us", ours.name, floor.name, at_most=1.6)
        bench.ratio("redis p99 / echo floor", results, "p99_us", redis.name, floor.name)


def split_row(bench):
    """Two workers on two cores: each does everything, or one has the network and one the storage.
    The load takes its share of both cores, of both servers alike."""
    if bench.options.server != "weir":
        return bench.skip("only weir can be split")
    keys = 100000
    fused = bench.ours(settings=["workers.count=2"])
    split = bench.ours(settings=["workers.network=1", "workers.storage=1"])
    fused.name, split.name = "fused", "split"
    for server in (fused, split):
        server.cpus = BOTH_CPUS
    with fused, split:
        for server in (fused, split):
            bench.fill(server, keys, 64)
        for what in ("get", "set"):
            results = bench.rounds([fused, split], "-t", what, "-P", 16, "-s", 64, "-k", keys,
                                   "-n", CONNECTIONS)
            bench.record_rounds(results)
            bench.ratio(f"{what}: fused / split", results, "rate", "fused", "split", reach=1)


ROWS = {
    "get16": ("GET 64 B, pipeline 16", lambda b: get_row(b, 16, 3.2, 1.4)),
    "get1": ("GET 64 B, no pipeline", lambda b: get_row(b, 1, 1.4, 1.2)),
    "http64": ("GET 64 B by HTTP/1.1, against nginx", http_row),
    "http2": ("GET 64 B by HTTP/2, 32 streams of one connection, against nginx", http2_row),
    "set16": ("SET 1 KiB, pipeline 16, relaxed", set_relaxed_row),
    "durable16-64": ("durable SET 64 B, pipeline 16", lambda b: durable_row(b, 64, 16, 3.2, 2)),
    "durable16-1k": ("durable SET 1 KiB, pipeline 16", lambda b: durable_row(b, 1024, 16, 3.2, 2)),
    "durable1": ("durable SET 64 B, no pipeline", lambda b: durable_row(b, 64, 1, 1.3, None)),
    "latency1": ("durable SET 64 B, one client", latency_row),
    "cold": ("GET 1 KiB, data 10 x memory", cold_row),
    "nbd": ("4 KiB by NBD: a stack on a file, a volume; qemu-nbd, nbdkit, fio", nbd_row),
    "rocksdb": ("against RocksDB's db_bench, sync on, 32 threads", rocksdb_row),
    "amplification": ("write amplification at 70 % full", amplification_row),
    "nvme_tcp": ("4 KiB reads by NVMe/TCP from memory, 8 connections of depth 16", nvme_row),
    "memory": ("memory per key", memory_row),
    "restart": ("restart after kill -9 and clean (--scale 4: 4 GiB)", restart_row),
    "idle": ("CPU with 1,000 idle connections", idle_row),
    "split": ("two cores: workers that do everything, or one role each", split_row),
    "tail": ("p99 of GET at half of peak load", tail_row),
}


def main():
    rows = "\n".join(f"  {name:<14} {row[0]}" for name, row in ROWS.items())
    parser = argparse.ArgumentParser(description=__doc__, epilog="rows:\n" + rows,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="row", help="default: all")
    parser.add_argument("--server", choices=("weir", "redis"), default="weir")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--milliseconds", type=int, default=1500, help="a burst (default 1500)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the data sets")
    parser.add_argument("--realtime", action="store_true",
                        help="servers and load under SCHED_FIFO: for a machine with other work")
    parser.add_argument("--programs", default="build/bench")
    parser.add_argument("--data", default="build/bench-data", help="on the disk to be measured")
    parser.add_argument("--json", default="build/bench.json")
    options = parser.parse_args()
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    bench = Bench(options)
    if not (bench.programs / "kvload").exists():
        parser.error(f"no {bench.programs / 'kvload'}: make bench builds it")
    try:
        for name in options.rows or ROWS:
            bench.row = name
            ROWS[name][1](bench)
    finally:
        bench.save(bench.root / options.json)
        shutil.rmtree(bench.scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
