#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real server, and curl: keys by HTTP and by RESP, what survives, what is refused."""
import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

WEIR = os.environ.get("WEIR") or shutil.which("weir")
CURL = shutil.which("curl")


class Server(unittest.TestCase):
    """Each test has a server of two workers on a store of its own."""

    settings = ["workers.count=2", "workers.pin=no", "memory=64M"]

    def setUp(self):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="weir_http_test."))
        self.addCleanup(shutil.rmtree, self.place)
        self.start()

    def tearDown(self):
        if self.server:
            self.stop(signal.SIGKILL)

    def start(self, *settings):
        words = [WEIR, "serve", str(self.place / "data")]
        for setting in ["resp.listen=127.0.0.1:0", "http.listen=127.0.0.1:0",
                        "s3.listen=127.0.0.1:0", "storage.size=512M",
                        "storage.segment_size=4M", "log.level=error", *self.settings, *settings]:
            words += ["-s", setting]
        self.server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ports = {}
        while len(ports) < 3:
            line = self.server.stdout.readline().decode()
            if not line:
                self.server.wait()
                raise AssertionError(self.server.stderr.read().decode())
            found = re.match(r"listening: (\w+) 127\.0\.0\.1:(\d+)", line)
            ports[found[1]] = int(found[2])
        self.port, self.resp_port, self.s3_port = ports["http"], ports["resp"], ports["s3"]

    def stop(self, how=signal.SIGTERM):
        self.server.send_signal(how)
        status = self.server.wait(timeout=60)
        self.server.stdout.close()
        errors = self.server.stderr.read().decode()
        self.server.stderr.close()
        self.server = None
        self.assertEqual(status, 0 if how == signal.SIGTERM else -how, errors)
        return errors

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def curl(self, path, *words, data=None):
        """Status, fields and body of what curl gets."""
        head = self.place / "head"
        run = subprocess.run([CURL, "-sS", "-m", "30", "-D", str(head), *words, self.url(path)],
                             input=data, capture_output=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        lines = head.read_bytes().decode().strip().split("\r\n\r\n")[-1].replace("\r", "").split("\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), fields, run.stdout

    def put(self, path, data, *words):
        return self.curl(path, "-X", "PUT", "--data-binary", "@-", *words, data=data)

    def resp(self, *words):
        with socket.create_connection(("127.0.0.1", self.resp_port), 20) as client:
            client.sendall(b"*%d\r\n" % len(words)
                           + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            with client.makefile("rb") as file:
                line = file.readline()
                if not line.startswith(b"$") or line == b"$-1\r\n":
                    return line.strip()
                return file.read(int(line[1:]) + 2)[:-2]

    def raw(self, data, wait=5):
        """All that the server says to these bytes until it closes, or for so many seconds."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            client.sendall(data)
            client.settimeout(wait)
            got = b""
            try:
                while piece := client.recv(65536):
                    got += piece
            except TimeoutError:
                return got, False
            return got, True


class Keys(Server):
    def test_a_key_is_one_by_both_doors(self):
        self.assertEqual(self.put("/kv/default/a", b"by http")[0], 201)
        self.assertEqual(self.resp(b"GET", b"a"), b"by http")
        self.assertEqual(self.resp(b"SET", b"a", b"by resp"), b"+OK")
        status, fields, body = self.curl("/kv/0/a")
        self.assertEqual((status, body), (200, b"by resp"))
        self.assertEqual(self.put("/kv/0/a", b"x", "-H", f"If-Match: {fields['etag']}")[0], 204)
        self.assertEqual(self.put("/kv/0/a", b"y", "-H", f"If-Match: {fields['etag']}")[0], 412)
        self.assertEqual(self.resp(b"GET", b"a"), b"x")
        self.assertEqual(self.curl("/kv/0/a", "-X", "DELETE")[0], 204)
        self.assertEqual(self.resp(b"GET", b"a"), b"$-1")

    def test_what_was_answered_survives_a_kill(self):
        large = os.urandom(3_000_000)
        self.put("/kv/0/small", b"s")
        self.put("/kv/0/large", large)
        self.put("/kv/0/ends", b"e", "-H", "TTL: 1000")
        self.stop(signal.SIGKILL)
        self.start()
        self.assertEqual(self.curl("/kv/0/small")[2], b"s")
        self.assertEqual(self.curl("/kv/0/large")[2], large)
        self.assertIn(int(self.curl("/kv/0/ends")[1]["ttl"]), range(900, 1001))

    def test_large_values(self):
        for size in (40_000, 300_000, 12_000_000):
            data = os.urandom(size)
            for words in ((), ("-H", "Transfer-Encoding: chunked")):
                self.assertIn(self.put("/kv/1/large", data, *words)[0], (201, 204))
                self.assertEqual(self.curl("/kv/1/large")[2], data)
        self.assertEqual(self.curl("/kv/1/large", "-r", "9999990-10000009")[2],
                         data[9999990:10000010])
        self.assertEqual(self.resp(b"GETRANGE".upper(), b"large", b"0", b"0"), b"")

    def test_lists(self):
        for number in range(700):
            self.resp(b"SET", b"k%03d" % number, b"v%d" % number)
        _, fields, body = self.curl("/kv/0?prefix=k&limit=500&values=1")
        self.assertEqual(fields["content-type"], "application/x-ndjson")
        lines = [json.loads(line) for line in body.splitlines()]
        cursor = lines.pop()["cursor"]
        rest = self.curl(f"/kv/0?prefix=k&values=1&cursor={cursor}")[2]
        lines += [json.loads(line) for line in rest.splitlines()]
        self.assertEqual([line["key"] for line in lines], [f"k{n:03}" for n in range(700)])
        self.assertEqual([line["value"] for line in lines], [f"v{n}" for n in range(700)])


class Objects(Server):
    settings = ["workers.count=2", "workers.pin=no", "memory=96M"]

    def s3(self, path, *words, data=None):
        run = subprocess.run([CURL, "-sS", "--fail", "-m", "30", "--aws-sigv4",
                              "aws:amz:us-east-1:s3", "--user", self.key, "-H",
                              "x-amz-content-sha256: UNSIGNED-PAYLOAD", *words,
                              f"http://127.0.0.1:{self.s3_port}{path}"],
                             input=data, capture_output=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def start(self, *settings):
        super().start(*settings)
        line = self.server.stderr.readline().decode()
        self.key = ":".join(re.search(r"access key (\S+), secret key (\S+)", line).groups())
        self.s3("/bucket", "-X", "PUT")

    def test_an_object_is_one_by_both_doors(self):
        for size in (0, 13, 100_000, 262_144, 262_145, 5_000_000):
            data = os.urandom(size)
            self.s3("/bucket/a/by-s3", "-X", "PUT", "-H", "Content-Type: text/x-test",
                    "--data-binary", "@-", data=data)
            status, fields, body = self.curl("/o/bucket/a/by-s3")
            self.assertEqual((status, body == data), (200, True))
            self.assertEqual(fields["content-type"], "text/x-test")
            self.assertEqual(fields["content-security-policy"], "sandbox")
            self.assertEqual(fields["etag"], f'"{hashlib.md5(data).hexdigest()}"')
            for words in ((), ("-H", "Transfer-Encoding: chunked")):
                status, fields, _ = self.put("/o/bucket/a/by-http", data, *words)
                self.assertEqual(status, 201)
                self.assertEqual(fields["etag"], f'"{hashlib.md5(data).hexdigest()}"')
                self.assertEqual(self.s3("/bucket/a/by-http"), data)
        self.assertEqual(self.curl("/o/bucket/a/by-s3", "-r", "4999990-")[2], data[-10:])
        self.assertEqual(self.curl("/o/bucket/a/by-s3", "-r", "5000000-")[0], 416)
        self.assertEqual(self.curl("/o/bucket/a/by-s3", "-X", "DELETE")[0], 204)
        self.assertEqual(self.curl("/o/bucket/a/by-s3")[0], 404)

    def test_conditions(self):
        etag = self.put("/o/bucket/c", b"1", "-H", "If-None-Match: *")[1]["etag"]
        self.assertEqual(self.put("/o/bucket/c", b"2", "-H", "If-None-Match: *")[0], 412)
        self.assertEqual(self.put("/o/bucket/c", b"2", "-H", 'If-Match: "x"')[0], 412)
        self.assertEqual(self.curl("/o/bucket/c", "-H", f"If-None-Match: {etag}")[0], 304)
        self.assertEqual(self.put("/o/bucket/c", b"2", "-H", f"If-Match: {etag}")[0], 201)
        self.assertEqual(self.put("/o/bucket/new", b"2", "-H", "If-Match: *")[0], 412)
        large = b"x" * 1_000_000
        self.assertEqual(self.put("/o/bucket/c", large, "-H", "If-None-Match: *")[0], 412)
        self.assertEqual(self.curl("/o/bucket/c")[2], b"2")

    def test_lists(self):
        names = [f"d{n % 3}/f{n:03}" for n in range(300)] + ["<b>&\"'", "plain"]
        for name in names:
            self.put("/o/bucket/" + urllib.parse.quote(name), b"1")
        self.assertEqual(json.loads(self.curl("/o/")[2])["bucket"], "bucket")
        lines = [json.loads(line) for line in self.curl("/o/bucket/")[2].splitlines()]
        self.assertEqual([line.get("prefix") or line["name"] for line in lines],
                         ["<b>&\"'", "d0/", "d1/", "d2/", "plain"])
        found, cursor = [], ""
        while cursor is not None:
            body = self.curl(f"/o/bucket/?all=1&limit=70&cursor={urllib.parse.quote(cursor)}")[2]
            lines = [json.loads(line) for line in body.splitlines()]
            cursor = lines.pop()["cursor"] if "cursor" in lines[-1] else None
            found += [line["name"] for line in lines]
        self.assertEqual(found, sorted(names))
        page = self.curl("/o/bucket/", "-H", "Accept: text/html")[2]
        self.assertIn(b'<a href="/o/bucket/%3Cb%3E%26%22%27">&lt;b&gt;&amp;&quot;', page)

    def test_what_is_not_there(self):
        for path in ("/o/none/x", "/o/none/", "/o/bucket/none", "/o/bucket"):
            self.assertEqual(self.curl(path)[0], 404, path)
        self.assertEqual(self.put("/o/none/x", b"1")[0], 404)
        self.assertEqual(self.put("/o/none/x", b"1" * 1_000_000)[0], 404)
        self.assertEqual(self.put("/o/bucket/a%00b", b"1")[0], 400)

    def test_half_an_upload_is_none(self):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", self.port), 20) as client:
                client.sendall(b"PUT /o/bucket/half HTTP/1.1\r\nHost: localhost\r\n"
                               b"Content-Length: 9000000\r\n\r\n" + b"x" * 3_000_000)
        self.assertEqual(self.curl("/o/bucket/half")[0], 404)
        self.assertEqual(self.put("/o/bucket/half", b"x" * 3_000_000)[0], 201)
        self.stop()


class Pages(Server):
    def test_pages(self):
        self.assertEqual(self.curl("/healthz")[2], b"ok\n")
        self.assertEqual(self.curl("/readyz")[0], 200)
        self.put("/kv/0/a", b"1")
        status = json.loads(self.curl("/api/status")[2])
        self.assertEqual((status["state"], status["workers"]), ("ready", 2))
        self.assertGreater(status["store_size_bytes"], 0)
        keys = json.loads(self.curl("/api/keys")[2])
        self.assertEqual(keys["namespaces"][0], {"namespace": 0, "keys": 1})
        self.assertEqual(len(json.loads(self.curl("/api/topology")[2])["workers"]), 2)
        settings = json.loads(self.curl("/api/configuration")[2])
        self.assertEqual(settings["workers.count"], {"value": "2", "source": "set"})
        paths = json.loads(self.curl("/api/openapi.json")[2])["paths"]
        for path in paths:
            if "{" not in path:
                self.assertEqual(self.curl(path)[0], 200, path)

    def test_dashboard(self):
        """A page of one file, whose policy allows just what it has in it."""
        status, fields, body = self.curl("/dashboard")
        self.assertEqual((status, fields["content-type"]), (200, "text/html; charset=utf-8"))
        policy = fields["content-security-policy"]
        for tag in ("script", "style"):
            parts = re.findall(rb"<%s>(.*?)</%s>" % (tag.encode(), tag.encode()), body, re.S)
            self.assertEqual(len(parts), 1)
            digest = base64.b64encode(hashlib.sha256(parts[0]).digest()).decode()
            self.assertIn(f"{tag}-src 'sha256-{digest}'".lower(), policy)
        self.assertIn("default-src 'none'", policy)
        self.assertNotRegex(body, rb"(src|href)=.http|fetch\(.http|url\(")
        self.assertEqual(self.curl("/", "-H", "Accept: text/html,*/*")[2], body)
        self.assertTrue(self.curl("/")[2].startswith(b"weir\n"))
        self.assertEqual(self.curl("/dashboard", "-X", "POST")[0], 405)

    def test_slow_requests(self):
        with socket.create_connection(("127.0.0.1", self.resp_port), 20) as client:
            client.sendall(b"CONFIG SET slowlog-log-slower-than 0\r\nSET slow-key 1\r\n")
            client.recv(100)
        deadline = time.monotonic() + 20
        texts = []
        while "resp SET slow-" not in " ".join(texts) and time.monotonic() < deadline:
            recent = json.loads(self.curl("/api/recent")[2])
            texts = [event["text"] for event in recent["slow"]]
        self.assertIn("resp SET slow-", " ".join(texts))
        self.assertIn("messages", recent)

    def test_metrics(self):
        self.put("/kv/0/a", b"1")
        text = self.curl("/metrics")[2]
        self.assertRegex(text, rb'weir_requests_total\{face="http",op="put"\} 1\n')
        self.assertIn(b'weir_connections{face="resp"} 0\n', text)
        if shutil.which("promtool") is None:
            self.skipTest("no promtool (package prometheus)")
        run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                             check=False)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, b"", b""))


class Limits(Server):
    settings = ["workers.count=2", "workers.pin=no", "memory=64M", "http.head_timeout=1s",
                "http.idle_timeout=2s", "http.body_timeout=1s"]

    def test_slow_clients_are_closed(self):
        started = time.monotonic()
        got, closed = self.raw(b"GET / HTTP/1.1\r\nHost: x", 10)
        self.assertTrue(got.startswith(b"HTTP/1.1 408 "), got)
        got, closed = self.raw(b"PUT /kv/0/a HTTP/1.1\r\nHost: localhost\r\n"
                               b"Content-Length: 5\r\n\r\nab", 10)
        self.assertEqual((got, closed), (b"", True))
        got, closed = self.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 10)
        self.assertTrue(got.endswith(b"ok\n") and closed)
        self.assertLess(time.monotonic() - started, 15)

    def test_malformed_requests_are_refused(self):
        for text in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\nHost: h\n\n",
                     b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
                     b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            got, closed = self.raw(text, 10)
            self.assertTrue(got.startswith(b"HTTP/1.1 400 ") and closed, got)
        self.assertEqual(self.curl("/healthz")[0], 200)

    def test_pipelined_requests(self):
        one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        got, _ = self.raw(one * 1000, 1)
        self.assertEqual(got.count(b"HTTP/1.1 200 OK\r\n"), 1000)

    def test_strangers_need_a_word(self):
        run = subprocess.run([WEIR, "serve", str(self.place / "other"), "-s",
                              "http.listen=0.0.0.0:0", "-s", "resp.listen=off", "-s",
                              "storage.size=256M"], capture_output=True, check=False, timeout=60)
        self.assertEqual(run.returncode, 2)
        self.assertIn(b"http.listen = 0.0.0.0:0 can be reached by strangers", run.stderr)

    def test_it_drains(self):
        with socket.create_connection(("127.0.0.1", self.port), 20) as idle:
            self.stop()
            self.assertEqual(idle.recv(1), b"")


if __name__ == "__main__":
    if WEIR is None or CURL is None:
        print("no weir, or no curl", file=sys.stderr)
        sys.exit(77)
    unittest.main()
