#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Half a minute beside real useradd and userdel in a real Debian: nobody's account is lost, and
whoever reads the files at any moment reads whole ones. SEED=N repeats the order of things, as far
as the kernel's scheduler lets it."""
import os
import random
import subprocess
import threading
import time
import unittest

import provision
from provision import FILES, TreeCase, parse

SECONDS = float(os.environ.get("UIDPOOL_BESIDE_SECONDS", "30"))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
FIELDS = {"passwd": 7, "shadow": 9, "group": 4, "gshadow": 4, "subuid": 3, "subgid": 3}
CONFIG = """[pool vm]
Size=4096
Policy=next
Group=per-uid

[pool xen]
Size=32752
Accounts=range-base reaper
"""
debian = None


def setUpModule():
    global debian
    if provision.is_sanitized():
        raise unittest.SkipTest("the sanitizers' runtime needs /proc, which this chroot has not")
    debian = provision.Debian()


def tearDownModule():
    debian.end()


class Beside(TreeCase):
    tmpfs = "size=1g"

    def setUp(self):
        super().setUp()
        self.tree = debian.tree(self)
        os.mkdir(self.tree.etc("uidpool"))
        with open(self.tree.etc("uidpool/uidpool.conf"), "w", encoding="ascii") as file:
            file.write(CONFIG)
        self.exits(0, self.tree.chroot("uidpool-provision", "apply"))
        self.first = {name: self.tree.read(name).splitlines() for name in FILES}
        self.wrong = []
        self.end = time.monotonic() + SECONDS
        self.count = {}

    def running(self):
        return time.monotonic() < self.end and not self.wrong

    def note(self, text):
        self.wrong.append(text)

    def done(self, what):
        self.count[what] = self.count.get(what, 0) + 1

    def provision(self):
        """Users of ours come, and are locked again."""
        dice = random.Random(f"{SEED}/provision")
        self.ours, self.removed, number = [], [], 0
        while self.running():
            args = dice.choice((["apply"], ["user", "add"], ["user", "add"], ["user", "remove"]))
            if args[-1] == "add":
                number += 1
                args = [*args, f"vm-{number}", "--pool=vm"]
            elif args[-1] == "remove":
                if not self.ours:
                    continue
                args = [*args, dice.choice(self.ours)]
            run = self.tree.chroot("uidpool-provision", *args)
            if run.returncode:
                return self.note(f"{args}: exit {run.returncode}: {run.stderr}")
            self.done(" ".join(args[:2]))
            if "add" in args:
                self.ours.append(args[2])
            if "remove" in args:
                self.ours.remove(args[2])
                self.removed.append(args[2])
        return None

    def neighbour(self):
        """The other tools, which give up after 15 seconds if they do not get their locks. With a
        prefix they take theirs of the files alone, else .pwd.lock first."""
        mnt = os.path.join(self.tree.path, "mnt")
        subprocess.run(["mount", "--bind", self.tree.path, mnt], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", mnt], check=False)
        dice = random.Random(f"{SEED}/neighbour")
        self.theirs, number = [], 0
        while self.running():
            if self.theirs and dice.random() < 0.3:
                name = dice.choice(self.theirs)
                tool, args = "userdel", ["userdel", name]
            else:
                number += 1
                name = f"carol{number}"
                tool, args = "useradd", ["useradd", "-M", name]
            if dice.random() < 0.5:
                args[1:1] = ["--prefix", "/mnt"]
                tool += " --prefix"
            run = self.tree.chroot(*args)
            if run.returncode and "lock" not in run.stderr:
                return self.note(f"{args}: exit {run.returncode}: {run.stderr}")
            if run.returncode:
                self.done(f"{tool} gave up")
                continue
            self.done(tool)
            if args[0] == "userdel":
                self.theirs.remove(name)
            else:
                self.theirs.append(name)
        return None

    def read(self):
        """What getent, login and sshd do all the time, without any lock."""
        while self.running():
            for name, fields in FIELDS.items():
                data = self.tree.read(name)
                if not data.endswith(b"\n"):
                    return self.note(f"{name} is cut off: {data[-100:]}")
                lines = parse(data)
                if any(len(line) != fields for line in lines):
                    return self.note(f"{name} has a torn line")
                missing = set(self.first[name]) - set(data.splitlines())
                if missing:
                    return self.note(f"{name} is without {missing}")
            self.done("looks")
        return None

    def test_half_a_minute(self):
        print(f"SEED={SEED}", flush=True)
        threads = [threading.Thread(target=target)
                   for target in (self.provision, self.neighbour, self.read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(self.count, flush=True)
        self.assertEqual(self.wrong, [])
        for what in ("user add", "user remove", "apply", "useradd", "--prefix", "userdel", "looks"):
            self.assertTrue(any(what in done for done in self.count), f"{what}: never came to it")
        self.nothing_is_lost()

    def nothing_is_lost(self):
        for name in ("passwd", "shadow", "group", "gshadow"):
            names = {line[0] for line in parse(self.tree.read(name))}
            found = {n for n in names if n.startswith(("vm-", "carol"))}
            self.assertEqual(found, {*self.ours, *self.removed, *self.theirs}, name)
        shadow = {line[0]: line for line in parse(self.tree.read("shadow"))}
        for name in self.removed:
            self.assertEqual(shadow[name][7], "1", "is not expired")
        for name in self.ours:
            self.assertEqual(shadow[name][7], "", "is expired")
        accounts = [row for row in self.tree.ledger() if row.startswith("account:")]
        self.assertEqual(len(accounts), len(self.ours) + len(self.removed))
        self.assertEqual(self.tree.sound(), "")
        self.assertFalse(set(filter(provision.is_leftover, self.tree.names())))
        self.assertEqual(self.exits(0, self.tree.chroot("uidpool-provision", "plan")).stdout, "")


class Locks(TreeCase):
    """Who waits for whom."""
    tmpfs = "size=1g"

    def setUp(self):
        super().setUp()
        self.tree = debian.tree(self)

    def test_each_waits_for_the_other(self):
        """While .pwd.lock is held neither changes anything; then both do."""
        lock = subprocess.Popen(
            ["python3", "-c", "import fcntl, os, sys\n"
             "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\n"
             "fcntl.lockf(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\nsys.stdin.read()",
             self.tree.etc(".pwd.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(lock.stdout.readline(), "held\n")
        config = os.path.join(self.tree.path, "etc", "uidpool")
        os.mkdir(config)
        with open(os.path.join(config, "uidpool.conf"), "w", encoding="ascii") as file:
            file.write(CONFIG)
        before = {name: self.tree.look(name) for name in FILES}
        run = self.exits(1, self.tree.chroot("uidpool-provision", "apply", "--timeout=1"))
        self.assertIn(f"{lock.pid}", run.stderr)
        self.assertEqual({name: self.tree.look(name) for name in FILES}, before)
        waits = subprocess.Popen(["chroot", self.tree.path, "uidpool-provision", "apply", "-v"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
        self.assertIn(f"{lock.pid}", waits.stderr.readline(), "does not say for whom it waits")
        self.assertIsNone(waits.poll())
        lock.communicate("")
        self.assertEqual(waits.wait(timeout=60), 0)
        waits.stderr.close()
        self.assertIn(b"xen-qemuuser-range-base", self.tree.read("passwd"))


if __name__ == "__main__":
    provision.main()
