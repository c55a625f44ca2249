#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard in headless Chromium: its script runs under the policy that came with it, and shows
what the server did. --screenshots DIR keeps pictures: light, dark, and as wide as a phone."""
import os
import re
import shutil
import subprocess
import tempfile

from judge import CACHE, Tap, parser, skip
from servers import Weir, free_port

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr"]
LOOKS_MS = 9000  # of the page's own time: it looks every two seconds
PICTURES = {"light": ["--window-size=1280,1500"],
            "dark": ["--window-size=1280,1500", "--blink-settings=preferredColorScheme=0"],
            "phone": ["--window-size=412,2600"]}


def browse(browser, url, *flags):
    with tempfile.TemporaryDirectory(prefix="weir_browser.") as profile:
        return subprocess.run([browser, *FLAGS, f"--user-data-dir={profile}",
                               f"--virtual-time-budget={LOOKS_MS}", *flags, url],
                              capture_output=True, text=True, timeout=120)


def main():
    made = parser(__doc__)
    made.add_argument("--screenshots", metavar="DIR")
    options = made.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser:
        skip("no chromium (package chromium)")
    tap = Tap()
    http_port = free_port()
    with Weir(CACHE / f"dashboard-{os.getpid()}",
              settings=[f"http.listen=127.0.0.1:{http_port}"]) as server:
        subprocess.run(["redis-benchmark", "-p", str(server.port), "-t", "set,get", "-n", "2000",
                        "-q"], check=True, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{http_port}/dashboard"
        run = browse(browser, url, "--dump-dom")
        page = run.stdout
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("<main>")[2]))
        tap.case('id="state" role="status" class="good">ready<' in page, "it says ready", page[:600])
        looks = re.search(r'data-looks="(\d+)"', page)
        tap.case(looks and int(looks[1]) >= 2, "it looks again and again", run.stderr[-2000:])
        tap.case("resp set" in text and "2.00 K" in text, "it shows what was done", text[:1500])
        tap.case(page.count("<path") >= 4, "it draws", page.count("<path"))
        tap.case("CONSOLE" not in run.stderr, "the browser has nothing to say", run.stderr[-2000:])
        for name, flags in PICTURES.items() if options.screenshots else ():
            path = os.path.join(os.path.abspath(options.screenshots), f"{name}.png")
            browse(browser, url, f"--screenshot={path}", *flags)
            tap.case(os.path.getsize(path) > 10000, f"a picture: {path}")
    tap.plan()


if __name__ == "__main__":
    main()
