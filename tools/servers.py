# SPDX-License-Identifier: Apache-2.0
"""weir and redis-server as processes: for bench/run.py and the judges."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process that listens on self.port. `with` starts it, and at the end kills it and removes
    its directory."""

    checks = True  # its replies are RESP; a floor's are not
    cpus = None    # a list for taskset; None: anywhere
    prefix = ()    # words before the command: chrt
    is_ours = False  # the one that a figure is about

    def __init__(self, name, directory):
        self.name, self.directory, self.process = name, pathlib.Path(directory), None
        self.port = free_port()
        self.directory.mkdir(parents=True, exist_ok=True)

    def command(self):
        raise NotImplementedError

    def start(self, timeout_s=20):
        """Returns the seconds until it took a connection (a RESP server: until it said PONG)."""
        begin = time.monotonic()
        self.log = open(self.directory / "log", "ab")
        words = ["setpriv", "--pdeathsig", "KILL"]  # it does not outlive us
        words += ["taskset", "-c", self.cpus] if self.cpus else []
        self.process = subprocess.Popen([*words, *self.prefix, *self.command()], stdout=self.log,
                                        stderr=subprocess.STDOUT)
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - begin > timeout_s:
                raise SystemExit(f"{self.name} does not start: see {self.directory / 'log'}:\n"
                                 + (self.directory / "log").read_text()[-2000:])
            time.sleep(0.005)
        return time.monotonic() - begin

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                if not self.checks:
                    return True
                s.settimeout(5)
                s.sendall(b"PING\r\n")
                return s.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def call(self, *words):
        """One command, the raw start of its reply."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(b"*%d\r\n" % len(words) + b"".join(
                b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words))
            return s.recv(1 << 16).decode(errors="replace")

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def schedule(self):
        """Nanoseconds that its threads ran, and that they were ready but did not run."""
        ran = waited = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                fields = (task / "schedstat").read_text().split()
            except OSError:
                continue
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
        return ran, waited

    def status(self, key):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise KeyError(key)

    def rss_kib(self):
        return self.status("VmRSS")

    def written_bytes(self):
        for line in open(f"/proc/{self.process.pid}/io"):
            if line.startswith("write_bytes"):
                return int(line.split()[1])
        return 0


RELAXED = "durability.default=relaxed"


class Weir(Server):
    """`durability` is durable (the default of the server) or relaxed. $WEIR: which binary."""

    def __init__(self, directory, durability="durable", memory="1G", settings=()):
        super().__init__("weir", directory)
        self.program = os.environ.get("WEIR", str(ROOT / "build/weir"))
        self.settings = [f"resp.listen=127.0.0.1:{self.port}", f"memory={memory}",
                         "http.listen=off", "s3.listen=off", "nbd.listen=off", *settings]
        if durability == "relaxed":
            if self.has_setting(RELAXED):
                self.settings.append(RELAXED)
            else:
                self.name = "weir (durable)"  # slower than what was asked for, and says so
        self.data = self.directory / "data"

    def has_setting(self, setting):
        text = subprocess.run([self.program, "serve", "--help-config"], capture_output=True,
                              text=True).stdout
        return setting.split("=")[0] in text

    def command(self):
        words = [self.program, "serve", str(self.data)]
        for setting in self.settings:
            words += ["--set", setting]
        return words


class Nginx(Server):
    """One process that sends files of its directory, as fast as it can be told to."""

    checks = False
    config = """daemon off; master_process off; pid {0}/pid; error_log {0}/errors;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    open_file_cache max=1000; default_type application/octet-stream;
    server {{ listen 127.0.0.1:{1}; root {0}/www; }}
}}
"""

    def __init__(self, directory):
        super().__init__("nginx", directory)
        (self.directory / "www").mkdir()
        path = self.directory.resolve()
        (self.directory / "config").write_text(self.config.format(path, self.port))

    def command(self):
        path = self.directory.resolve()
        return ["nginx", "-e", str(path / "errors"), "-p", str(path), "-c", str(path / "config")]


class Nginx2(Nginx):
    """The same with HTTP/2, to who knows that it is spoken."""

    config = Nginx.config.replace("listen 127.0.0.1:{1};", "listen 127.0.0.1:{1} http2;")


class Redis(Server):
    """`durability`: none, everysec or always."""

    def __init__(self, directory, durability="none", memory=None, settings=()):
        names = {"none": "redis", "durable": "redis-always", "always": "redis-always",
                 "relaxed": "redis", "everysec": "redis-everysec"}
        super().__init__(names[durability], directory)
        fsync = {"always": "always", "durable": "always", "everysec": "everysec"}.get(durability)
        self.options = ["--appendonly", "yes", "--appendfsync", fsync,
                        "--auto-aof-rewrite-percentage", "0"] if fsync else ["--appendonly", "no"]

    def command(self):
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--dir", str(self.directory), "--maxclients", "5000"] + self.options
