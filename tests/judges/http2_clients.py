#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 through programs that people use: curl, nghttp, h2load; tshark reads what they said. And
clients that are slow: none may cost the others anything."""
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

from http2_wire import (DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM,
                        WINDOW_SIZE, WINDOW_UPDATE, Client, Wrong, block, frame, settings,
                        wait_for)
from judge import CACHE, Tap, skip
from servers import Weir, free_port

WHOLE = END_STREAM | END_HEADERS
MIB = 1 << 20


def run(*words, data=None, timeout=120):
    done = subprocess.run([str(w) for w in words], input=data, capture_output=True, timeout=timeout)
    assert done.returncode == 0, f"{words[0]}: {done.returncode} {done.stderr.decode()[-500:]}"
    return done.stdout


class Place:
    def __init__(self, server, port, home):
        self.server, self.port, self.home = server, port, home
        self.url = f"http://127.0.0.1:{port}/kv/default"

    def curl(self, *words, data=None):
        return run("curl", "-sS", "-m", "60", "--http2-prior-knowledge", *words, data=data)


def curl_keys(p):
    """PUT, GET, HEAD, DELETE, 404, a range, all as by HTTP/1.1."""
    assert p.curl("-T", "-", "-w", "%{http_code} %{http_version}", f"{p.url}/a",
                  data=b"hello") == b"201 2"
    assert p.curl(f"{p.url}/a") == b"hello"
    assert p.curl("-r", "1-3", f"{p.url}/a") == b"ell"
    head = p.curl("-I", f"{p.url}/a").lower()
    assert b"content-length: 5" in head and b"http/2 200" in head, head
    assert p.curl("-X", "DELETE", "-w", "%{http_code}", f"{p.url}/a") == b"204"
    assert p.curl("-o", "/dev/null", "-w", "%{http_code}", f"{p.url}/a") == b"404"


def curl_large(p):
    """100 MiB both ways, in little memory."""
    value = os.urandom(MIB) * 100
    path = p.home / "large"
    path.write_bytes(value)
    p.curl("-T", path, f"{p.url}/large")
    assert p.curl(f"{p.url}/large") == value
    assert p.curl("-H", "Expect: 100-continue", "-T", path, "-w", "%{http_code}",
                  f"{p.url}/large") == b"204"


def side_by_side(p):
    """Large and small answers on one connection: the small ones do not wait for the large."""
    p.curl("-T", "-", f"{p.url}/small", data=b"s" * 100)
    size, ended = {}, []
    with Client(("127.0.0.1", p.port), own=((WINDOW_SIZE, 1 << 30),)) as c:
        c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
        for stream in range(1, 41, 2):
            c.request(stream, "GET", f"/kv/default/{'large' if stream < 5 else 'small'}")
        while len(ended) < 20:
            made = c.wait(lambda f: f.kind in (DATA, RST_STREAM, GOAWAY))
            assert made.kind == DATA, made
            size[made.stream] = size.get(made.stream, 0) + len(made.payload)
            ended += [made.stream] if made.flags & END_STREAM else []
            c.seen.clear()
    assert size == {s: 100 * MIB if s < 5 else 100 for s in range(1, 41, 2)}, size
    assert set(ended[-2:]) == {1, 3}, ended


def curl_refused(p):
    """An answer that does not wait for its body arrives."""
    for words in ((), ("-H", "Expect:"), ("-H", "Expect: 100-continue")):
        got = p.curl("-T", p.home / "large", *words, "-o", "/dev/null", "-w", "%{http_code}",
                     f"http://127.0.0.1:{p.port}/nowhere/at/all")
        assert got[:1] == b"4", got


def nghttp_talks(p):
    """nghttp: 100 requests, and it says GOAWAY in the end."""
    said = run("nghttp", "-nv", "-m", "100", f"{p.url}/small").decode()
    assert said.count(":status: 200") == 100, said[-1000:]
    assert "RST_STREAM" not in said


def h2load_loads(p):
    """h2load: connections and streams, none fails."""
    for words in (("-c", "50", "-m", "32"), ("-c", "1", "-m", "128"), ("-c", "20", "-m", "100")):
        said = run("h2load", "-n", "20000", *words, f"{p.url}/small").decode()
        assert "20000 succeeded, 0 failed" in said, said


def tshark_reads(p):
    """tshark finds no malformed frame in what was said."""
    if not shutil.which("tshark"):
        raise Wrong("SKIP no tshark")
    path = p.home / "capture"
    shark = subprocess.Popen(["tshark", "-q", "-i", "lo", "-w", path, "-f", f"port {p.port}"],
                             stderr=subprocess.PIPE, text=True)
    for line in shark.stderr:
        if "Capturing on" in line:
            break
    else:
        raise Wrong("SKIP tshark may not capture here")
    time.sleep(1)
    p.curl(f"{p.url}/small")
    p.curl("-T", "-", f"{p.url}/put", data=b"x" * 100000)
    p.curl("-o", "/dev/null", "-w", "%{http_code}", f"{p.url}/put")
    run("nghttp", "-n", "-m", "20", f"{p.url}/small")
    time.sleep(2)
    shark.terminate()
    shark.wait()
    read = ("tshark", "-r", path, "-d", f"tcp.port=={p.port},http2", "-Y")
    assert len(run(*read, "http2").splitlines()) > 10
    wrong = run(*read, "_ws.malformed || _ws.expert.group == \"Malformed\"").decode()
    assert not wrong.strip(), wrong[:1000]


def one_segment(p):
    """Head and body of a small answer leave in one send, and so do many answers."""
    with Client(("127.0.0.1", p.port), path="/kv/default/small") as c:
        head = block(c.fields())
        c.alive()
        c.send(b"".join(frame(HEADERS, WHOLE, s, head) for s in range(1, 65, 2)))
        c.socket.settimeout(10)
        data = c.socket.recv(1 << 20)
        assert data.count(b"s" * 100) == 32, data


def slow_preface(p):
    """Half a preface, and then nothing: http.head_timeout."""
    with Client(("127.0.0.1", p.port), greet=False) as c:
        c.send(PREFACE[:20])
        c.closed()


def slow_head(p):
    """A section of fields that does not end."""
    with Client(("127.0.0.1", p.port), path="/kv/default/small") as c:
        c.request(1, flags=END_STREAM)
        made = c.wait(lambda f: f.kind == GOAWAY)
        assert made.code() == 0, made
        c.closed()


def slow_body(p):
    """A body that does not come: its stream alone is reset."""
    with Client(("127.0.0.1", p.port), path="/kv/default/small") as c:
        c.request(1, "PUT", "/kv/default/slow", ("content-length", "100"), flags=END_HEADERS)
        c.stream_error(1, 8, connection=False)
        c.request(3)
        assert c.answer(3)[0] == 200


def slow_read(p):
    """A client that leaves no window for its answer."""
    with Client(("127.0.0.1", p.port), own=((WINDOW_SIZE, 0),), path="/kv/default/large") as c:
        c.request(1)
        c.stream_error(1, 8, connection=False)


def slow_socket(p):
    """A client that reads nothing from its socket."""
    with socket.create_connection(("127.0.0.1", p.port)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c = Client(("127.0.0.1", p.port), greet=False, path="/kv/default/large")
        c.socket.close()
        s.sendall(PREFACE + settings((WINDOW_SIZE, 1 << 30))
                  + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
                  + frame(HEADERS, WHOLE, 1, block(c.fields())))
        time.sleep(10)
        s.settimeout(30)
        got = 0
        try:
            while data := s.recv(1 << 20):
                got += len(data)
        except ConnectionResetError:
            pass
        assert got < 100 * MIB, got


def idle(p):
    """A connection without a request ends with GOAWAY."""
    with Client(("127.0.0.1", p.port)) as c:
        assert c.wait(lambda f: f.kind == GOAWAY).code() == 0
        c.closed()


def many_slow(p):
    """300 slow clients: others are served meanwhile, and the memory comes back."""
    before = p.server.rss_kib()
    slow = []
    for i in range(300):
        s = socket.create_connection(("127.0.0.1", p.port))
        c = Client.__new__(Client)
        c.host, c.path = "x", "/kv/default/small"
        head = block(c.fields())
        s.sendall(PREFACE + settings() + frame(HEADERS, 0, 1, head[:20 + i % 10]))
        slow.append(s)
    for _ in range(20):
        assert p.curl(f"{p.url}/small") == b"s" * 100
    for s in slow:
        s.close()
    grown = p.server.rss_kib() - before
    assert grown < 64 << 10, f"{grown} KiB"


def drains(p):
    """SIGTERM while answers and bodies are on their way: all end well, and so does the server."""
    with Client(("127.0.0.1", p.port), path="/kv/default/small") as c:
        c.request(1, "PUT", "/kv/default/last", flags=END_HEADERS)
        c.alive()
        stopper = threading.Thread(target=p.server.stop)
        stopper.start()
        assert c.wait(lambda f: f.kind == GOAWAY).code() == 0
        time.sleep(0.3)
        c.send(frame(DATA, 0, 1, b"val") + frame(DATA, END_STREAM, 1, b"ue"))
        status = c.answer(1)[0]
        assert status == 201, status
        c.closed()
        stopper.join()
        assert p.server.process.returncode == 0, p.server.process.returncode
        goaways = [struct.unpack(">I", f.payload[:4])[0] for f in c.seen if f.kind == GOAWAY]
        assert goaways[-1] == 1, goaways


JUDGES = (curl_keys, curl_large, side_by_side, curl_refused, nghttp_talks, h2load_loads, tshark_reads,
          one_segment, slow_preface, slow_head, slow_body, slow_read, slow_socket, idle, many_slow,
          drains)


def main():
    for program, package in (("curl", "curl"), ("nghttp", "nghttp2-client"),
                             ("h2load", "nghttp2-client")):
        if not shutil.which(program):
            skip(f"no {program} (package {package})")
    if not re.search(r"^Features:.*HTTP2", run("curl", "-V").decode(), re.M):
        skip("this curl has no HTTP/2")
    tap, port = Tap(), free_port()
    Client.timeout_s = 60
    home = CACHE / f"http2-clients-{os.getpid()}"
    short = ("http.head_timeout=4s", "http.body_timeout=4s", "http.send_timeout=6s",
             "http.idle_timeout=8s")
    with Weir(home, "relaxed", settings=(f"http.listen=127.0.0.1:{port}", *short)) as server:
        wait_for(("127.0.0.1", port))
        place = Place(server, port, home)
        for judge in JUDGES:
            wrong = ""
            try:
                judge(place)
            except (Wrong, AssertionError, OSError, subprocess.SubprocessError) as error:
                wrong = f"{type(error).__name__}: {error}"
            name = judge.__doc__.split("\n")[0]
            if wrong.startswith("Wrong: SKIP "):
                tap.case(True, f"{name} # SKIP {wrong[12:]}")
            else:
                tap.case(not wrong, name, wrong[:1000])
    tap.plan()


main()
