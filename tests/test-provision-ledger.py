#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""uidpool-provision and a ledger that is older, newer, damaged, lost or somebody else's: which it
mends, which it refuses, and that a refusal changes nothing."""
import contextlib
import os
import shutil
import sqlite3

import provision
import support
from provision import BASE, LEDGER, Tree, TreeCase

CONFIG = """[pool xen]
Size=32752
Prefix=xen-qemuuser
Accounts=range-base shared reaper
"""
FIRST = 2113929216  # the first automatic base
STEP = 65536


class LedgerCase(TreeCase):
    def setUp(self):
        super().setUp()
        self.tree = Tree(os.path.join(self.dir, "tree"))
        self.tree.copy_from(BASE)
        os.mkdir(self.tree.etc("uidpool"))
        self.tree.write("uidpool/uidpool.conf", CONFIG)
        self.ledger = os.path.join(self.tree.path, LEDGER)

    def files(self):
        """Of /etc, but for the lock that everybody takes, which stays."""
        return {name: look for name, look in self.tree.digest().items()
                if name not in (".pwd.lock", "uidpool")}

    def sql(self, *statements):
        with contextlib.closing(sqlite3.connect(self.ledger, isolation_level=None)) as database:
            return [database.execute(statement).fetchall() for statement in statements]

    def pools(self):
        rows, = self.sql("SELECT name, base, size, provisioning, retired FROM pool ORDER BY name")
        return rows

    def refused(self, status, words, *verbs):
        before = self.files()
        for verb in verbs:
            run = self.exits(status, self.tree.run(verb))
            self.assertIn(words, run.stderr)
            self.assertEqual(before, self.files())

    def is_done(self):
        run = self.exits(0, self.tree.run("check"))
        self.assertEqual(run.stdout + run.stderr, "")


class OlderSchema(LedgerCase):
    """One of schema 1, as an earlier uidpool made it, with a pool where ours would go."""

    def setUp(self):
        super().setUp()
        with open(os.path.join(support.TOP, "db", "schema", "001-ledger.sql"),
                  encoding="utf-8") as file:
            schema = file.read()
        os.mkdir(os.path.dirname(self.ledger), 0o700)
        with contextlib.closing(sqlite3.connect(self.ledger)) as database:
            database.create_function("uidpool_boot_id", 0, lambda: "0" * 32, deterministic=True)
            database.executescript(
                f"BEGIN; {schema} INSERT INTO ledger VALUES (1, 2147287040, 64, 0);"
                "PRAGMA application_id = 0x55494450; PRAGMA user_version = 1;"
                "INSERT INTO pool (base, size, name, policy, gid, quarantine, follow, resolve,"
                f" next, created_at) VALUES ({FIRST}, 40, 'p', 'next', {FIRST}, 0, 0, 0, {FIRST},"
                " 0); COMMIT")
        os.chmod(self.ledger, 0o600)

    def test_apply_upgrades_it(self):
        self.refused(7, "uidpool ledger upgrade", "plan", "check")
        run = self.exits(0, self.tree.run("-v", "apply"))
        self.assertIn("had schema 1, now it has", run.stderr)
        self.assertEqual(self.pools(), [("p", FIRST, 40, 0, 0),
                                        ("xen", FIRST + STEP, 32752, 0, 0)])
        self.is_done()
        self.assertEqual(self.exits(0, self.tree.run("apply")).stderr, "")


class Refused(LedgerCase):
    def test_a_newer_schema(self):
        self.exits(0, self.tree.run("apply"))
        self.sql("PRAGMA user_version = 99")
        self.tree.write("uidpool/uidpool.conf", CONFIG + "Quarantine=7\n")
        self.refused(7, "has schema 99", "plan", "apply", "check")

    def test_no_ledger_at_all(self):
        os.mkdir(os.path.dirname(self.ledger), 0o700)
        with open(self.ledger, "wb") as file:
            file.write(b"not a database at all" * 1000)
        os.chmod(self.ledger, 0o600)
        self.refused(7, LEDGER, "plan", "apply", "check")

    def test_one_that_others_may_write(self):
        self.exits(0, self.tree.run("apply"))
        os.chmod(self.ledger, 0o666)
        self.refused(7, "is not safe", "plan", "apply", "check")

    def test_one_that_was_lost(self):
        """Its lock file remembers that there was one: leases may be missing."""
        self.exits(0, self.tree.run("apply"))
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.ledger + suffix)
        self.refused(7, "lost events", "plan", "check", "apply")
        os.truncate(self.ledger + ".lock", 0)
        # What it had is found again by the account, so only the ledger would have to be made.
        run = self.exits(10, self.tree.run("plan"))
        self.assertNotIn("/etc/", run.stdout)
        self.exits(0, self.tree.run("apply"))
        self.assertEqual(self.pools(), [("xen", FIRST, 32752, 0, 0)])
        self.is_done()

    def test_one_that_was_lost_with_its_lock(self):
        """Then the guard is all that remembers the pool."""
        self.tree.write("uidpool/uidpool.conf", "[pool vmm]\nSize=65536\n")
        self.exits(0, self.tree.run("apply"))
        self.is_done()
        shutil.rmtree(os.path.dirname(self.ledger))
        run = self.exits(10, self.tree.run("plan"))
        self.assertIn(f"a guard over 65536 ids from {FIRST} on, but the ledger has no such pool",
                      run.stderr)
        # As the manual says.
        self.tree.write("uidpool/uidpool.conf", f"[pool vmm]\nSize=65536\nBase={FIRST}\n")
        self.exits(0, self.tree.run("apply"))
        self.is_done()

    def test_no_place_for_it(self):
        os.rmdir(os.path.join(self.tree.path, "var", "lib"))
        before = {name: self.tree.look(name) for name in provision.FILES}
        run = self.exits(1, self.tree.run("apply"))
        self.assertIn("there is no directory /var/lib; make that first", run.stderr)
        self.assertEqual(before, {name: self.tree.look(name) for name in provision.FILES})

    def test_conflicts(self):
        """All of them are told at once, and not even a ledger is made."""
        self.tree.write("uidpool/uidpool.conf",
                        "[pool a]\nSize=10\nBase=3000000\n[pool b]\nSize=10\nBase=3000009\n"
                        "[pool c]\nSize=10\nBase=2147287040\n")
        before = self.files()
        run = self.exits(4, self.tree.run("apply"))
        self.assertIn("pool b: the uids 3000009 to 3000018 overlap those of pool a", run.stderr)
        self.assertIn("pool c: the uids 2147287040 to 2147287049 overlap those of the reaper",
                      run.stderr)
        self.assertEqual(before, self.files())
        self.assertFalse(os.path.exists(os.path.dirname(self.ledger)))

    def test_a_range_that_changes(self):
        self.exits(0, self.tree.run("apply"))
        self.tree.write("uidpool/uidpool.conf", CONFIG.replace("32752", "32751"))
        self.refused(4, "never change: set Size=32752 back", "plan", "apply")
        self.exits(10, self.tree.run("check"))


if __name__ == "__main__":
    provision.main()
