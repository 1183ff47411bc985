#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""uidpool-provision as it runs on a host, not below --root: it asks name services. /etc and
/var/lib are the test's own, mounted in its namespace; the name service is nss-uidpooltest.c."""
import os
import subprocess
import unittest

import provision
import support
from provision import ENVIRONMENT, LIMIT, PROGRAM, Tree

BASE = 2113929216
CONFIG = """[pool vm]
Size=64
Policy=next
Group=per-uid
"""
MODULES = os.path.join(support.BUILD, "tests")


class Host(unittest.TestCase):
    def setUp(self):
        if not os.path.exists(os.path.join(MODULES, "libnss_uidpooltest.so.2")):
            self.skipTest("libnss_uidpooltest.so.2 is not built")
        for folder in ("/etc", "/var/lib"):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder], check=True)
            self.addCleanup(subprocess.run, ["umount", folder], check=True)
        self.tree = Tree("/")
        self.tree.copy_from(provision.BASE)
        os.makedirs("/etc/uidpool")
        os.makedirs("/etc/uidpooltest")
        self.write("uidpool/uidpool.conf", CONFIG)
        self.write("nsswitch.conf", "passwd: files uidpooltest\ngroup: files uidpooltest\n")
        self.know(passwd="", group="")

    def write(self, name, text):
        with open(os.path.join("/etc", name), "w", encoding="ascii") as file:
            file.write(text)

    def know(self, **files):
        for name, text in files.items():
            self.write(f"uidpooltest/{name}", text)

    def run_exit(self, status, *args):
        run = subprocess.run([PROGRAM, *args], stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=LIMIT, check=False,
                             env={**ENVIRONMENT, "LD_LIBRARY_PATH": MODULES})
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run

    def test_user_add_asks_name_services(self):
        self.know(passwd=f"web:x:5000:5000::/:/bin/sh\nuser:x:{BASE + 63}:5000::/:/bin/sh\n",
                  group=f"db:x:5001:\ngroup:x:{BASE + 62}:\n")
        self.run_exit(0, "apply", "--offline")
        before = self.tree.digest()
        for args, word in ((["web"], "web"), (["db"], "db"), (["mail"], str(BASE + 63)),
                           (["mail", f"--uid={BASE + 62}"], str(BASE + 62))):
            with self.subTest(args):
                self.assertIn(word, self.run_exit(4, "user", "add", *args).stderr)
        after = self.tree.digest()
        self.assertEqual({name: after[name] for name in before}, before)
        run = self.run_exit(0, "user", "add", "mail", f"--uid={BASE + 61}")
        self.assertEqual(run.stdout, f"{BASE + 61}:{BASE + 61}\n")

    def test_a_service_that_repeats_the_files(self):
        """An account that somebody made in the pool is taken over by user add."""
        self.run_exit(0, "apply")
        self.tree.write("passwd", self.tree.read("passwd") +
                        f"web:x:{BASE + 5}:{BASE + 5}::/:/bin/sh\n".encode())
        self.tree.write("group", self.tree.read("group") + f"web:x:{BASE + 5}:\n".encode())
        self.know(passwd=self.tree.read("passwd").decode(), group=self.tree.read("group").decode())
        self.assertIn(f"{BASE + 5} is the user web", self.run_exit(10, "check").stderr)
        self.assertIn(str(BASE + 5), self.run_exit(4, "user", "add", "mail", f"--uid={BASE + 5}")
                      .stderr)
        self.run_exit(0, "user", "add", "web", f"--uid={BASE + 5}")
        self.run_exit(0, "check")

    def test_a_lost_ledger(self):
        """As uidpool-provision(8) says."""
        self.run_exit(0, "apply")
        before = {name: self.tree.read(name) for name in provision.FILES}
        self.run_exit(0, "user", "add", "web")
        for name in os.listdir("/var/lib/uidpool"):
            os.unlink(os.path.join("/var/lib/uidpool", name))
        self.write("uidpool/uidpool.conf", CONFIG + f"Base={BASE}\n")
        self.assertIn("web", self.run_exit(4, "apply").stderr)
        # userdel
        for name in provision.FILES:
            self.tree.write(name, before[name])
        self.run_exit(0, "apply")
        self.run_exit(0, "user", "add", "web", f"--uid={BASE + 63}")
        self.run_exit(0, "check")


if __name__ == "__main__":
    provision.main()
