# SPDX-License-Identifier: Apache-2.0
"""A weir that serves NBD, with volumes, for the judges of that face."""
import contextlib
import os
import shutil
import subprocess

from judge import CACHE, skip
from servers import Weir, free_port


class Nbd(Weir):
    def __init__(self, directory, settings=()):
        self.nbd_port = free_port()
        super().__init__(directory, memory="256M",
                         settings=(f"nbd.listen=127.0.0.1:{self.nbd_port}", "storage.size=4G",
                                   *settings))

    def uri(self, name):
        return f"nbd://127.0.0.1:{self.nbd_port}/{name}"

    def volume(self, *words, check=True):
        """weir volume WORDS: its output, and whether it was done."""
        run = subprocess.run([self.program, "volume", *words,
                              "--address", f"127.0.0.1:{self.port}",
                              "--nbd", f"127.0.0.1:{self.nbd_port}"],
                             capture_output=True, text=True, timeout=300)
        if check and run.returncode:
            raise RuntimeError(f"weir volume {words}: {run.stderr}")
        return run.stdout + run.stderr, run.returncode


def need(*programs):
    for program, package in programs:
        if not shutil.which(program):
            skip(f"no {program} (package {package})")


@contextlib.contextmanager
def served(settings=()):
    with Nbd(CACHE / f"nbd-{os.getpid()}", settings) as server:
        yield server


def run(*words, timeout=300):
    """Output, and whether it exited with 0."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout)
    return done.stdout + done.stderr, done.returncode == 0
