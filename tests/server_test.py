#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real server with several workers: what only shows between workers, and over restarts."""
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
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
        if line == b"*-1\r\n":
            return None
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
            errors = self.server.stderr.read().decode()
            self.server.stdout.close()
            self.server.stderr.close()
            raise AssertionError(errors)
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

    def test_keys_of_s3_need_a_password(self):
        client = self.client()
        self.assertEqual(len(client.ask("WEIR.KEYNEXT", "")), 5)  # the one of the start
        client.ask("ACL", "SETUSER", "boss", "on", ">pw", "+@all")
        client.ask("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@admin")
        for words in (["WEIR.KEYNEXT", ""], ["WEIR.KEYSET", "abc", "x"], ["WEIR.KEYDEL", "abc"]):
            self.assertRaisesRegex(Error, "NOPERM keys of S3", client.ask, *words)
        client.ask("AUTH", "app", "pw")
        self.assertRaisesRegex(Error, "NOPERM", client.ask, "WEIR.KEYNEXT", "")
        client.ask("AUTH", "boss", "pw")
        self.assertEqual(len(client.ask("WEIR.KEYNEXT", "")), 5)
        self.assertEqual(client.ask("WEIR.KEYDEL", "abc"), 0)
        client.ask("ACL", "DELUSER", "app")
        client.ask("ACL", "SETUSER", "default", "resetpass", ">pw2")
        client = self.client()
        client.ask("AUTH", "pw2")
        self.assertEqual(len(client.ask("WEIR.KEYNEXT", "")), 5)

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


class Messages(Server):
    def test_all_workers_hear(self):
        first, second = self.spread()
        third = self.client()
        self.assertEqual(first.ask("SUBSCRIBE", "news"), ["subscribe", "news", 1])
        self.assertEqual(first.ask("PSUBSCRIBE", "n?ws*"), ["psubscribe", "n?ws*", 2])
        second.ask("HELLO", 3)
        self.assertEqual(second.ask("SUBSCRIBE", "news"), ("subscribe", "news", 1))
        self.assertEqual(second.ask("PING"), "PONG")
        self.assertEqual(third.ask("PUBLISH", "news", "text"), 3)
        self.assertEqual(first.read(), ["message", "news", "text"])
        self.assertEqual(first.read(), ["pmessage", "n?ws*", "news", "text"])
        self.assertEqual(second.read(), ("message", "news", "text"))
        self.assertEqual(third.ask("PUBSUB", "NUMSUB", "news", "none"), ["news", 2, "none", 0])
        self.assertEqual(third.ask("PUBSUB", "CHANNELS"), ["news"])
        self.assertEqual(third.ask("PUBSUB", "NUMPAT"), 1)
        self.assertRaisesRegex(Error, "Can't execute 'get'", first.ask, "GET", "k")
        self.assertEqual(first.ask("PING", "x"), ["pong", "x"])
        self.assertEqual(second.ask("PUBLISH", "news", "own"), ("message", "news", "own"))
        self.assertEqual(second.read(), 3)
        first.close()
        while third.ask("PUBSUB", "NUMPAT") > 0:
            pass
        self.assertEqual(third.ask("PUBLISH", "news", "less"), 1)

    def test_messages_of_one_publisher_keep_their_order(self):
        listeners = self.spread()
        for listener in listeners:
            listener.ask("SUBSCRIBE", "c")
        publisher = self.client()
        for i in range(300):
            publisher.send("PUBLISH", "c", i)
        for i in range(300):
            self.assertEqual(publisher.read(), len(listeners))
        for listener in listeners:
            self.assertEqual([listener.read()[2] for _ in range(300)],
                             [str(i) for i in range(300)])

    def test_unsubscribing(self):
        client = self.client()
        self.assertEqual(client.ask("UNSUBSCRIBE"), ["unsubscribe", None, 0])
        client.send("SUBSCRIBE", "a", "b", "a")
        self.assertEqual([client.read()[2] for _ in range(3)], [1, 2, 2])
        long = "x" * 3000
        self.assertEqual(client.ask("SUBSCRIBE", long), ["subscribe", long, 3])
        self.assertEqual(client.ask("SSUBSCRIBE", "a"), ["ssubscribe", "a", 1])
        self.assertEqual(client.ask("UNSUBSCRIBE", long), ["unsubscribe", long, 2])
        self.assertEqual(self.client().ask("SPUBLISH", "a", "m"), 1)
        self.assertEqual(client.read(), ["smessage", "a", "m"])
        client.send("UNSUBSCRIBE")
        self.assertEqual(sorted(client.read()[1] for _ in range(2)), ["a", "b"])
        self.assertEqual(client.ask("SUNSUBSCRIBE"), ["sunsubscribe", "a", 0])
        self.assertIsNone(client.ask("GET", "k"))

    def test_transactions_publish_when_they_are_committed(self):
        listener, publisher = self.spread()
        listener.ask("SUBSCRIBE", "c")
        publisher.ask("WATCH", "k")
        self.client().ask("SET", "k", "other")
        for words in (["MULTI"], ["SET", "k", "v"], ["PUBLISH", "c", "lost"]):
            publisher.ask(*words)
        self.assertIsNone(publisher.ask("EXEC"))
        for words in (["MULTI"], ["PUBLISH", "c", "1"], ["SET", "k", "v"], ["PUBLISH", "c", "2"]):
            publisher.ask(*words)
        self.assertEqual(publisher.ask("EXEC"), [1, "OK", 1])
        self.assertEqual([listener.read()[2] for _ in range(2)], ["1", "2"])

    def test_a_slow_listener_is_cut_off(self):
        publisher, slow = self.client(), self.client()
        publisher.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
        self.assertIn("pubsub 1048576 0 0",
                      publisher.ask("CONFIG", "GET", "client-output-buffer-limit")[1])
        slow.ask("SUBSCRIBE", "c")
        for _ in range(1000):
            if publisher.ask("PUBLISH", "c", "x" * 100000) == 0:
                break
        else:
            self.fail("it is still there")
        self.assertRaises((EOFError, ConnectionError, TypeError),
                          lambda: [slow.read() for _ in range(1000)])

    def test_rights(self):
        admin, app = self.client(), self.client()
        admin.ask("ACL", "SETUSER", "app", "on", "nopass", "+@all", "~*", "&app:*", "(&more +@all)")
        app.ask("AUTH", "app", "x")
        self.assertRaisesRegex(Error, "NOPERM.*channels", app.ask, "SUBSCRIBE", "other")
        self.assertRaisesRegex(Error, "NOPERM.*channels", app.ask, "PSUBSCRIBE", "app:1*")
        self.assertRaisesRegex(Error, "NOPERM.*channels", app.ask, "PUBLISH", "other", "m")
        self.assertEqual(app.ask("PUBLISH", "more", "m"), 0)
        self.assertEqual(app.ask("PSUBSCRIBE", "app:*"), ["psubscribe", "app:*", 1])
        self.assertEqual(app.ask("SUBSCRIBE", "more"), ["subscribe", "more", 2])
        admin.ask("ACL", "SETUSER", "app", "&x")
        self.assertEqual(app.ask("PING"), ["pong", ""])
        admin.ask("ACL", "SETUSER", "app", "clearselectors")
        self.assertRaises(EOFError, app.ask, "PING")


class Events(Server):
    def setUp(self):
        super().setUp()
        self.listener, self.other = self.spread()
        self.listener.ask("PSUBSCRIBE", "__key*")

    def expect(self, *events):
        """Each "event key", told of the key and of the event."""
        for event in events:
            name, key = event.split(" ")
            self.assertEqual(self.listener.read()[2:], [f"__keyspace@0__:{key}", name])
            self.assertEqual(self.listener.read()[2:], [f"__keyevent@0__:{name}", key])

    def test_commands(self):
        ask = self.other.ask
        ask("SET", "silent", "1")
        self.assertRaisesRegex(Error, "Invalid event class", ask, "CONFIG", "SET",
                               "notify-keyspace-events", "KQ")
        ask("CONFIG", "SET", "notify-keyspace-events", "KEA")
        self.assertEqual(ask("CONFIG", "GET", "notify-keyspace-events")[1], "AKE")
        ask("SET", "k", "1", "EX", "100")
        self.expect("set k", "expire k")
        ask("SET", "k", "1", "NX")
        ask("INCR", "k")
        ask("APPEND", "k", "0")
        ask("SETRANGE", "k", "1", "5")
        ask("PERSIST", "k")
        ask("GETDEL", "k")
        self.expect("incrby k", "append k", "setrange k", "persist k", "del k")
        ask("MSET", "a", "1", "b", "2")
        ask("RENAME", "a", "c")
        ask("COPY", "b", "d")
        ask("DEL", "b", "c", "none")
        self.expect("set a", "set b", "rename_from a", "rename_to c", "copy_to d", "del b", "del c")
        ask("DEL", "none")
        ask("DEL", "d")
        ask("SETBIT", "d", "3", "1")
        ask("BITOP", "NOT", "e", "d")
        ask("EXPIRE", "d", "100")
        ask("PERSIST", "d")
        ask("EXPIRE", "d", "-1")
        self.expect("del d", "setbit d", "set e", "expire d", "persist d", "del d")

    def test_long_values(self):
        ask = self.other.ask
        ask("CONFIG", "SET", "notify-keyspace-events", "KEA")
        ask("SET", "k", "x" * 300000, "EX", "100")
        ask("APPEND", "k", "y" * 10)
        ask("SETRANGE", "k", "5", "z")
        ask("EXPIRE", "k", "100")
        ask("SET", "k", "1")
        ask("GETSET", "k", "x" * 100000)
        ask("MSET", "k", "x" * 100000)
        ask("GETDEL", "k")
        self.expect("set k", "expire k", "append k", "setrange k", "expire k", "set k", "set k",
                    "set k", "del k")

    def test_classes(self):
        ask = self.other.ask
        ask("CONFIG", "SET", "notify-keyspace-events", "E$mn")
        ask("SET", "k", "1")
        self.assertEqual(self.listener.read()[2:], ["__keyevent@0__:new", "k"])
        self.assertEqual(self.listener.read()[2:], ["__keyevent@0__:set", "k"])
        ask("DEL", "k")
        ask("GET", "k")
        self.assertEqual(self.listener.read()[2:], ["__keyevent@0__:keymiss", "k"])
        ask("CONFIG", "SET", "notify-keyspace-events", "A")
        ask("SET", "k", "1")
        ask("CONFIG", "SET", "notify-keyspace-events", "Kg")
        ask("SELECT", "9")
        ask("SET", "k", "1")
        ask("DEL", "k")
        self.assertEqual(self.listener.read()[2:], ["__keyspace@9__:k", "del"])

    def count(self, events):
        """In whatever order: the store tells what it has removed a little later."""
        told = collections.Counter()
        while sum(told.values()) < 2 * sum(events.values()):
            _, _, channel, data = self.listener.read()
            name = channel.split(":", 1)[1]
            told[f"{data} {name}" if channel.startswith("__keyspace") else f"{name} {data}"] += 1
        self.assertEqual(told, events + events)

    def test_what_expires(self):
        ask = self.other.ask
        ask("CONFIG", "SET", "notify-keyspace-events", "KEA")
        names = [f"k{i}" for i in range(400)]  # of all partitions: of the engines of both workers
        for name in names:
            ask("SET", name, "v", "PX", "50")
        ask("SET", "deleted", "v", "PX", "60000")
        ask("DEL", "deleted")
        events = collections.Counter(["set deleted", "expire deleted", "del deleted"])
        for event in ("set", "expire", "expired"):
            events.update(f"{event} {name}" for name in names)
        self.count(events)
        # One that is written again after its time, whoever comes first: it is told once.
        for i in range(20):
            ask("SET", "k", "v", "PX", "1")
            time.sleep(0.002)
            ask("SET", "k", "w")
        self.count(collections.Counter({"set k": 40, "expire k": 20, "expired k": 20}))
        ask("SET", "k", "v", "PX", "20")
        time.sleep(0.021)
        for words in (["MULTI"], ["APPEND", "k", "w"], ["INCR", "n"], ["EXEC"]):
            ask(*words)
        self.count(collections.Counter(["set k", "expire k", "expired k", "append k", "incrby n"]))

    def test_misses(self):
        ask = self.other.ask
        ask("CONFIG", "SET", "notify-keyspace-events", "Emn$")
        ask("CONFIG", "RESETSTAT")
        ask("SET", "is", "1")
        for words in (["GET"], ["MGET", "is"], ["EXISTS"], ["EXISTS", "is"], ["TOUCH"], ["TYPE"],
                      ["TTL"], ["PEXPIRETIME"], ["STRLEN"], ["GETRANGE", 0, 1], ["GETBIT", 1],
                      ["BITCOUNT"], ["BITPOS", 1], ["BITFIELD_RO", "GET", "u8", 0], ["DUMP"],
                      ["LCS", "is"], ["BITOP", "NOT", "is"], ["COPY", "to"], ["GETEX"], ["GETDEL"],
                      ["OBJECT", "ENCODING"], ["RENAME", "x"], ["EXPIRE", "1"], ["DEL"]):
            at = {"BITOP": 3, "OBJECT": 2}.get(words[0], 1)
            self.other.send(*words[:at], "no", *words[at:])
            self.other.read()
        ask("SET", "new", "1", "GET")
        for name in ["new is", "set is"] + ["keymiss no"] * 20 + ["keymiss new", "new new", "set new"]:
            event, key = name.split(" ")
            self.assertEqual(self.listener.read()[2:], [f"__keyevent@0__:{event}", key])
        stats = ask("INFO", "stats")
        self.assertIn("keyspace_misses:21\r", stats)
        self.assertIn("keyspace_hits:3\r", stats)

    def test_transactions_tell_when_they_are_committed(self):
        ask = self.other.ask
        ask("CONFIG", "SET", "notify-keyspace-events", "KEA")
        for words in (["MULTI"], ["SET", "a", "1"], ["INCR", "a"], ["GET", "a"], ["INCR", "x", "x"],
                      ["DEL", "a"]):
            self.assertTrue(words[0] != "MULTI" or ask(*words))
            if words[0] == "INCR" and len(words) > 2:
                self.assertRaises(Error, ask, *words)
            elif words[0] != "MULTI":
                ask(*words)
        self.assertRaisesRegex(Error, "EXECABORT", ask, "EXEC")
        for words in (["MULTI"], ["SET", "a", "1"], ["INCR", "a"], ["MSET", "b", "1", "c", "2"],
                      ["DEL", "a"]):
            ask(*words)
        ask("EXEC")
        self.expect("set a", "incrby a", "set b", "set c", "del a")


class Long(Server):
    """Values that are larger than all memory that the server has."""
    settings = ["workers.count=2", "workers.pin=no", "memory=64M", "storage.size=2G",
                "storage.segment_size=16M"]
    size = 100 << 20

    def bulk(self, client):
        head = client.file.readline()
        self.assertEqual(head[:1], b"$", head)
        data = client.file.read(int(head[1:]) + 2)
        self.assertEqual(data[-2:], b"\r\n")
        return memoryview(data)[:-2]

    def get(self, client, *words):
        client.send(*words)
        return self.bulk(client)

    def setUp(self):
        super().setUp()
        self.value = bytearray(random.Random(1).randbytes(1 << 20) * (self.size >> 20))
        self.one, self.two = self.client(), self.client()
        self.one.socket.settimeout(250)
        self.two.socket.settimeout(250)
        self.assertEqual(self.one.ask("SET", "k", bytes(self.value)), "OK")

    def test_bits(self):
        number = int.from_bytes(self.value, "big")
        self.assertEqual(self.one.ask("BITCOUNT", "k"), number.bit_count())
        self.assertEqual(self.one.ask("SETBIT", "k", 0, 1), self.value[0] >> 7)
        self.value[0] |= 0x80
        self.assertEqual(self.one.ask("BITFIELD", "k", "SET", "u8", "#70000000", "7", "GET", "u16",
                                      "#35000000"),
                         [self.value[70000000], 7 << 8 | self.value[70000001]])
        self.value[70000000] = 7
        self.assertEqual(self.one.ask("BITOP", "NOT", "n", "k"), self.size)
        self.assertEqual(self.one.ask("BITOP", "XOR", "n", "n", "k"), self.size)
        self.assertEqual(self.one.ask("BITCOUNT", "n"), self.size * 8)
        self.assertEqual(self.get(self.two, "GET", "k"), self.value)

    def test_copies(self):
        self.assertEqual(self.one.ask("COPY", "k", "c"), 1)
        self.assertEqual(self.one.ask("RENAME", "c", "d"), "OK")
        self.one.send("SET", "k", bytes(self.value[::-1]), "GET")
        self.assertEqual(self.bulk(self.one), self.value)
        dump = bytes(self.get(self.one, "DUMP", "d"))
        self.assertEqual(dump[6:-10], self.value)
        self.assertEqual(self.one.ask("RESTORE", "r", 0, dump), "OK")
        self.assertEqual(self.get(self.two, "GETDEL", "r"), self.value)
        self.assertEqual(self.get(self.two, "GETSET", "k", "short"), self.value[::-1])
        self.assertEqual(self.one.ask("GET", "k"), "short")
        self.assertRaisesRegex(Error, "checksum", self.one.ask, "RESTORE", "s", 0,
                               dump[:1000] + b"x" + dump[1001:])

    def test_transactions(self):
        self.assertEqual(self.one.ask("MULTI"), "OK")
        for words in (["SETRANGE", "k", self.size - 1, "ab"], ["APPEND", "k", "c"],
                      ["GETRANGE", "k", -4, -1], ["GET", "k"]):
            self.assertEqual(self.one.ask(*words), "QUEUED")
        self.one.send("EXEC")
        self.assertEqual([self.one.file.readline() for _ in range(3)],
                         [b"*4\r\n", b":%d\r\n" % (self.size + 1), b":%d\r\n" % (self.size + 2)])
        self.value[-1:] = b"abc"
        self.assertEqual(self.bulk(self.one), self.value[-4:])
        self.assertEqual(self.bulk(self.one), self.value)
        self.assertEqual(self.one.ask("PING"), "PONG")
        self.assertEqual(self.one.ask("APPEND", "k", bytes(self.value)), 2 * len(self.value))
        self.assertEqual(self.get(self.two, "GETRANGE", "k", len(self.value), -1), self.value)
        self.stop(signal.SIGKILL)
        self.start()
        self.assertEqual(self.get(self.client(), "GETRANGE", "k", 0, len(self.value) - 1),
                         self.value)


class Telling(Server):
    def test_metrics(self):
        client = self.client()
        client.ask("SET", "k", "v")
        client.ask("SET", "k", "v")
        text = client.ask("WEIR.METRICS")
        self.assertIn('weir_requests_total{face="resp",op="set"} 2\n', text)
        self.assertIn('weir_request_seconds_count{face="resp",op="set"} 2\n', text)
        self.assertIn('weir_connections{face="resp"} 1\n', text)
        self.assertNotIn('op="get"', text)
        self.assertEqual(len(re.findall("# TYPE weir_requests_total counter", text)), 1)

    def test_slow_log_tells_where_the_time_went(self):
        client = self.client()
        client.ask("CONFIG", "SET", "slowlog-log-slower-than", "0")
        client.ask("CLIENT", "SETNAME", "me")
        client.ask("SET", "key", "x" * 500)
        client.ask("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        entries = [dict(zip(entry[::2], entry[1::2])) for entry in client.ask("WEIR.SLOWLOG", -1)]
        entry = next(e for e in entries if e["words"][0] == "SET")
        self.assertEqual((entry["words"][1], entry["client_name"], entry["user"], entry["db"]),
                         ("key", "me", "default", 0))
        self.assertRegex(entry["client"], r"127\.0\.0\.1:\d+")
        self.assertLessEqual(entry["read_us"] + entry["commit_us"], entry["duration_us"] + 2)
        self.assertGreater(entry["commit_us"], 0)

    def test_lines_for_programs(self):
        self.stop()
        self.start("log.level=info", "log.format=json")
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(60)
        lines = [json.loads(line) for line in self.server.stderr.read().splitlines()]
        self.server.stdout.close()
        self.assertIn("store is open", [line["msg"] for line in lines])
        self.assertTrue(all({"time", "level", "msg"} <= set(line) for line in lines))
        self.server.stderr.close()
        self.start()


class Sync(Server):
    settings = ["workers.network=2", "workers.storage=2", "workers.pin=no",
                "durability.relaxed_databases=3"]

    def test_what_was_synced_is_there_after_a_kill(self):
        client = self.client()
        client.ask("SELECT", "3")
        for i in range(200):
            client.send("SET", f"k{i}", i)
        client.send("WEIR.SYNC")
        self.assertEqual([client.read() for _ in range(201)], ["OK"] * 201)
        self.stop(signal.SIGKILL)
        self.start()
        client = self.client()
        client.ask("SELECT", "3")
        self.assertEqual(client.ask("MGET", "k0", "k99", "k199"), ["0", "99", "199"])

    def test_waiting(self):
        client = self.client()
        self.assertEqual(client.ask("WAIT", "0", "100"), 0)
        self.assertEqual(client.ask("WAIT", "1", "100"), 0)
        self.assertEqual(client.ask("WAITAOF", "1", "0", "0"), [1, 0])
        self.assertEqual(client.ask("WAITAOF", "1", "1", "10"), [1, 0])
        self.assertRaisesRegex(Error, "timeout is negative", client.ask, "WAIT", "1", "-1")
        self.assertRaisesRegex(Error, "out of range", client.ask, "WAITAOF", "2", "0", "0")
        client.ask("MULTI")
        self.assertRaisesRegex(Error, "not allowed inside", client.ask, "WEIR.SYNC")


class Walks(Server):
    """Commands that look at all keys, inside a transaction."""

    def run_all(self, *commands):
        client = self.client()
        client.ask("MULTI")
        for words in commands:
            client.ask(*words.split())
        return client.ask("EXEC")

    def test_they_see_what_the_transaction_did(self):
        self.client().ask("MSET", "a", "1", "b", "2", "c", "3")
        replies = self.run_all("SET d 4", "DEL a", "SET b 5", "KEYS *", "DBSIZE", "KEYS [bd]",
                               "SCAN 0 COUNT 1000", "SET e 1", "DBSIZE", "DEL e", "KEYS e")
        self.assertEqual(sorted(replies[3]), ["b", "c", "d"])
        self.assertEqual(replies[4], 3)
        self.assertEqual(sorted(replies[5]), ["b", "d"])
        self.assertEqual(replies[6][0], "0")
        self.assertEqual(sorted(replies[6][1]), ["b", "c", "d"])
        self.assertEqual(replies[8:], [4, 1, []])
        self.assertEqual(self.client().ask("DBSIZE"), 3)

    def test_flushing(self):
        client = self.client()
        client.ask("MSET", "a", "1", "b", "2")
        replies = self.run_all("SET c 1", "FLUSHDB", "DBSIZE", "GET a", "SET b 7", "KEYS *",
                               "RANDOMKEY", "DBSIZE")
        self.assertEqual(replies, ["OK", "OK", 0, None, "OK", ["b"], "b", 1])
        self.assertEqual(client.ask("KEYS", "*"), ["b"])
        client.ask("SELECT", "3")
        client.ask("SET", "x", "1")
        self.assertEqual(self.run_all("FLUSHALL", "RANDOMKEY"), ["OK", None])
        self.assertEqual(client.ask("DBSIZE"), 0)

    def test_a_transaction_that_fails_has_flushed_nothing(self):
        client, other = self.client(), self.client()
        client.ask("SET", "a", "1")
        client.ask("WATCH", "w")
        client.ask("MULTI")
        client.ask("FLUSHALL")
        client.ask("SET", "b", "1")
        other.ask("SET", "w", "1")
        self.assertIsNone(client.ask("EXEC"))
        self.assertEqual(sorted(client.ask("KEYS", "*")), ["a", "w"])

    def test_limits_are_told(self):
        client = self.client()
        for start in range(0, 12000, 500):
            client.ask("MSET", *[w for i in range(500) for w in (f"k{start + i}", "v")])
        replies = self.run_all("SET own 1", "FLUSHDB", "DBSIZE")
        self.assertRegex(str(replies[1]), r"more than \d+ keys inside a transaction")
        self.assertEqual(replies[2], 12001)
        self.assertEqual(client.ask("DBSIZE"), 12001)
        client.ask("MULTI")
        self.assertRaisesRegex(Error, "not allowed inside", client.ask, "WEIR.RANGE", "a", "b")

    def test_random_keys_of_many(self):
        client = self.client()
        for start in (0, 500):
            client.ask("MSET", *[w for i in range(500) for w in (f"k{start + i}", "v")])
        dels = [f"DEL k{i}" for i in range(0, 1000, 2)]
        replies = self.run_all(*dels, *["RANDOMKEY"] * 50)
        self.assertTrue(all(int(key[1:]) % 2 == 1 for key in replies[500:]))
        self.assertEqual(len(replies), 550)

    def test_other_commands_do_not_split_it(self):
        replies = self.run_all("SET a 1", "CONFIG GET maxclients", "INFO server", "CLIENT ID",
                               "ACL WHOAMI", "SET b 2", "LATENCY LATEST", "DBSIZE")
        self.assertEqual(replies[-1], 2)
        self.assertEqual(replies[4], "default")


class Proxy(Server):
    """examples/proxy.c: storage and network in one loop."""

    def setUp(self):
        proxy = os.environ.get("PROXY")
        if not proxy:
            self.skipTest("$PROXY is not set")
        super().setUp()
        self.journal = self.place / "journal"
        self.proxy = subprocess.Popen(
            [proxy, "127.0.0.1:0", f"127.0.0.1:{self.port}", str(self.journal)],
            stdout=subprocess.PIPE)
        self.port = int(self.proxy.stdout.readline().decode().rpartition(":")[2])

    def tearDown(self):
        for client in self.clients:
            client.close()
        self.clients = []
        self.proxy.terminate()
        self.assertEqual(self.proxy.wait(60), 0)
        self.proxy.stdout.close()
        super().tearDown()

    def test_all_is_in_the_journal_and_comes_through(self):
        clients = [self.client() for _ in range(4)]
        for i in range(50):
            for n, client in enumerate(clients):
                client.send("SET", f"key-{n}-{i}", f"value-{n}-{i}")
        for i in range(50):
            self.assertEqual([client.read() for client in clients], ["OK"] * 4)
        big = "x" * 3000000
        self.assertEqual(clients[0].ask("SET", "big", big), "OK")
        self.assertEqual(clients[1].ask("GET", "big"), big)
        text = self.journal.read_bytes()
        for n in range(4):
            self.assertIn(b"value-%d-49" % n, text)
        self.assertIn(b"+OK", text)

    def test_the_end_of_one_side_is_the_end_of_both(self):
        client = self.client()
        client.send("QUIT")
        self.assertEqual(client.read(), "OK")
        self.assertRaises(EOFError, client.read)
        other = self.client()
        other.ask("PING")
        other.close()
        self.assertEqual(self.client().ask("PING"), "PONG")


def loop_device(size):
    """A loop device on a new file, and the file; None where they cannot be made."""
    file = tempfile.NamedTemporaryFile(prefix="weir_loop.")
    file.truncate(size)
    try:
        made = subprocess.run(["losetup", "--find", "--show", file.name], capture_output=True,
                              text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    return (made.stdout.strip(), file) if made.returncode == 0 else (None, None)


class Device(Server):
    """A store on a block device, without a file system."""

    def start(self, *settings, path=None):
        super().start(*settings, path=path or self.device)

    def setUp(self):
        self.device, file = loop_device(512 << 20)
        if not self.device:
            self.skipTest("no loop device can be made here")
        self.addCleanup(file.close)
        self.addCleanup(subprocess.run, ["losetup", "--detach", self.device], check=False)
        super().setUp()

    def head(self):
        with open(self.device, "rb") as device:
            return device.read(1 << 20)

    def test_it_is_there_again(self):
        client = self.client()
        for i in range(300):
            client.send("SET", f"k{i}", f"v{i}" * 100)
        self.assertEqual([client.read() for _ in range(300)], ["OK"] * 300)
        client.ask("SET", "blob", "y" * 5000000)
        self.stop(signal.SIGKILL)
        self.start()
        client = self.client()
        self.assertEqual(client.ask("DBSIZE"), 301)
        self.assertEqual(client.ask("GET", "k299"), "v299" * 100)
        self.assertEqual(len(client.ask("GET", "blob")), 5000000)
        self.stop()
        checked = subprocess.run([WEIR, "check", self.device], capture_output=True, text=True,
                                 timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.start()

    def test_what_is_not_ours_is_left_alone(self):
        self.stop()
        with open(self.device, "r+b") as device:
            device.write(b"somebody else's" * 1000)
        before = self.head()
        self.assertRaisesRegex(AssertionError, self.device, self.start)
        self.assertEqual(self.head(), before)
        subprocess.run(["dd", "if=/dev/zero", f"of={self.device}", "bs=1M", "count=8"],
                       check=True, capture_output=True)
        self.start()


if __name__ == "__main__":
    if not WEIR:
        print("no weir: $WEIR is not set")
        sys.exit(77)
    unittest.main(verbosity=2)
