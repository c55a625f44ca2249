#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real server with TLS, judged by clients that others wrote: Python's ssl, openssl, curl, redis-cli."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

WEIR = os.environ.get("WEIR") or shutil.which("weir")


def make_pair(folder, *names):
    words = [WEIR, "cert", "--force", str(folder)]
    for name in names:
        words += ["--name", name]
    subprocess.run(words, check=True, capture_output=True, timeout=60)


class Case(unittest.TestCase):
    """Each test has a server of two workers, on a store and with a certificate of its own."""

    settings = []
    plain = None  # a face that listens without TLS, too: the only one

    def setUp(self):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="weir_tls_test."))
        self.addCleanup(shutil.rmtree, self.place)
        self.certificate, self.key = self.place / "cert.pem", self.place / "key.pem"
        make_pair(self.place)
        self.opened = []
        self.start()

    def tearDown(self):
        for one in self.opened:
            one.close()
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()

    def start(self):
        words = [WEIR, "serve", str(self.place / "data")]
        for setting in ["workers.count=2", "workers.pin=no", "storage.size=128M",
                        "storage.segment_size=4M", "resp.listen=off", "http.listen=off",
                        "s3.listen=off", *self.settings, "resp.tls_listen=127.0.0.1:0",
                        "http.tls_listen=127.0.0.1:0", "s3.tls_listen=127.0.0.1:0",
                        f"tls.certificate={self.certificate}", f"tls.key={self.key}"]:
            words += ["-s", setting]
        self.log = self.place / "log"
        with self.log.open("w") as log:
            self.server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log)
        self.ports = {}
        for _ in range(3 if self.plain is None else 4):
            line = self.server.stdout.readline().decode()
            found = re.fullmatch(r"listening: (\S+) 127.0.0.1:(\d+)\n", line)
            self.assertTrue(found, line + self.log.read_text())
            self.ports[found[1].removesuffix("+tls") if "+" in line else "plain"] = int(found[2])

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(60), 0, self.log.read_text())

    def context(self, version=None):
        context = ssl.create_default_context(cafile=self.certificate)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    def connect(self, face="resp", context=None, session=None):
        plain = socket.create_connection(("127.0.0.1", self.ports[face]), 60)
        self.opened.append(plain)
        made = (context or self.context()).wrap_socket(plain, server_hostname="localhost",
                                                       session=session)
        self.opened.append(made)
        return made

    def ask(self, made, text, reply):
        made.sendall(text)
        got = b""
        while len(got) < len(reply):
            part = made.recv(1 << 20)
            self.assertTrue(part, "the connection ended")
            got += part
        self.assertEqual(got, reply)

    def logged(self, text):
        for _ in range(600):
            if text in self.log.read_text():
                return
            time.sleep(0.05)
        self.fail(f"{text} is not in {self.log.read_text()}")


class Server(Case):
    def test_both_versions(self):
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            made = self.connect(context=self.context(version))
            self.assertEqual(made.version(), version.name.replace("_", "."))
            value = os.urandom(3000000)
            self.ask(made, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n%s\r\n" % value, b"+OK\r\n")
            self.ask(made, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$3000000\r\n%s\r\n" % value)
            self.ask(made, b"PING\r\n" * 5000, b"+PONG\r\n" * 5000)

    def test_close_notify_goes_both_ways(self):
        made = self.connect()
        self.ask(made, b"QUIT\r\n", b"+OK\r\n")
        self.assertEqual(made.recv(10), b"")  # an end without notice would raise
        made = self.connect()
        made.unwrap().close()  # raises, too
        self.ask(self.connect(), b"PING\r\n", b"+PONG\r\n")

    def test_an_old_version_is_refused(self):
        for version in "-tls1", "-tls1_1":
            run = subprocess.run(["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0",
                                  "-connect", f"127.0.0.1:{self.ports['resp']}"],
                                 input=b"", capture_output=True, timeout=60)
            self.assertNotEqual(run.returncode, 0)
            self.assertIn(b"protocol version", run.stderr)

    def test_weak_ciphers_are_refused(self):
        for cipher in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA256", "aNULL",
                       "ECDHE-ECDSA-AES256-SHA"):
            run = subprocess.run(["openssl", "s_client", "-tls1_2", "-cipher",
                                  cipher + ":@SECLEVEL=0", "-connect",
                                  f"127.0.0.1:{self.ports['resp']}"],
                                 input=b"", capture_output=True, timeout=60)
            self.assertNotEqual(run.returncode, 0, cipher)
            self.assertIn(b"handshake failure", run.stderr)

    def test_what_openssl_says_of_it(self):
        run = subprocess.run(["openssl", "s_client", "-ign_eof", "-CAfile",
                              str(self.certificate), "-verify_hostname", "localhost", "-verify_return_error", "-connect",
                              f"127.0.0.1:{self.ports['resp']}"],
                             input=b"PING\r\nquit\r\n", capture_output=True, timeout=60)
        for text in b"Verify return code: 0 (ok)", b"New, TLSv1.3", b"Compression: NONE", b"+PONG":
            self.assertIn(text, run.stdout)
        run = subprocess.run(["openssl", "s_client", "-tls1_2", "-CAfile", str(self.certificate),
                              "-connect", f"127.0.0.1:{self.ports['resp']}"],
                             input=b"R\n", capture_output=True, timeout=60)
        self.assertIn(b"Secure Renegotiation IS supported", run.stdout)
        self.assertIn(b"no renegotiation", run.stderr)

    def test_tickets_are_good_on_every_worker(self):
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            context = self.context(version)
            session = None
            for i in range(12):
                made = self.connect(context=context, session=session)
                self.ask(made, b"PING\r\n", b"+PONG\r\n")
                self.assertEqual(made.session_reused, i > 0)
                session = made.session
                made.close()

    def test_curl_speaks_both_kinds_of_http(self):
        for words, version in ((["--http1.1", "--tls-max", "1.2"], "1.1 TLSv1.2"),
                               (["--http1.1"], "1.1 TLSv1.3"), (["--http2"], "2 TLSv1.3")):
            run = subprocess.run(["curl", "-sv", "--cacert", str(self.certificate), *words, "-w",
                                  "%{http_version}", "-o", str(self.place / "out"),
                                  f"https://localhost:{self.ports['http']}/health/live"],
                                 capture_output=True, text=True, timeout=60)
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertEqual(run.stdout, version.split()[0])
            self.assertIn(f"SSL connection using {version.split()[1]}", run.stderr)

    def test_an_unknown_protocol_is_refused(self):
        context = self.context()
        context.set_alpn_protocols(["spdy/3"])
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
            self.connect("http", context)

    def test_redis_cli(self):
        if not shutil.which("redis-cli"):
            self.skipTest("no redis-cli (package redis-tools)")
        run = subprocess.run(["redis-cli", "--tls", "--cacert", str(self.certificate), "-h",
                              "127.0.0.1", "-p", str(self.ports["resp"])],
                             input="set a 1\nincr a\nget a\n", capture_output=True, text=True,
                             timeout=60)
        self.assertEqual(run.stdout, "OK\n2\n2\n" if "(integer)" not in run.stdout
                         else run.stdout, run.stderr)

    def test_bytes_that_are_no_tls(self):
        for text in b"GET / HTTP/1.1\r\n\r\n", b"PING\r\n", b"\x16\x03\x01\x40\x01" + b"x" * 99:
            plain = socket.create_connection(("127.0.0.1", self.ports["resp"]), 60)
            plain.sendall(text)
            got = b""
            try:
                while part := plain.recv(1000):
                    got += part
            except ConnectionResetError:
                pass
            self.assertNotIn(b"PONG", got)
            plain.close()
        self.ask(self.connect(), b"PING\r\n", b"+PONG\r\n")

    def test_a_new_certificate_under_load(self):
        stop, errors, counts = threading.Event(), [], [0] * 4
        contexts = [self.context()]

        def load(index):
            made = self.connect(context=contexts[-1])
            try:
                while not stop.is_set():
                    if index % 2:
                        made.close()
                        made = self.connect(context=contexts[-1])
                    self.ask(made, b"SET k v\r\nGET k\r\n", b"+OK\r\n$1\r\nv\r\n")
                    counts[index] += 1
            except (OSError, AssertionError) as error:
                errors.append(error)

        both = self.place / "both.pem"
        old = self.certificate.read_bytes()
        before = self.connect()
        make_pair(self.place / "next")
        both.write_bytes(old + (self.place / "next/cert.pem").read_bytes())
        contexts.append(ssl.create_default_context(cafile=both))
        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        # A bad file keeps what was in use.
        self.certificate.write_bytes(b"nonsense")
        self.server.send_signal(signal.SIGHUP)
        self.logged("what was in use is kept")
        shutil.copy(self.place / "next/cert.pem", self.certificate)
        self.server.send_signal(signal.SIGHUP)  # not this key's
        self.logged("the key is not the certificate's")
        old_pem = ssl.DER_cert_to_PEM_cert(self.connect(context=contexts[-1]).getpeercert(True))
        self.assertEqual(old_pem.split(), old.decode().split())
        shutil.copy(self.place / "next/key.pem", self.key)
        self.server.send_signal(signal.SIGHUP)
        self.logged("new connections have the certificate that was read")
        new_pem = ssl.DER_cert_to_PEM_cert(self.connect(context=contexts[-1]).getpeercert(True))
        self.assertEqual(new_pem.split(), self.certificate.read_text().split())
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join(60)
        self.assertEqual(errors, [])
        self.assertTrue(all(counts), counts)
        self.ask(before, b"PING\r\n", b"+PONG\r\n")  # an old connection lives on
        self.stop()

    def test_peers_that_vanish_in_the_handshake(self):
        hello = ssl.create_default_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        made = hello.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            made.do_handshake()
        said = outgoing.read()
        for i in range(60):
            plain = socket.create_connection(("127.0.0.1", self.ports["resp"]), 60)
            plain.sendall(said[:i * 9])
            if i % 3 == 0:  # a reset
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if i % 3 == 1:
                plain.shutdown(socket.SHUT_WR)
            plain.close()
        self.ask(self.connect(), b"PING\r\n", b"+PONG\r\n")
        self.stop()

    def test_killed_in_mid_handshake_and_started_again(self):
        plain = socket.create_connection(("127.0.0.1", self.ports["resp"]), 60)
        plain.sendall(b"\x16\x03\x01")
        self.ask(self.connect(), b"SET k v\r\n", b"+OK\r\n")
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        plain.close()
        self.start()
        self.ask(self.connect(), b"GET k\r\n", b"$1\r\nv\r\n")

    def test_draining_says_farewell(self):
        made = self.connect()
        self.ask(made, b"PING\r\n", b"+PONG\r\n")
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(made.recv(10), b"")  # close_notify
        made.close()
        self.assertEqual(self.server.wait(60), 0)


class Bucket(Case):
    """A policy that lets strangers in by HTTPS only."""

    settings = ["s3.listen=127.0.0.1:0"]
    plain = "s3"

    def get(self, kind, port, **more):
        connection = kind("127.0.0.1", port, timeout=60, **more)
        connection.request("GET", "/bucket/key")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def test_a_policy_knows_that_it_is_secure(self):
        try:
            import boto3
        except ImportError:
            self.skipTest("no boto3 (package python3-boto3)")
        found = re.search(r"access key (\S+), secret key (\S+)", self.log.read_text())
        s3 = boto3.client("s3", endpoint_url=f"https://127.0.0.1:{self.ports['s3']}",
                          aws_access_key_id=found[1], aws_secret_access_key=found[2],
                          region_name="us-east-1", verify=str(self.certificate))
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="key", Body=b"x" * 300000)
        s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                           "Resource": "arn:aws:s3:::bucket/*",
                           "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}))
        self.assertEqual(self.get(http.client.HTTPSConnection, self.ports["s3"],
                                  context=self.context()), (200, b"x" * 300000))
        self.assertEqual(self.get(http.client.HTTPConnection, self.ports["plain"])[0], 403)


class Idle(Case):
    """A thousand that say nothing."""

    settings = ["memory=320M"]

    def resident(self):
        text = pathlib.Path(f"/proc/{self.server.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) << 10

    def test_a_thousand_idle_connections(self):
        try:
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        except (OSError, ValueError) as error:
            self.skipTest(f"too few descriptors: {error}")
        context = self.context()
        self.ask(self.connect(context=context), b"PING\r\n", b"+PONG\r\n")
        before = self.resident()
        made = [self.connect(context=context) for _ in range(1000)]
        after = self.resident()
        print(f"{(after - before) / len(made):.0f} bytes each, {after >> 20} MiB resident",
              file=sys.stderr)
        for one in made[::50]:
            self.ask(one, b"PING\r\n", b"+PONG\r\n")
        maps = pathlib.Path(f"/proc/{self.server.pid}/maps").read_text()
        if "libasan" not in maps and "libtsan" not in maps:  # they keep more than what is used
            self.assertLess(after - before, len(made) * 32 << 10)


class Certified(Case):
    """Clients show certificates that an authority vouches for: here, themselves."""

    @property
    def settings(self):
        return [f"tls.client_ca={self.place / 'client/cert.pem'}", "tls.min_version=1.3"]

    def start(self):
        make_pair(self.place / "client", "alice")
        super().start()

    def test_only_who_has_a_certificate(self):
        context = self.context()
        context.load_cert_chain(self.place / "client/cert.pem", self.place / "client/key.pem")
        self.ask(self.connect(context=context), b"PING\r\n", b"+PONG\r\n")
        with self.assertRaises((ssl.SSLError, OSError)):
            made = self.connect()
            made.sendall(b"PING\r\n")
            made.recv(10)
        with self.assertRaises(ssl.SSLError):
            self.connect(context=self.context(ssl.TLSVersion.TLSv1_2))


if __name__ == "__main__":
    if not WEIR:
        print("no weir: $WEIR is not set")
        sys.exit(77)
    for program in "openssl", "curl":
        if not shutil.which(program):
            print(f"no {program}")
            sys.exit(77)
    unittest.main(verbosity=2)
