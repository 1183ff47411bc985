#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The house's walls (docs/architecture.md), checked by reading the sources.

Which room may include which, where foreign headers and dangerous calls may stand, and the house
style that a machine can judge. Needs no build and no privilege.
"""
import os
import re
import shutil
import subprocess
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LONGEST_FUNCTION = 60

# Room: what its files may include besides themselves. The ground floor first.
FLOORS = {
    "common": [],
    "db": ["common"],
    "allocator/helpers": ["common"],
    "allocator": ["common", "db"],
    "allocator/cli": ["common", "db", "allocator"],
    "allocator/daemon": ["common", "db", "allocator"],
    "provision": ["common", "db"],  # and the two headers of PROVISION_MAY
    "include": [],
    "tests": ["common", "db", "allocator", "allocator/cli", "allocator/daemon", "allocator/helpers",
              "provision"],
    "docs": [],
    "data": [],
}
# The public face and what meson writes may be included by everyone.
EVERYWHERE = {"uidpool.h", "build_config.h"}

# What provision may have of the allocator: its operations on the ledger, and who owns which ids.
PROVISION_MAY = {"allocator/allocator.h", "allocator/hostrange.h"}

# Foreign header: the only product files that may include it.
FOREIGN = {
    r"sqlite3\.h": r"db/",
    r"jansson\.h": r"allocator/cli/render[^/]*\.[ch]$|allocator/daemon/|provision/show\.c$",
    r"libsmartcols/libsmartcols\.h|libsmartcols\.h": r"allocator/cli/",
    r"libeconf\.h": r"common/config\.c$|allocator/hostrange\.c$",
    r"xenstore\.h|xs\.h": r"allocator/[^/]*xenstore\.c$",
    r"cap-ng\.h": r"allocator/",
}

# Call: the only product files that may make it.
CALLS = {
    # set*id and kill: the helpers, which are small enough to be read, and the verb `run`.
    r"set(res|re|e|fs)?[ug]id|setgroups|initgroups|SYS_set(res|re|fs)?[ug]id(32)?":
        r"allocator/helpers/|allocator/cli/run\.c$",
    r"kill|killpg|tkill|tgkill|SYS_tg?kill": r"allocator/helpers/",
    # Starting a helper ends the helper that is late: its own child.
    r"SYS_kill": r"allocator/helpers/|common/spawn\.c$",
    r"(SYS_)?pidfd_send_signal": r"allocator/reaper\.c$|allocator/helpers/|common/spawn\.c$",
    # One place where text becomes a number.
    r"ato(i|l|ll|f)|strto(l|ul|ll|ull|imax|umax|f|d|ld)|v?f?s?scanf": r"common/ids\.c$",
    r"sqlite3_\w+": r"db/",
    # Nowhere at all.
    r"strcpy|strcat|stpcpy|v?sprintf|gets|system|popen|tmpnam|mktemp|alloca": r"(?!)",
}


def all_files():
    for folder, folders, files in os.walk(TOP):
        folders[:] = sorted(f for f in folders
                            if f != ".git" and f != "__pycache__" and not f.startswith("build"))
        for name in sorted(files):
            yield os.path.relpath(os.path.join(folder, name), TOP)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def c_files():
    return [path for path in all_files() if path.endswith((".c", ".h"))]


def room_of(path):
    folder = os.path.dirname(path)
    while folder and folder not in FLOORS:
        folder = os.path.dirname(folder)
    return folder


def without_comments(text, keep_strings=False):
    """Comments, and string literals unless kept, become blanks; lines stay where they are."""
    def blank(match):
        found = match[0]
        if found[0] == "/" or not keep_strings:
            return re.sub(r"[^\n]", " ", found)
        return found
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def broken_floors(path, text):
    room = room_of(path)
    if not room:
        yield f"{path}: a C file outside of every room"
        return
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"',
                             without_comments(text, keep_strings=True), re.M):
        target = match[1]
        if target in EVERYWHERE:
            continue
        if "/" not in target:
            # Made at build time, beside the file itself.
            if os.path.splitext(target)[1] in (".inc", ".c"):
                continue
            yield f"{path}: {target}: include it by its path from the top directory"
        elif room == "provision" and target in PROVISION_MAY:
            continue
        elif room_of(target) != room and room_of(target) not in FLOORS[room]:
            yield f"{path}: {room} may not include {target}"


def broken_foreign(path, text):
    if room_of(path) == "tests":
        return
    for match in re.finditer(r"^[ \t]*#[ \t]*include[ \t]+<([^>]+)>", without_comments(text), re.M):
        for header, allowed in FOREIGN.items():
            if re.fullmatch(header, match[1]) and not re.match(allowed, path):
                yield f"{path}: <{match[1]}> may be included by {allowed} alone"


def broken_calls(path, text):
    if room_of(path) == "tests":
        return
    code = without_comments(text)
    for call, allowed in CALLS.items():
        if re.match(allowed, path):
            continue
        for match in re.finditer(rf"(?<![\w.>])(?:{call})[ \t\n]*(?=[(,)])", code):
            yield f"{path}:{line_of(code, match.start())}: {match[0].strip()} is not called here"


def long_functions(path, text):
    """clang-format puts a function's braces in the first column, and nothing else's but types'."""
    start, head = None, ""
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > LONGEST_FUNCTION:
                yield f"{path}:{start}: {number - start - 1} lines: {head}"
            start = None
        elif line and line[0] not in " \t#":
            head = line.strip()


def wants_licence(path, text):
    name = os.path.basename(path)
    return (path.endswith((".c", ".h", ".py", ".sh", ".sql", ".map"))
            or re.search(r"\.[1-8]$", name)
            or name in ("meson.build", "meson_options.txt")
            or text.startswith("#!"))


def broken_licence(path, text):
    if wants_licence(path, text) and \
            not any("SPDX-License-Identifier: LGPL-2.1-or-later" in line
                    for line in text.splitlines()[:3]):
        yield f"{path}: no SPDX line at its head"


def broken_head(path, text):
    if path.endswith((".c", ".h")) and room_of(path) and \
            not re.match(r"/\* SPDX[^\n]*\*/\n/\*", text):
        yield f"{path}: no comment under the SPDX line that says what the room is for"


class Walls(unittest.TestCase):
    def judge(self, rule, files):
        found = [finding for path in files for finding in rule(path, read(path))]
        if found:
            self.fail("\n" + "\n".join(found))

    def test_sources_are_found(self):
        rooms = {room_of(path) for path in c_files()}
        self.assertLessEqual({"common", "db", "allocator", "allocator/cli", "include"}, rooms)

    def test_nothing_reaches_upward(self):
        self.judge(broken_floors, c_files())

    def test_foreign_headers_stay_in_their_room(self):
        self.judge(broken_foreign, c_files())

    def test_dangerous_calls_stay_in_their_room(self):
        self.judge(broken_calls, c_files())

    def test_a_function_fits_a_screen(self):
        self.judge(long_functions, c_files())

    def test_every_file_names_its_licence(self):
        self.judge(broken_licence, all_files())

    def test_every_c_file_says_what_it_is_for(self):
        self.judge(broken_head, c_files())

    def test_clang_format_agrees(self):
        tool = shutil.which("clang-format") or shutil.which("clang-format-14")
        if not tool:
            self.skipTest("clang-format is not installed")
        run = subprocess.run([tool, "--dry-run", "-Werror", *c_files()], cwd=TOP, text=True,
                             stdin=subprocess.DEVNULL, capture_output=True, check=False)
        self.assertEqual(run.returncode, 0, "\n" + run.stderr[:4000])


class TheRulesThemselves(unittest.TestCase):
    """Each rule sees what it forbids, and leaves alone what it allows."""

    def sees(self, rule, path, text):
        self.assertTrue(list(rule(path, text)), (rule.__name__, path, text))

    def allows(self, rule, path, text):
        self.assertFalse(list(rule(path, text)), (rule.__name__, path, text))

    def test_floors(self):
        self.sees(broken_floors, "common/a.c", '#include "db/ledger.h"\n')
        self.sees(broken_floors, "db/a.c", '#  include "allocator/scan.h"\n')
        self.sees(broken_floors, "allocator/a.c", '#include "allocator/cli/verbs.h"\n')
        self.sees(broken_floors, "provision/a.c", '#include "allocator/lease.h"\n')
        self.allows(broken_floors, "provision/a.c", '#include "allocator/hostrange.h"\n')
        self.sees(broken_floors, "allocator/helpers/a.c", '#include "db/ledger.h"\n')
        self.sees(broken_floors, "db/a.c", '#include "ledger.h"\n')
        self.allows(broken_floors, "allocator/cli/a.c", '#include "allocator/lease.h"\n')
        self.allows(broken_floors, "db/a.c", '#include "db/ledger.h"\n#include "uidpool.h"\n')
        self.allows(broken_floors, "db/a.c", '/* #include "allocator/scan.h" */\n')

    def test_foreign_headers(self):
        self.sees(broken_foreign, "allocator/lease/lease.c", "#include <sqlite3.h>\n")
        self.sees(broken_foreign, "allocator/libuidpool.c", "#include <jansson.h>\n")
        self.sees(broken_foreign, "common/log.c", "#include <libsmartcols/libsmartcols.h>\n")
        self.sees(broken_foreign, "allocator/lease/lease.c", "#include <libeconf.h>\n")
        self.allows(broken_foreign, "db/pool.c", "#include <sqlite3.h>\n")

    def test_calls(self):
        self.sees(broken_calls, "allocator/lease/lease.c", "kill(pid, 9);\n")
        self.sees(broken_calls, "allocator/lease/lease.c", "x = syscall(SYS_setresuid, 1, 1, 1);\n")
        self.sees(broken_calls, "allocator/lease/lease.c", "syscall(SYS_pidfd_send_signal, fd, 9);\n")
        self.sees(broken_calls, "allocator/scan.c", "syscall(SYS_kill, 1, 9);\n")
        self.sees(broken_calls, "common/spawn.c", "syscall(SYS_tgkill, 1, 1, 9);\n")
        self.sees(broken_calls, "allocator/scan.c", "return strtoul (text, NULL, 10);\n")
        self.sees(broken_calls, "allocator/helpers/reap.c", "n = atoi(argv[1]);\n")
        self.sees(broken_calls, "common/log.c", "strcpy(a, b);\n")
        self.allows(broken_calls, "allocator/helpers/reap.c", "setresuid(a, b, 0); kill(-1, 9);\n")
        self.allows(broken_calls, "allocator/lease/lease.c", '/* kill(-1) */ log("kill(-1)");\n')
        self.allows(broken_calls, "allocator/lease/lease.c", "tasks_kill(x); l->kill(x); reaper_kill(x);")

    def test_functions(self):
        body = "    x++;\n" * LONGEST_FUNCTION
        self.allows(long_functions, "a.c", "int f(void)\n{\n" + body + "}\n")
        self.sees(long_functions, "a.c", "int f(void)\n{\n" + body + "    x++;\n}\n")

    def test_licence_and_head(self):
        self.sees(broken_licence, "common/a.c", "int x;\n")
        self.sees(broken_licence, "quickstart", "#!/bin/sh\necho\n")
        self.sees(broken_head, "common/a.c", "/* SPDX-License-Identifier: x */\nint x;\n")
        self.allows(broken_head, "common/a.c", "/* SPDX-License-Identifier: x */\n/* Why. */\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
