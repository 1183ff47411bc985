# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of uidpool-provision share: small trees with account files, a whole Debian below
build/, what is in a tree, and what is in its ledger."""
import hashlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import tempfile
import unittest

import support

PROGRAM = os.path.join(support.BUILD, "provision", "uidpool-provision")
LEDGER = "var/lib/uidpool/ledger.db"
# /etc of a host that is like many.
BASE = os.path.join(support.TOP, "tests", "golden", "base", "etc")
SAVED = ["etc", os.path.dirname(LEDGER)]
FILES = ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"]
SHADOW_GID = 42  # of Debian's group shadow
LIMIT = 120  # seconds for one run

# Below --root there is no /proc, and without that LeakSanitizer ends the program with an error of
# its own. The helpers of `uidpool` are watched for leaks by their own tests.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
               "ASAN_OPTIONS": "detect_leaks=0"}


def is_sanitized():
    with open(PROGRAM, "rb") as file:
        return b"__asan_init" in file.read()


def mode_of(name):
    """As Debian has it: what git stores says nothing about it. (mode, group)"""
    name = name.rstrip("-")
    if name in ("shadow", "gshadow"):
        return 0o640, SHADOW_GID
    return (0o600 if name.endswith("lock") else 0o644), 0


class Tree:
    """A directory to be given to --root, and how to look at it."""

    def __init__(self, path):
        self.path = path
        os.makedirs(self.etc(), exist_ok=True)
        os.makedirs(os.path.join(path, "var", "lib"), exist_ok=True)

    def etc(self, name=""):
        return os.path.join(self.path, "etc", name)

    def read(self, name):
        with open(self.etc(name), "rb") as file:
            return file.read()

    def write(self, name, data):
        """A new file with owner and mode as Debian has them."""
        if os.path.lexists(self.etc(name)):
            os.unlink(self.etc(name))
        with open(self.etc(name), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        mode, gid = mode_of(name)
        os.chown(self.etc(name), 0, gid)
        os.chmod(self.etc(name), mode)

    def copy_from(self, folder):
        """The files of a directory become the tree's /etc/*; symbolic links stay such."""
        for name in sorted(os.listdir(folder)):
            source = os.path.join(folder, name)
            if os.path.islink(source):
                if os.path.lexists(self.etc(name)):
                    os.unlink(self.etc(name))
                os.symlink(os.readlink(source), self.etc(name))
            else:
                with open(source, "rb") as file:
                    self.write(name, file.read())

    def command(self, *args):
        return [PROGRAM, f"--root={self.path}", *map(str, args)]

    def run(self, *args, **options):
        options = {"env": ENVIRONMENT, "text": True, "timeout": LIMIT, **options}
        return subprocess.run(self.command(*args), stdin=subprocess.DEVNULL, capture_output=True,
                              check=False, **options)

    def look(self, name):
        """One file: type and mode, owner, attributes, contents."""
        path = self.etc(name)
        st = os.lstat(path)
        data = os.readlink(path) if stat.S_ISLNK(st.st_mode) else None
        if stat.S_ISREG(st.st_mode):
            with open(path, "rb") as file:
                data = hashlib.sha256(file.read()).hexdigest()
        attributes = {key: os.getxattr(path, key, follow_symlinks=False)
                      for key in os.listxattr(path, follow_symlinks=False)}
        return oct(st.st_mode), st.st_uid, st.st_gid, attributes, data

    def digest(self):
        """Everything in /etc, by name."""
        return {name: self.look(name) for name in sorted(os.listdir(self.etc()))}

    def names(self):
        return set(os.listdir(self.etc()))

    def save(self):
        """The files of /etc and of the ledger, to be had again with restore()."""
        saved = {}
        for folder in SAVED:
            folder = os.path.join(self.path, folder)
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                path = os.path.join(folder, name)
                st = os.lstat(path)
                if stat.S_ISREG(st.st_mode):
                    with open(path, "rb") as file:
                        saved[path] = file.read(), st
        return saved

    def restore(self, saved):
        for folder in SAVED:
            folder = os.path.join(self.path, folder)
            os.makedirs(folder, exist_ok=True)
            for entry in list(os.scandir(folder)):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
            if not any(path.startswith(folder + "/") for path in saved):
                os.rmdir(folder)
        for path, (data, st) in saved.items():
            with open(path, "wb") as file:
                file.write(data)
            os.chown(path, st.st_uid, st.st_gid)
            os.chmod(path, stat.S_IMODE(st.st_mode))

    def ledger(self):
        """The ledger's rows as lines of text, without times and boots; empty if there is none. A
        copy is read, so that looking changes nothing."""
        path = os.path.join(self.path, LEDGER)
        if not os.path.exists(path):
            return []
        with tempfile.TemporaryDirectory(prefix="uidpool-test-") as folder:
            for suffix in ("", "-wal"):
                if os.path.exists(path + suffix):
                    shutil.copy(path + suffix, os.path.join(folder, "copy" + suffix))
            database = sqlite3.connect(os.path.join(folder, "copy"))
            try:
                return list(dump(database))
            except sqlite3.DatabaseError as error:
                with open(path, "rb") as file:
                    return [f"{error}: {file.read()}"]
            finally:
                database.close()


SILENT = {"at", "boot", "created_at", "leased_at", "since", "rest_until"}


def dump(database):
    """Every row of every table, in order of the first column."""
    tables = [name for (name,) in database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
        "ORDER BY name")]
    for table in tables:
        rows = database.execute(f"SELECT * FROM {table} ORDER BY 1")
        columns = [column[0] for column in rows.description]
        for row in rows:
            fields = [f"{column}={value}" for column, value in zip(columns, row)
                      if column not in SILENT and value is not None]
            yield f"{table}: {' '.join(fields)}"


def is_leftover(name):
    """Would this be what a dead tool left in /etc: a lock, a temporary? Backups and .pwd.lock are
    not."""
    return any(re.fullmatch(rf"{file}(\.lock|\.\d+|\+)|\.#{file}.{{6}}|\.{file}-?\.uidpool", name)
               for file in FILES)


def parse(data):
    """The lines of an account file as lists of fields."""
    return [line.split(":") for line in data.decode("utf-8", "surrogateescape").split("\n") if line]


class TreeCase(unittest.TestCase):
    """A test with a file system of its own, and a small tree in it."""
    tmpfs = "size=256m"

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="uidpool-test-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{self.tmpfs},mode=0755", "tmpfs", self.dir],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.dir], check=False)

    def exits(self, status, run):
        self.assertEqual(run.returncode, status, f"{run.args}: {run.stdout}{run.stderr}")
        return run


class Debian:
    """A whole Debian 12 (tests/bookworm-tree), unpacked once for a test program. Each of its
    trees() is a throw-away layer over it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="uidpool-test-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", self.dir], check=True)
        self.lower = os.path.join(self.dir, "lower")
        os.mkdir(self.lower)
        run = subprocess.run([os.path.join(support.TOP, "tests", "bookworm-tree"), self.lower],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if run.returncode:
            self.end()
            if run.returncode == 77:
                raise unittest.SkipTest(run.stdout.strip().rpartition("SKIP: ")[2])
            raise AssertionError(run.stdout + run.stderr)
        self.install()

    def install(self):
        """The program, where a package would put it."""
        shutil.copy(PROGRAM, os.path.join(self.lower, "usr", "sbin"))
        run = Chroot(self.lower).chroot("uidpool-provision", "--version")
        if run.returncode:
            self.end()
            if "GLIBC_" in run.stderr:
                raise unittest.SkipTest(f"built for a newer Debian: {run.stderr.strip()}")
            raise AssertionError(run.stderr)

    def end(self):
        subprocess.run(["umount", "-l", self.dir], check=True)
        os.rmdir(self.dir)

    def tree(self, case, name="debian"):
        """Below case.dir, until the test ends. The program is in it."""
        root = os.path.join(case.dir, name)
        upper, work = root + "-upper", root + "-work"
        for folder in (root, upper, work):
            os.mkdir(folder)
        subprocess.run(["mount", "-t", "overlay", "-o",
                        f"lowerdir={self.lower},upperdir={upper},workdir={work}", "overlay", root],
                       check=True)
        case.addCleanup(subprocess.run, ["umount", "-l", root], check=False)
        return Chroot(root)


class Chroot(Tree):
    """A tree with programs."""

    def chroot(self, *args, **options):
        """Run one of them. There is no /proc in it."""
        options = {"env": ENVIRONMENT, "text": True, "timeout": LIMIT, "capture_output": True,
                   "stdin": subprocess.DEVNULL, **options}
        return subprocess.run(["chroot", self.path, *map(str, args)], check=False, **options)

    def sound(self):
        """What pwck and grpck find wrong, as text. Missing home directories are nothing new."""
        found = ""
        for check in ("pwck", "grpck"):
            run = self.chroot(check, "-r")
            lines = [line for line in run.stdout.splitlines() + run.stderr.splitlines()
                     if "does not exist" not in line and "no changes" not in line]
            found += "".join(f"{check}: {line}\n" for line in lines)
        return found


def main():
    """As support.main(), and skips while the program is not built."""
    if not os.access(PROGRAM, os.X_OK):
        print(f"SKIP: {PROGRAM} is not built")
        raise SystemExit(77)
    support.main()
