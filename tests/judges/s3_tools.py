#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The S3 face through programs that people use: s3cmd, awscli, rclone, restic, each if installed."""
import contextlib
import filecmp
import os
import pathlib
import random
import shutil
import subprocess
import urllib.request

from judge import CACHE, Tap, parser, skip
from s3_server import KEYS, REGION, served

ACCESS, SECRET = KEYS["main"]
MIB = 1 << 20


class Workplace:
    def __init__(self, server, home):
        self.server, self.home, self.said = server, home, ""
        self.environment = dict(os.environ, HOME=str(home), AWS_ACCESS_KEY_ID=ACCESS,
                                AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION=REGION,
                                AWS_EC2_METADATA_DISABLED="true", RESTIC_PASSWORD="secret")
        self.environment.pop("AWS_CA_BUNDLE", None)  # rclone cannot take it

    def run(self, *words, good=True):
        done = subprocess.run([str(w) for w in words], cwd=self.home, env=self.environment,
                              capture_output=True, text=True, timeout=300)
        self.said = done.stdout + done.stderr
        if (done.returncode == 0) != good:
            raise AssertionError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{self.said}")
        return done.stdout

    def tree(self, name, sizes):
        top = self.home / name
        for index, size in enumerate(sizes):
            path = top / f"d{index % 3}" / f"file {index}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.Random(size).randbytes(size))
        return top


def same(one, two):
    compared = filecmp.dircmp(one, two)
    assert not compared.left_only and not compared.right_only, (compared.left_only,
                                                                 compared.right_only)
    for name in compared.common_files:
        assert filecmp.cmp(one / name, two / name, shallow=False), name
    for name in compared.common_dirs:
        same(one / name, two / name)


SIZES = (0, 1, 5 * MIB, 100, 65536, 18 * MIB, 4097)


def s3cmd(w):
    words = ("s3cmd", f"--access_key={ACCESS}", f"--secret_key={SECRET}", "--no-ssl",
             f"--host=127.0.0.1:{w.server.s3_port}",
             f"--host-bucket=127.0.0.1:{w.server.s3_port}", f"--region={REGION}")
    top = w.tree("s3cmd-tree", SIZES)
    w.run(*words, "mb", "s3://s3cmd-one")
    w.run(*words, "sync", f"{top}/", "s3://s3cmd-one/tree/")
    assert w.run(*words, "ls", "-r", "s3://s3cmd-one").count("\n") == len(SIZES)
    w.run(*words, "sync", "s3://s3cmd-one/tree/", f"{w.home}/s3cmd-back/")
    same(top, w.home / "s3cmd-back")
    w.run(*words, "cp", "s3://s3cmd-one/tree/d0/file 0.bin", "s3://s3cmd-one/copy")
    w.run(*words, "info", "s3://s3cmd-one/copy")
    w.run(*words, "rb", "s3://s3cmd-one", good=False)
    w.run(*words, "rb", "--recursive", "--force", "s3://s3cmd-one")


def aws(w):
    words = ("aws", "--endpoint-url", w.server.url)
    # Version 1 of the program still presigns with Signature Version 2 when nobody says otherwise.
    (w.home / ".aws").mkdir(exist_ok=True)
    (w.home / ".aws/config").write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    top = w.tree("aws-tree", SIZES)
    w.run(*words, "s3", "mb", "s3://aws-one")
    w.run(*words, "s3", "sync", top, "s3://aws-one/tree")
    assert w.run(*words, "s3", "ls", "--recursive", "s3://aws-one").count("\n") == len(SIZES)
    w.run(*words, "s3", "sync", "s3://aws-one/tree", w.home / "aws-back")
    same(top, w.home / "aws-back")
    w.run(*words, "s3", "mv", "s3://aws-one/tree/d2/file 5.bin", "s3://aws-one/moved")
    url = w.run(*words, "s3", "presign", "s3://aws-one/moved").strip()
    assert urllib.request.urlopen(url).read() == (top / "d2/file 5.bin").read_bytes()
    w.run(*words, "s3api", "put-bucket-versioning", "--bucket", "aws-one",
          "--versioning-configuration", "Status=Enabled")
    w.run(*words, "s3", "rm", "s3://aws-one/moved")
    assert "DeleteMarkers" in w.run(*words, "s3api", "list-object-versions", "--bucket", "aws-one")
    w.run(*words, "s3", "rb", "s3://aws-one", good=False)


def rclone(w):
    config = w.home / "rclone.conf"
    config.write_text(f"[w]\ntype = s3\nprovider = Other\naccess_key_id = {ACCESS}\n"
                      f"secret_access_key = {SECRET}\nendpoint = {w.server.url}\n"
                      f"region = {REGION}\nforce_path_style = true\n")
    words = ("rclone", "--config", config)
    top = w.tree("rclone-tree", SIZES)
    w.run(*words, "mkdir", "w:rclone-one")
    w.run(*words, "copy", top, "w:rclone-one/tree")
    w.run(*words, "check", "--download", top, "w:rclone-one/tree")
    w.run(*words, "check", top, "w:rclone-one/tree")
    w.run(*words, "sync", "w:rclone-one/tree", w.home / "rclone-back")
    same(top, w.home / "rclone-back")
    w.run(*words, "moveto", "w:rclone-one/tree/d0/file 0.bin", "w:rclone-one/other")
    (top / "d0/file 0.bin").unlink()
    w.run(*words, "sync", top, "w:rclone-one/tree")
    assert w.run(*words, "lsf", "-R", "--files-only", "w:rclone-one").count("\n") == len(SIZES)
    w.run(*words, "purge", "w:rclone-one")


def restic(w):
    words = ("restic", "-r", f"s3:{w.server.url}/restic-one")
    top = w.tree("restic-tree", SIZES)
    w.run(*words, "init")
    w.run(*words, "backup", top)
    (top / "new").write_text("new")
    w.run(*words, "backup", top)
    w.run(*words, "check", "--read-data")
    w.run(*words, "forget", "--keep-last", "1", "--prune")
    w.run(*words, "check", "--read-data")
    w.run(*words, "restore", "latest", "--target", w.home / "restic-back")
    same(top, w.home / "restic-back" / top.relative_to("/"))


def main():
    arguments = parser(__doc__)
    arguments.add_argument("names", nargs="*", help="only these programs")
    options, tap = arguments.parse_args(), Tap()
    programs = [p for p in (s3cmd, aws, rclone, restic)
                if shutil.which(p.__name__) and (not options.names or p.__name__ in options.names)]
    if not programs:
        skip("none of s3cmd, aws, rclone, restic (packages s3cmd, awscli, rclone, restic)")
    home = pathlib.Path(CACHE / f"s3-home-{os.getpid()}").resolve()
    home.mkdir(parents=True)
    with served() as server, contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        for program in programs:
            workplace = Workplace(server, home)
            try:
                program(workplace)
                tap.case(True, program.__name__)
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                tap.case(False, program.__name__, error)
    tap.plan()


main()
