#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A package's postinst in a real Debian: dpkg in a chroot without /proc, configured twice, cut off,
upgraded, removed, purged, installed again; and the tools that share the account files with us."""
import os
import re
import shutil
import subprocess
import unittest

import provision
import support
from provision import FILES, PROGRAM, TreeCase, parse

BASE = 2113929216
SIZE = 32752
POOL = f"""[pool xen-qemuuser]
Size={SIZE}
Follow=yes
Accounts=range-base reaper
"""
PER_DOMID = """[pool small]
Size=4
Accounts=per-domid
Prefix=small
"""
MANUAL = os.path.join(support.TOP, "docs", "uidpool-provision.8")


def postinst():
    """As the manual shows it."""
    with open(MANUAL, encoding="utf-8") as file:
        return "#!/bin/sh\n" + re.search(r"^(set -e\nif .*?)^\.Ed$", file.read(), re.M | re.S)[1]


debian = None


def setUpModule():
    global debian
    if provision.is_sanitized():
        raise unittest.SkipTest("the sanitizers' runtime needs /proc, which this chroot has not")
    debian = provision.Debian()


def tearDownModule():
    debian.end()


class Package(TreeCase):
    tmpfs = "size=1g"

    def setUp(self):
        super().setUp()
        self.tree = debian.tree(self)
        self.fresh = self.tree.digest()
        os.unlink(os.path.join(self.tree.path, "usr", "sbin", "uidpool-provision"))

    def build(self, version, config=POOL):
        """The package of a toolstack, with the program in it. Its path in the tree."""
        source = os.path.join(self.dir, f"package-{version}")
        for folder in ("DEBIAN", "usr/sbin", "usr/lib/uidpool/uidpool.conf.d"):
            os.makedirs(os.path.join(source, folder), 0o755)
        shutil.copy(PROGRAM, os.path.join(source, "usr", "sbin"))
        for name, text in (
                ("usr/lib/uidpool/uidpool.conf.d/toolstack.conf", config),
                ("DEBIAN/control", f"Package: toolstack\nVersion: {version}\nArchitecture: all\n"
                                   "Maintainer: nobody <nobody@localhost>\nDescription: a test\n"),
                ("DEBIAN/postinst", postinst())):
            with open(os.path.join(source, name), "w", encoding="ascii") as file:
                file.write(text)
        os.chmod(os.path.join(source, "DEBIAN", "postinst"), 0o755)
        path = f"/tmp/toolstack_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--build", "-Znone", source, self.tree.path + path], check=True,
                       capture_output=True)
        return path

    def dpkg(self, *args, status=0):
        return self.exits(status, self.tree.chroot("dpkg", *args))

    def status(self):
        run = self.tree.chroot("dpkg-query", "-W", "-f", "${db:Status-Status}", "toolstack")
        return run.stdout if run.returncode == 0 else None

    def state(self):
        """Everything that a run may change, locks and backups aside."""
        etc = {name: look for name, look in self.tree.digest().items() if name in FILES}
        return etc, self.tree.ledger()

    def users(self):
        return {line[0]: line for line in parse(self.tree.read("passwd"))}

    def check_accounts(self):
        users = self.users()
        self.assertEqual(users["xen-qemuuser-range-base"][2:4], [str(BASE), str(BASE)])
        reaper = users["xen-qemuuser-reaper"]
        self.assertLess(int(reaper[2]), 1000)
        self.assertEqual(reaper[2], reaper[3])
        run = self.exits(0, self.tree.chroot("getent", "passwd", str(BASE)))
        self.assertEqual(run.stdout.split(":")[0], "xen-qemuuser-range-base")
        self.assertEqual(self.tree.sound(), "")
        self.assertFalse(set(filter(provision.is_leftover, self.tree.names())))

    def test_life_of_a_package(self):
        self.assertEqual(os.listdir(os.path.join(self.tree.path, "proc")), [])
        self.dpkg("--install", self.build("1"))
        self.check_accounts()
        first = self.state()
        for name, before in self.fresh.items():
            if name in FILES:
                self.assertEqual(before[:4], first[0][name][:4], f"owner or mode of {name}")
        # Configured again, as after an interruption, and installed again.
        self.exits(0, self.tree.chroot("/var/lib/dpkg/info/toolstack.postinst", "configure", "1"))
        self.assertEqual(self.state(), first)
        self.dpkg("--install", "/tmp/toolstack_1_all.deb")
        self.assertEqual(self.state(), first)
        # Upgraded: another pool.
        self.dpkg("--install", self.build("2", POOL + PER_DOMID))
        self.check_accounts()
        users = self.users()
        base = int(users["small-domid0"][2])
        self.assertTrue(base + 4 <= BASE or BASE + SIZE <= base)
        self.assertEqual([int(users[f"small-domid{i}"][2]) for i in range(4)],
                         list(range(base, base + 4)))
        self.exits(0, self.tree.chroot("uidpool-provision", "check"))
        second = self.state()
        # Accounts stay when it goes, for files may still carry their ids.
        self.dpkg("--remove", "toolstack")
        self.dpkg("--purge", "toolstack")
        self.assertIsNone(self.status())
        self.assertEqual(self.state(), second)
        self.assertEqual(self.tree.sound(), "")
        self.dpkg("--install", "/tmp/toolstack_2_all.deb")
        self.assertEqual(self.state(), second)

    def test_cut_off_while_it_configures(self):
        """Killed between two files: dpkg configures again, and all is as if nothing had been."""
        whole = self.build("1")
        self.dpkg("--unpack", whole)
        for number in range(1, 20):
            run = subprocess.run(
                ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2",
                 "-e", f"inject=rename,renameat,renameat2:signal=KILL:when={number}",
                 "chroot", self.tree.path, "/var/lib/dpkg/info/toolstack.postinst", "configure"],
                env=provision.ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
            if run.returncode == 0:
                break
            if number == 8:
                self.dpkg("--configure", "-a")
        self.assertGreater(number, 8, "nothing was cut off")
        self.assertEqual(self.status(), "installed")
        self.check_accounts()
        cut = self.state()
        self.tree = debian.tree(self, "undisturbed")
        os.unlink(os.path.join(self.tree.path, "usr", "sbin", "uidpool-provision"))
        self.dpkg("--install", self.build("1.0"))
        self.assertEqual(self.state()[0], cut[0])

    def test_a_conflict_stops_the_package(self):
        """The postinst fails with a word, nothing is changed; when it is mended, dpkg goes on."""
        with open(self.tree.etc("passwd"), "a", encoding="ascii") as file:
            file.write("xen-qemuuser-range-base:x:500:500::/:/bin/false\n")
        before = {name: self.tree.look(name) for name in FILES}
        fixed = POOL + f"Base={BASE}\n"
        run = self.dpkg("--install", self.build("1", fixed), status=1)
        self.assertIn("xen-qemuuser-range-base", run.stderr)
        self.assertEqual(self.status(), "half-configured")
        self.assertEqual({name: self.tree.look(name) for name in FILES}, before)
        lines = self.tree.read("passwd").splitlines(keepends=True)
        self.tree.write("passwd", b"".join(lines[:-1]))
        self.dpkg("--configure", "-a")
        self.check_accounts()


class Neighbours(TreeCase):
    """The other tools that make accounts, after us."""
    tmpfs = "size=1g"

    def setUp(self):
        super().setUp()
        self.tree = debian.tree(self)
        self.write_config(POOL)
        self.run_ok("uidpool-provision", "apply")
        self.before = {name: self.tree.read(name) for name in FILES}

    def write_config(self, text):
        folder = os.path.join(self.tree.path, "etc", "uidpool")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "uidpool.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def run_ok(self, *args):
        return self.exits(0, self.tree.chroot(*args))

    def grants(self):
        for name in ("subuid", "subgid"):
            for owner, first, count in parse(self.tree.read(name)):
                yield owner, int(first), int(count)

    def check_grants(self):
        """Nobody's grant but the guard meets the pool."""
        found = [owner for owner, first, count in self.grants()
                 if first < BASE + SIZE and BASE < first + count]
        self.assertEqual(found, ["~uidpool", "~uidpool"])

    def check_ours(self):
        for name in ("passwd", "shadow", "group", "gshadow"):
            now = self.tree.read(name).splitlines()
            for line in self.before[name].splitlines():
                if line.startswith(b"xen-"):
                    self.assertIn(line, now, name)
        self.assertEqual(self.tree.sound(), "")
        self.run_ok("uidpool-provision", "check")
        self.assertEqual(self.run_ok("uidpool-provision", "plan").stdout, "")

    def test_adduser_and_useradd(self):
        self.run_ok("adduser", "--disabled-password", "--gecos", "", "bob")
        self.run_ok("adduser", "--system", "--group", "svc")
        self.run_ok("useradd", "-m", "carol")
        self.run_ok("useradd", "--system", "daemon2")
        self.assertEqual(len({owner for owner, *_ in self.grants()}), 3)
        self.check_grants()
        self.check_ours()

    def test_useradd_steps_past_the_guard(self):
        """Where its grants would lie in the pool, were it not for the guard."""
        defs = self.tree.read("login.defs").decode()
        for what in ("UID", "GID"):
            defs = re.sub(rf"(?m)^#?\\s*SUB_{what}_M(IN|AX).*\n", "", defs)
            defs += f"SUB_{what}_MIN {BASE - 65536}\nSUB_{what}_MAX 2147000000\n"
        self.tree.write("login.defs", defs)
        for name in ("bob", "carol", "dave"):
            self.run_ok("useradd", "-m", name)
        self.check_grants()
        firsts = sorted({first for owner, first, _ in self.grants() if owner != "~uidpool"})
        self.assertEqual(firsts[0], BASE - 65536)
        self.assertTrue(all(first >= BASE + SIZE for first in firsts[1:]), firsts)
        for name in ("subuid", "subgid"):
            lines = [line for line in self.tree.read(name).splitlines() if line[:1] != b"~"]
            self.tree.write(name, b"".join(line + b"\n" for line in lines))
        # That the guard does it: without it the next grant is in the pool.
        for name in ("carol", "dave"):
            self.run_ok("userdel", name)
        self.run_ok("useradd", "-m", "erin")
        self.assertTrue(any(first < BASE + SIZE and BASE < first + count
                            for _, first, count in self.grants()))
        self.exits(10, self.tree.chroot("uidpool-provision", "check"))

    def test_sysusers_finds_nothing_to_do(self):
        lines = self.run_ok("uidpool-provision", "sysusers").stdout
        folder = os.path.join(self.tree.path, "usr", "lib", "sysusers.d")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "toolstack.conf"), "w", encoding="ascii") as file:
            file.write(lines)
        self.run_ok("systemd-sysusers", "toolstack.conf")
        for name in FILES:
            self.assertEqual(self.tree.read(name), self.before[name], name)

    def test_sysusers_first(self):
        """An image builder's tree has the accounts from those lines; apply then changes none."""
        lines = self.run_ok("uidpool-provision", "sysusers").stdout
        self.tree = debian.tree(self, "image")
        self.write_config(POOL + f"Base={BASE}\n")
        folder = os.path.join(self.tree.path, "usr", "lib", "sysusers.d")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "toolstack.conf"), "w", encoding="ascii") as file:
            file.write(lines)
        self.run_ok("systemd-sysusers")
        users = self.tree.read("passwd")
        self.assertIn(b"xen-qemuuser-reaper", users)
        self.run_ok("uidpool-provision", "apply")
        self.assertEqual(self.tree.read("passwd"), users)
        self.assertEqual(self.tree.sound(), "")

    def test_an_account_per_domid(self):
        self.write_config(POOL + PER_DOMID + "Group=per-uid\n")
        self.run_ok("uidpool-provision", "apply")
        uid = self.run_ok("id", "-u", "small-domid3").stdout.strip()
        self.assertEqual(self.run_ok("id", "-g", "small-domid3").stdout.strip(), uid)
        self.assertEqual(self.run_ok("stat", "-c", "%U", "/etc/passwd").stdout, "root\n")
        self.run_ok("useradd", "-m", "carol")
        self.check_ours()

    def test_nobody_may_map_the_pool(self):
        """newuidmap and newgidmap refuse it to root, to users, and where the guard's number of
        ids is asked for exactly; a user's own grant they map."""
        self.run_ok("useradd", "-m", "carol")
        proc = os.path.join(self.tree.path, "proc")
        subprocess.run(["mount", "-t", "proc", "proc", proc], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", proc], check=False)
        own = {owner: first for owner, first, _ in self.grants()}["carol"]
        for user, first, count, expected in (
                ("carol", own, 65536, True), ("carol", BASE, 1, False),
                ("carol", BASE, SIZE, False), ("root", BASE, SIZE, False),
                ("nobody", BASE + 5, 1, False), ("xen-qemuuser-reaper", BASE, SIZE, False),
                ("xen-qemuuser-range-base", BASE + 1, 1, False)):
            for tool in ("newuidmap", "newgidmap"):
                with self.subTest(user=user, first=first, count=count, tool=tool):
                    self.assertEqual(self.maps(user, tool, first, count), expected)

    def maps(self, user, tool, first, count):
        """Does a user namespace of this user's get these ids? It is made outside of the tree, for
        the kernel makes none for who lives in a chroot."""
        uid, gid = self.run_ok("id", "-u", user).stdout, self.run_ok("id", "-g", user).stdout
        become = ["setpriv", f"--reuid={uid.strip()}", f"--regid={gid.strip()}", "--clear-groups"]
        sleeper = subprocess.Popen([*become, "unshare", "--user", "sh", "-c", "echo; read end"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(sleeper.stdout.readline(), "\n", "no user namespace")
        run = self.tree.chroot(*become, tool, sleeper.pid, 0, first, count)
        sleeper.communicate("end\n")
        self.assertEqual(run.returncode == 0 or "not allowed" in run.stderr, True, run.stderr)
        return run.returncode == 0


if __name__ == "__main__":
    provision.main()
