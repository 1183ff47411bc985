#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An /etc that cannot be written: full at every page, read-only, immutable, with mounts and links
in the place of files, locked by somebody alive. A clear word, nothing changed, and afterwards it
goes on as if nothing had been."""
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

import provision
import support
from provision import FILES, Tree, TreeCase

CONFIG = """[pool small]
Size=200
Accounts=per-domid
Group=per-uid
Prefix=xen
"""
BACKUPS = {name + "-" for name in FILES}
PAGE = os.sysconf("SC_PAGE_SIZE")
# Owner rw, user 1 r, group r, mask r, others r (linux/posix_acl_xattr.h).
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, mode, owner) for tag, mode, owner in
    ((1, 6, 2**32 - 1), (2, 4, 1), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 4, 2**32 - 1)))


class Faults(TreeCase):
    def setUp(self):
        super().setUp()
        self.tree = Tree(os.path.join(self.dir, "root"))
        self.config = os.path.join(self.dir, "config")
        os.mkdir(self.config)
        with open(os.path.join(self.config, "uidpool.conf"), "w", encoding="ascii") as file:
            file.write(CONFIG)

    def mount(self, *args):
        subprocess.run(["mount", *args], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", args[-1]], check=False,
                        capture_output=True)

    def fill(self):
        self.tree.copy_from(provision.BASE)
        self.before = self.state()

    def state(self, names=FILES):
        return {name: self.tree.look(name) for name in names}

    def run_tree(self, *args):
        return self.tree.run(f"--config={self.config}", *args)

    def refuses(self, *words, status=(1, 9)):
        """Fails with these words in its message, and has changed nothing."""
        names = self.tree.names()
        backups = self.state(BACKUPS & names)
        run = self.run_tree("apply")
        self.assertIn(run.returncode, status, run.stdout + run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        self.assertEqual(self.state(), self.before, run.stderr)
        self.assertLessEqual(self.tree.names() - names, {".pwd.lock"})
        self.assertEqual(self.state(backups), backups, "of what it did not do")
        return run

    def goes_on(self):
        self.exits(0, self.run_tree("apply"))
        self.exits(0, self.run_tree("check"))
        self.assertIn(b"xen-domid199:x:", self.tree.read("passwd"))
        self.assertFalse(set(filter(provision.is_leftover, self.tree.names())))

    def test_full_at_every_page(self):
        self.mount("-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", self.tree.etc())
        self.fill()
        filler = self.tree.etc("filler")
        full = 0
        for free in range(64):
            with open(filler, "wb") as file:
                pages = os.statvfs(self.tree.etc()).f_bavail
                file.write(b"x" * (pages - free) * PAGE)
            run = self.run_tree("apply")
            if run.returncode == 0:
                break
            full += 1
            self.assertEqual(run.returncode, 1, run.stderr)
            self.assertIn("No space left on device", run.stderr)
            self.assertEqual(self.state(), self.before, f"{free} pages: {run.stderr}")
            self.assertFalse(set(filter(provision.is_leftover, self.tree.names())), run.stderr)
            os.unlink(filler)
        self.assertGreater(full, 5, "it was never full")
        self.goes_on()

    def test_full_where_the_ledger_is(self):
        self.fill()
        folder = os.path.join(self.tree.path, "var", "lib")
        self.mount("-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", folder)
        filler = os.path.join(folder, "filler")
        for free in range(256):
            with open(filler, "wb") as file:
                file.write(b"x" * (os.statvfs(folder).f_bavail - free) * PAGE)
            run = self.run_tree("apply")
            os.unlink(filler)
            if run.returncode == 0:
                break
            self.assertEqual(run.returncode, 1, run.stderr)
            self.assertIn("/var/lib/uidpool", run.stderr)
            self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
            # The intent fits, its end does not: then the files are as they should be.
            if self.state() != self.before:
                self.assertIn("the account files are written", run.stderr)
                self.assertNotIn("nothing was changed", run.stderr)
        self.assertGreater(free, 3, "it was never full")
        self.goes_on()

    def test_read_only_etc(self):
        self.fill()
        self.mount("--bind", self.tree.etc(), self.tree.etc())
        subprocess.run(["mount", "-o", "remount,bind,ro", self.tree.etc()], check=True)
        self.refuses("/etc", "Read-only file system")
        self.exits(10, self.run_tree("plan"))
        subprocess.run(["mount", "-o", "remount,bind,rw", self.tree.etc()], check=True)
        self.goes_on()

    def test_read_only_ledger(self):
        self.fill()
        folder = os.path.join(self.tree.path, "var", "lib")
        self.mount("-t", "tmpfs", "-o", "ro", "tmpfs", folder)
        self.refuses("/var/lib/uidpool", "Read-only file system", status=(1, 7, 9))
        subprocess.run(["umount", folder], check=True)
        self.goes_on()

    def test_no_var_lib(self):
        self.fill()
        self.tree.write("passwd-", "root:x:0:0:of yesterday:/root:/bin/sh\n")
        os.rmdir(os.path.join(self.tree.path, "var", "lib"))
        self.refuses("/var/lib", status=(1, 7))
        os.mkdir(os.path.join(self.tree.path, "var", "lib"))
        self.goes_on()

    def test_bind_mounted(self):
        """As container managers do it: a rename over it is refused by the kernel."""
        for name in ("passwd", "group", "shadow", "gshadow"):
            with self.subTest(name):
                self.fill()
                self.mount("--bind", self.tree.etc(name), self.tree.etc(name))
                self.refuses(f"/etc/{name}")
                subprocess.run(["umount", self.tree.etc(name)], check=True)
        self.goes_on()

    def test_immutable(self):
        # tmpfs knows no such thing before Linux 6.6.
        self.tree = Tree(tempfile.mkdtemp(prefix="uidpool-test-", dir=support.BUILD))
        self.addCleanup(shutil.rmtree, self.tree.path)
        self.fill()
        for attribute, name in (("i", "passwd"), ("a", "shadow"), ("i", "gshadow"), ("i", ""),
                                ("i", ".pwd.lock")):
            with self.subTest(name):
                path = self.tree.etc(name)
                run = subprocess.run(["chattr", "+" + attribute, path], capture_output=True,
                                     text=True, check=False)
                if run.returncode:
                    self.skipTest(run.stderr.strip())
                try:
                    self.refuses(f"/etc/{name}".rstrip("/"), f"chattr -{attribute}")
                finally:
                    subprocess.run(["chattr", "-" + attribute, path], check=True)
        self.goes_on()

    def test_directories_in_place_of_files(self):
        for name in ("passwd", "shadow", "subuid"):
            with self.subTest(name):
                self.fill()
                os.unlink(self.tree.etc(name))
                os.mkdir(self.tree.etc(name))
                self.before = self.state()
                self.refuses(f"/etc/{name}")
                os.rmdir(self.tree.etc(name))
        self.fill()
        self.goes_on()

    def test_a_directory_where_the_temporary_goes(self):
        self.fill()
        for name in (".passwd.uidpool", "passwd-"):
            with self.subTest(name):
                os.mkdir(self.tree.etc(name))
                self.refuses(name)
                os.rmdir(self.tree.etc(name))
        self.goes_on()

    def test_symbolic_links_are_not_followed(self):
        """Where we write, a link that somebody laid there leads nowhere."""
        self.fill()
        victim = os.path.join(self.dir, "victim")
        with open(victim, "w", encoding="ascii") as file:
            file.write("mine\n")
        for name in (".passwd.uidpool", ".pwd.lock", "passwd-", ".passwd-.uidpool"):
            with self.subTest(name):
                os.symlink("../../victim", self.tree.etc(name))
                run = self.run_tree("apply")
                if run.returncode:
                    self.assertIn(name, run.stderr)
                    self.assertEqual(self.state(), self.before)
                with open(victim, encoding="ascii") as file:
                    self.assertEqual(file.read(), "mine\n")
                if os.path.lexists(self.tree.etc(name)):
                    os.unlink(self.tree.etc(name))
                self.tree = Tree(os.path.join(self.dir, "root-" + name))
                self.fill()
        self.goes_on()

    def test_owner_mode_and_attributes_stay(self):
        self.fill()
        os.chown(self.tree.etc("passwd"), 12, 34)
        os.chmod(self.tree.etc("passwd"), 0o4604)
        for name, key, value in (("passwd", "security.test", b"kept"),
                                 ("group", "system.posix_acl_access", ACL)):
            try:
                os.setxattr(self.tree.etc(name), key, value)
            except OSError as error:
                self.skipTest(f"{key}: {error}")
        before = self.state()
        self.exits(0, self.run_tree("apply"))
        for name, look in self.state().items():
            self.assertEqual(look[:4], before[name][:4], name)
            self.assertNotEqual(look[4], before[name][4], name)

    def test_somebody_alive_has_it_locked(self):
        """shadow's own lock, of a living process: not broken, and named."""
        self.fill()
        holder = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        for name in FILES:
            with self.subTest(name):
                self.tree.write(name + ".lock", str(holder.pid))
                run = self.run_tree("apply", "--timeout=0")
                self.assertEqual(run.returncode, 1)
                self.assertIn(f"/etc/{name}.lock", run.stderr)
                self.assertIn(str(holder.pid), run.stderr)
                self.assertEqual(self.state(), self.before)
                self.assertEqual({n for n in self.tree.names() if provision.is_leftover(n)},
                                 {name + ".lock"})
                os.unlink(self.tree.etc(name + ".lock"))
        self.goes_on()


if __name__ == "__main__":
    provision.main()
