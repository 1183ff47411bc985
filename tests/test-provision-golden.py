#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden directories: account files before, commands, account files after, what was printed.

tests/golden/NAME/
  before/etc/*          put over the files of tests/golden/base/etc
  before/REMOVE         names in /etc that are not to be there
  config/               given as --config
  command               a line each: a run of uidpool-provision, if it begins with --config=NAME
                        with that configuration; or "! SHELL COMMAND" in the tree
  output                of each run: the command, standard output, standard error, exit status
  after/etc/*           the files of /etc that are then other ones than before, but for backups
  after/REMOVED         names that are gone
  after/ledger          the ledger's rows, without history, times and boots

`test-provision-golden.py --update [NAME]...` writes output and after: read `git diff` then.

Besides, every run keeps what no run may break: see Golden.judge().
"""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import provision
import support
from provision import FILES, Tree, TreeCase

GOLDEN = os.path.join(support.TOP, "tests", "golden")
LOOKS = ("plan", "check", "sysusers")  # verbs that change nothing
CHANGES = ("apply", "user", "retire")
UPDATE = "UIDPOOL_GOLDEN_UPDATE"
# Passwords of the files in tests/golden: nothing may print them.
SECRETS = ("$y$", "$6$", "hunter2")


def read(path, missing=None):
    if missing is not None and not os.path.exists(path):
        return missing
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def stored(path):
    """Is it a file that may lie in a golden directory? Large ones are made by the commands."""
    return os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 65536


class Golden(TreeCase):
    def load(self, name):
        self.case = os.path.join(GOLDEN, name)
        tree = Tree(os.path.join(self.dir, "root"))
        tree.copy_from(provision.BASE)
        before = os.path.join(self.case, "before")
        if os.path.isdir(os.path.join(before, "etc")):
            tree.copy_from(os.path.join(before, "etc"))
        for gone in read(os.path.join(before, "REMOVE"), "").split():
            os.unlink(tree.etc(gone))
        return tree

    def one(self, tree, line):
        """One line of `command`, as the text of `output`."""
        if line.startswith("!"):
            subprocess.run(["sh", "-ec", line[1:]], cwd=tree.path, check=True, timeout=60,
                           stdin=subprocess.DEVNULL)
            return f"$ {line}\n"
        before = Snapshot(tree)
        config = os.path.join(self.case, "config")
        words = shlex.split(line)
        if words[0].startswith("--config="):
            config = os.path.join(self.case, words.pop(0).partition("=")[2])
        run = tree.run(f"--config={config}", *words)
        self.judge(line, before, Snapshot(tree), run)
        if run.returncode == 0 and self.verb(line) in CHANGES:
            self.again(tree, line, config)
        text = f"$ uidpool-provision {line}\n{run.stdout}"
        if run.stderr:
            text += f"--- standard error\n{run.stderr}"
        text += f"--- exit {run.returncode}\n"
        text = text.replace(tree.path, "ROOT").replace(config, "CONFIG")
        return re.sub(r"(uidpool-provision) \d+\.\d+\.\d+", r"\1 VERSION", text)

    @staticmethod
    def verb(line):
        return next((word for word in shlex.split(line) if not word.startswith("-")), "")

    def judge(self, line, before, after, run):
        """What holds for every run, whatever it was to do."""
        said = run.stdout + run.stderr
        for secret in SECRETS:
            self.assertNotIn(secret, said, f"{line}: prints a password")
        if run.returncode not in (0, 10):
            self.assertNotEqual(run.stderr or "--json" in line and run.stdout, "",
                                f"{line}: fails without a word")
            self.assertTrue(all(text.isprintable() for text in run.stderr.splitlines()))
        if "--json" in line and run.stdout:
            self.assertEqual(run.stdout.count("\n"), 1, f"{line}: not one line")
            json.loads(run.stdout)
        if self.verb(line) in LOOKS:
            self.assertEqual(before.etc, after.etc, f"{line}: changed something")
            self.assertEqual(before.ledger, after.ledger, f"{line}: changed the ledger")
        elif run.returncode:
            if ".pwd.lock" in after.etc:
                before.etc.setdefault(".pwd.lock", after.etc[".pwd.lock"])
            self.assertEqual(before.etc, after.etc, f"{line}: failed and changed something")
            self.assertIn(before.rows(), ([], after.rows()), f"{line}: changed the ledger")
        else:
            self.backups(line, before, after)
            self.assertFalse(set(filter(provision.is_leftover, after.etc)), f"{line}: left over")

    def backups(self, line, before, after):
        for name in FILES:
            if before.etc.get(name) == after.etc.get(name):
                # Not even replaced by its like.
                self.assertEqual(before.inodes.get(name), after.inodes.get(name), name)
                self.assertEqual(before.etc.get(name + "-"), after.etc.get(name + "-"), name)
                continue
            self.assertEqual(before.etc[name], after.etc[name + "-"],
                             f"{line}: no backup of {name}")
            self.assertEqual(before.etc[name][:4], after.etc[name][:4], f"{line}: owner or mode")

    def again(self, tree, line, config):
        """The same again changes nothing, and there is nothing more to be done."""
        before = Snapshot(tree)
        self.exits(0, tree.run(f"--config={config}", "apply", "--quiet"))
        after = Snapshot(tree)
        self.assertEqual(before, after, f"{line}: apply behind it changes something")
        plan = tree.run(f"--config={config}", "plan")
        self.assertEqual((plan.returncode, plan.stdout), (0, ""), f"{line}: and still a plan")

    def outcome(self, name):
        """Everything that the case is compared with, by its path in the case."""
        tree = self.load(name)
        start = Snapshot(tree)
        text = "".join(self.one(tree, line)
                       for line in read(os.path.join(self.case, "command")).splitlines() if line)
        result = {"output": text}
        for entry in sorted(tree.names()):
            same = start.etc.get(entry) == tree.look(entry)
            backup = entry.endswith("-") and entry not in start.etc
            if not same and not backup and entry != ".pwd.lock" and stored(tree.etc(entry)):
                result[f"after/etc/{entry}"] = read(tree.etc(entry))
        gone = set(start.etc) - tree.names()
        if gone:
            result["after/REMOVED"] = "".join(f"{entry}\n" for entry in sorted(gone))
        rows = [row for row in tree.ledger() if not row.startswith(("history:", "free:"))]
        if rows:
            result["after/ledger"] = "".join(f"{row}\n" for row in rows)
        return result

    def check(self, name):
        found = self.outcome(name)
        if UPDATE in os.environ:
            shutil.rmtree(os.path.join(self.case, "after"), ignore_errors=True)
            for path, text in found.items():
                write(os.path.join(self.case, path), text)
        self.maxDiff = None
        for path in sorted({*found, *self.expected()}):
            with self.subTest(path):
                self.assertMultiLineEqual(read(os.path.join(self.case, path), ""),
                                          found.get(path, ""), f"{name}: {path}")

    def expected(self):
        yield "output"
        for folder, _, files in os.walk(os.path.join(self.case, "after")):
            for file in files:
                yield os.path.relpath(os.path.join(folder, file), self.case)


class Snapshot:
    def __init__(self, tree):
        self.etc = tree.digest()
        self.inodes = {name: (os.lstat(tree.etc(name)).st_ino, os.lstat(tree.etc(name)).st_mtime_ns)
                       for name in self.etc}
        self.ledger = tree.ledger()

    def rows(self):
        """Without what a new and empty ledger has too."""
        return [row for row in self.ledger if not row.startswith("ledger:")]

    def __eq__(self, other):
        return (self.etc, self.inodes, self.ledger) == (other.etc, other.inodes, other.ledger)


def cases():
    return sorted(name for name in os.listdir(GOLDEN) if name != "base")


def add_test(name):
    def test(self):
        self.check(name)
    setattr(Golden, "test_" + name.replace("-", "_"), test)


if __name__ == "__main__":
    for each in cases():
        add_test(each)
    if "--update" in sys.argv:
        sys.argv.remove("--update")
        os.environ[UPDATE] = "yes"
    names = ["Golden.test_" + arg.replace("-", "_") for arg in sys.argv[1:] if arg[:1] != "-"]
    if names and support.INSIDE in os.environ:
        sys.argv[1:] = names
    provision.main()
