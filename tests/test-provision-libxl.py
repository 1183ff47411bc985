#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libxl makes of the accounts: its own order of looking (tests/libxl-lookup.c) over a tree
that uidpool-provision has made."""
import os
import subprocess

import provision
import support
from provision import Tree, TreeCase

LOOKUP = os.path.join(support.BUILD, "tests", "libxl-lookup")
BASE = 2113929216
DOMIDS = 32751  # 1..32751; 0 is dom0, and range-base's own
POOL = "[pool xen-qemuuser]\nSize=32752\n"


class Libxl(TreeCase):
    def setUp(self):
        super().setUp()
        self.tree = Tree(os.path.join(self.dir, "root"))
        self.tree.copy_from(provision.BASE)

    def apply(self, config):
        folder = os.path.join(self.dir, "config")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "uidpool.conf"), "w", encoding="ascii") as file:
            file.write(config)
        self.exits(0, self.tree.run(f"--config={folder}", "apply"))
        return {line[0]: line for line in provision.parse(self.tree.read("passwd"))}

    def look(self, *user):
        run = subprocess.run([LOOKUP, self.tree.path, *user], stdin=subprocess.DEVNULL, text=True,
                             env=provision.ENVIRONMENT, capture_output=True, timeout=60,
                             check=False)
        return self.exits(0, run).stdout.splitlines()

    def test_before(self):
        self.assertEqual(self.look(), ["domid 1: refused", f"alike: {DOMIDS}", "reaper: none"])

    def test_range(self):
        users = self.apply(POOL + "Accounts=range-base reaper\n")
        reaper = int(users["xen-qemuuser-reaper"][2])
        self.assertEqual(self.look(), [f"domid 1: range {BASE + 1}:{BASE} killed by uid",
                                       f"alike: {DOMIDS}", f"reaper: xen-qemuuser-reaper {reaper}"])
        # Whatever runs as it, libxl kills.
        self.assertEqual([name for name, line in users.items() if line[2] == str(reaper)],
                         ["xen-qemuuser-reaper"])
        self.assertNotEqual(reaper, 0)
        self.assertFalse(BASE <= reaper < BASE + 32752)

    def test_range_without_reaper(self):
        self.apply(POOL + "Accounts=range-base\n")
        self.assertEqual(self.look()[-1], f"reaper: xen-qemuuser-range-base {BASE}")

    def test_an_account_in_the_range_is_seen(self):
        """That the equipment can tell: the rule that forbids per-domid beside range-base."""
        self.apply(POOL + "Accounts=range-base reaper\n")
        self.tree.write("passwd", self.tree.read("passwd")
                        + f"bob:x:{BASE + 7}:1000::/:/bin/sh\n".encode())
        self.assertEqual(self.look()[1:3],
                         ["domid 7: refused that is user bob", f"alike: {DOMIDS - 1}"])

    def test_shared(self):
        users = self.apply(POOL + "Accounts=shared reaper\n")
        _, _, uid, gid, *_ = users["xen-qemuuser-shared"]
        self.assertEqual(self.look()[:2], [f"domid 1: shared {uid}:{gid}", f"alike: {DOMIDS}"])

    def test_range_before_shared(self):
        self.apply(POOL + "Accounts=shared range-base reaper\n")
        self.assertEqual(self.look()[0], f"domid 1: range {BASE + 1}:{BASE} killed by uid")

    def test_an_account_per_domain(self):
        self.apply("[pool xen-qemuuser]\nSize=8\nAccounts=per-domid\n")
        self.assertEqual(self.look("xen-qemuuser-domid5")[0],
                         f"domid 1: config {BASE + 5}:{BASE} killed by uid")
        self.assertEqual(self.look("xen-qemuuser-domid8")[0], "domid 1: refused")


if __name__ == "__main__":
    provision.main()
