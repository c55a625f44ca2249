# SPDX-License-Identifier: Apache-2.0
"""A weir that serves S3, with two users whose keys are known, for the judges of that face."""
import contextlib
import os
import subprocess

from judge import CACHE
from servers import Weir, free_port

KEYS = {"main": ("MAINACCESSKEY", "mainsecretkey0123456789"),
        "alt": ("ALTACCESSKEY", "altsecretkey0123456789")}
REGION = "us-east-1"


class S3(Weir):
    def __init__(self, directory, settings=()):
        self.s3_port = free_port()
        super().__init__(directory, settings=(f"s3.listen=127.0.0.1:{self.s3_port}",
                                              "http.listen=off", *settings))
        self.url = f"http://127.0.0.1:{self.s3_port}"

    def add_keys(self):
        for user, (access, secret) in KEYS.items():
            subprocess.run([self.program, "key", "create", "--address", f"127.0.0.1:{self.port}",
                            "--user", user, "--name", f"{user} of tests",
                            "--email", f"{user}@example.com", "--access", access,
                            "--secret", secret], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def served(settings=()):
    with S3(CACHE / f"s3-{os.getpid()}", settings) as server:
        server.add_keys()
        yield server
