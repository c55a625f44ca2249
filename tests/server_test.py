#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real server with several workers: what only shows between workers, and over restarts."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

WEIR = os.environ.get("WEIR") or shutil.which("weir")


class Error(Exception):
    """An error that was replied."""


class Client:
    """Blocking, RESP2 and RESP3; pushes of RESP3 come back as tuples."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts)
                            + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, text = line[:1], line[1:-2]
        if kind in (b"$", b"="):
            return None if text == b"-1" else self.file.read(int(text) + 2)[:-2].decode()
        if kind == b":":
            return int(text)
        if kind in (b"*", b"~", b">"):
            values = [self.read() for _ in range(int(text))]
            return tuple(values) if kind == b">" else values
        if kind == b"%":
            return {self.read(): self.read() for _ in range(int(text))}
        if kind == b"_":
            return None
        return Error(text.decode()) if kind == b"-" else text.decode()

    def ask(self, *words):
        self.send(*words)
        reply = self.read()
        if isinstance(reply, Error):
            raise reply
        return reply


class Server(unittest.TestCase):
    """Each test has a server of two workers on a store of its own."""

    settings = ["workers.count=2", "workers.pin=no"]

    def setUp(self):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="weir_server_test."))
        self.addCleanup(shutil.rmtree, self.place)
        self.clients = []
        self.start()

    def tearDown(self):
        self.stop(signal.SIGKILL)

    def start(self, *settings, path=None):
        words = [WEIR, "serve", str(path or self.place / "data")]
        for setting in ["resp.listen=127.0.0.1:0", "storage.size=256M",
                        "storage.segment_size=4M", "log.level=error", *self.settings, *settings]:
            words += ["-s", setting]
        self.server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.server.stdout.readline().decode()
        if not line:
            self.server.wait()
            raise AssertionError(self.server.stderr.read().decode())
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])

    def stop(self, how=signal.SIGTERM):
        for client in self.clients:
            client.close()
        self.clients = []
        self.server.send_signal(how)
        status = self.server.wait(timeout=60)
        self.server.stdout.close()
        errors = self.server.stderr.read().decode()
        self.server.stderr.close()
        self.assertEqual(status, 0 if how == signal.SIGTERM else -how, errors)

    def client(self):
        self.clients.append(Client(self.port))
        return self.clients[-1]

    def spread(self, count=48):
        """Clients on both workers: those whose numbers differ in the high bits."""
        found = {}
        for _ in range(count):
            client = self.client()
            found.setdefault(client.ask("CLIENT", "ID") >> 40, client)
        if len(found) < 2:
            self.skipTest("all connections came to one worker")
        return [found[key] for key in sorted(found)]


class Users(Server):
    def test_users_survive_a_kill(self):
        client = self.client()
        client.ask("ACL", "SETUSER", "app", "on", ">pw", "~app:*", "+@all", "-@admin",
                   "(~shared:*", "+get)")
        client.ask("ACL", "SETUSER", "gone", "on")
        self.assertEqual(client.ask("ACL", "DELUSER", "gone", "nobody"), 1)
        told = client.ask("ACL", "LIST")
        self.stop(signal.SIGKILL)
        self.start()
        client = self.client()
        self.assertEqual(client.ask("ACL", "LIST"), told)
        self.assertEqual(client.ask("AUTH", "app", "pw"), "OK")
        self.assertEqual(client.ask("SET", "app:1", "v"), "OK")
        self.assertRaisesRegex(Error, "NOPERM", client.ask, "SET", "shared:1", "v")
        self.assertIsNone(client.ask("GET", "shared:1"))
        self.assertRaisesRegex(Error, "NOPERM", client.ask, "ACL", "LIST")

    def test_changes_hold_on_all_workers(self):
        first, second = self.spread()
        for i in range(20):
            first.ask("ACL", "SETUSER", f"u{i % 5}", "on", f">{i}")
            self.assertEqual(second.ask("ACL", "LIST"), first.ask("ACL", "LIST"))
            second.ask("ACL", "SETUSER", f"u{i % 5}", f"~{i}")
        for i in range(50):  # both at once
            first.send("ACL", "SETUSER", "x", f"~a{i}" if i % 10 else "resetkeys")
            second.send("ACL", "SETUSER", "x", f"~b{i}" if i % 7 else "resetkeys")
        for _ in range(50):
            self.assertEqual([first.read(), second.read()], ["OK", "OK"])
        told = first.ask("ACL", "LIST")
        self.assertEqual(second.ask("ACL", "LIST"), told)
        self.stop(signal.SIGKILL)
        self.start()
        self.assertEqual(self.client().ask("ACL", "LIST"), told)

    def test_a_password_of_the_configuration_wins(self):
        self.client().ask("ACL", "SETUSER", "default", "off", ">other")
        self.stop()
        self.start("resp.password=right")
        client = self.client()
        self.assertRaisesRegex(Error, "WRONGPASS", client.ask, "AUTH", "other")
        self.assertEqual(client.ask("AUTH", "right"), "OK")

    def test_no_file_of_users(self):
        client = self.client()
        for word in ("LOAD", "SAVE"):
            self.assertRaisesRegex(Error, "not configured to use an ACL file", client.ask,
                                   "ACL", word)

    def test_a_file_of_users(self):
        path = self.place / "users.acl"
        path.write_text("# who may what\n\nuser default on nopass ~* &* +@all\r\n"
                        "user app on >pw ~app:* +get (~x +set)\n")
        self.client().ask("ACL", "SETUSER", "stored", "on")
        self.stop()
        self.start(f"resp.acl_file={path}")
        client, app = self.client(), self.client()
        self.assertEqual(client.ask("ACL", "USERS"), ["app", "default"])
        self.assertEqual(client.ask("CONFIG", "GET", "aclfile"), ["aclfile", str(path)])
        self.assertEqual(app.ask("AUTH", "app", "pw"), "OK")
        client.ask("ACL", "SETUSER", "more", "on", ">x", "+@all")
        client.ask("ACL", "SAVE")
        self.assertEqual(path.read_text().splitlines(), client.ask("ACL", "LIST"))
        path.write_text("user other on\nuser app on >pw +nonsense\n")
        self.assertRaisesRegex(Error, "line 2: Unknown command", client.ask, "ACL", "LOAD")
        self.assertEqual(client.ask("ACL", "USERS"), ["app", "default", "more"])
        path.write_text("user other on\nuser other on\n")
        self.assertRaisesRegex(Error, "line 2: Duplicate user", client.ask, "ACL", "LOAD")
        path.write_text("user other on\n")
        self.assertEqual(client.ask("ACL", "LOAD"), "OK")
        self.assertEqual(client.ask("ACL", "USERS"), ["default", "other"])
        self.assertRaises(EOFError, app.ask, "PING")
        path.unlink()
        self.assertRaisesRegex(Error, "No such file", client.ask, "ACL", "LOAD")


if __name__ == "__main__":
    if not WEIR:
        print("no weir: $WEIR is not set")
        sys.exit(77)
    unittest.main(verbosity=2)
