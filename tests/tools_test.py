#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tools that judge the tree are judged: each rule finds the offence planted for it, no more."""
import json
import pathlib
import subprocess
import sys
import tempfile

TOOLS = pathlib.Path(__file__).resolve().parent.parent / "tools"
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"

# The file, what stands in it, and what the tree check must say of it (None: nothing).
PLANTED = [
    ("src/wire/a.c", '#include "core/req.h"\n', "wire/ may not include core/"),
    ("src/layer/a.c", '#include "engine/log.h"\n', "layer/ may not include engine/"),
    ("src/base/a.c", '#include "core/req.h"\n', "base/ may not include core/"),
    ("src/lib/a.c", '#include "transport/io.h"\n', "lib/ may not include transport/"),
    ("src/host/a.c", '#include "server/glob.h"\n', "host/ may not include server/"),
    ("src/host/b.c", '#include <time.h>\n#include "transport/io.h"\n', None),
    ("src/engine/a.c", "#include <liburing.h>\n", "<liburing.h> is for transport/"),
    ("src/proto/a.c", "#include <assert.h>\n", "<assert.h> is for no file"),
    ("src/core/a.c", "#include <hwloc.h>\n", "<hwloc.h> is for core/topology."),
    ("src/server/a.c", "#include <stdatomic.h>\n", "<stdatomic.h> is for base/ring."),
    ("src/engine/b.c", "void f(void)\n{\n\tstrcpy(a, b);\n}\n", "unbounded string"),
    ("src/engine/c.c", "void f(void)\n{\n\tx = time(NULL);\n}\n", "the time is worker->now_ns"),
    ("src/engine/d.c", "void f(void)\n{\n\tx = rand();\n}\n", "chance is struct prng"),
    ("src/engine/e.c", "void f(void)\n{\n\tusleep(1);\n}\n", "nothing sleeps"),
    ("src/engine/f.c", "void put(void)\n{\n\tx = malloc(1);\n}\n", "memory is taken in x_open()"),
    ("src/engine/g.c", "void log_open(void)\n{\n\tx = malloc(1);\n}\n", None),
    ("src/engine/h.c", "int key_len;\n", "key_len: say _size"),
    ("src/engine/i.c", '/* strcpy(), rand() */ const char *s = "malloc(len)";\n', None),
    ("src/engine/j.c", "int wid" + "e" * 100 + ";\n", "more than 100 columns"),
    ("src/engine/k.c", "int x; \n", "white space at the end"),
    ("src/engine/l.c", "int f(void)\n{\n" + "\tg();\n" * 71 + "}\n", "f() has 71 lines"),
    ("src/engine/m.c", "int f(void)\n{\n" + "\tg();\n" * 70 + "}\n", None),
    ("src/engine/n.c", "int x;\n" * 800, "more than 800 lines"),
    ("src/engine/o.h", "int x;\n", "the include guard is not ENGINE_O_H"),
    ("src/engine/p.h", "#ifndef ENGINE_P_H\n#define ENGINE_P_H\nstruct q x;\n#endif\n",
     "does not compile alone"),
    ("src/cli/a.c", '#include <time.h>\n#include "transport/io.h"\n', None),
]

PROGRAMS = [  # of a test log: result, output, and what the report counts: passed, failed, skipped
    ("OK", "1..2\nok 1 - a\nok 2 - b\n# ok - tests\n", (2, 0, 0)),
    ("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n", (1, 1, 0)),
    ("OK", "1..2\nok 1 - a\nnot ok 2 # SKIP b\n", (1, 0, 1)),
    ("ERROR", "1..3\nok 1 - a\n", (1, 2, 0)),
    ("FAIL", "ok 1 - a\n1..1\n", (1, 1, 0)),
    ("OK", "1..1\nok 1 - a\n1..1\nok 1 - b\n", (2, 0, 0)),
    ("SKIP", "1..0 # SKIP no such program\n", (0, 0, 1)),
    ("SKIP", "", (0, 0, 1)),
    ("OK", "no TAP here\n", (1, 0, 0)),
    ("TIMEOUT", "", (0, 1, 0)),
]


def check_tree(root):
    done = subprocess.run([TOOLS / "check_tree.py", "--root", root], capture_output=True, text=True)
    return done.returncode, done.stdout


def check_planted():
    for place, text, want in PLANTED:
        with tempfile.TemporaryDirectory() as root:
            path = pathlib.Path(root) / place
            path.parent.mkdir(parents=True)
            path.write_text(SPDX + text)
            status, said = check_tree(root)
            good = status == 0 if want is None else status == 1 and want in said
            yield good, f"{place}: {want or 'nothing to say'}", said


def check_report():
    for result, output, want in PROGRAMS:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
            json.dump({"name": "suite / x", "result": result, "stdout": output}, log)
            log.flush()
            done = subprocess.run([TOOLS / "test_report.py", log.name], capture_output=True,
                                  text=True)
        last = done.stdout.splitlines()[-1]
        bad = want[1] > 0 or want[0] == 0
        good = last == "{} passed, {} failed, {} skipped".format(*want) and done.returncode == bad
        yield good, f"report of {result} {output!r}".replace("#", ""), done.stdout


def main():
    cases = [*check_planted(), *check_report()]
    print(f"1..{len(cases)}")
    for number, (good, name, said) in enumerate(cases, 1):
        print(f"{'ok' if good else 'not ok'} {number} - {name}")
        if not good:
            print("# " + said.strip().replace("\n", "\n# "))
    return 0 if all(case[0] for case in cases) else 1


sys.exit(main())
