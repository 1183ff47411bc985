#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ledger's own rules, tried by somebody who types SQL at it.

Every statement that breaks a rule is tried three times on a ledger made from db/schema: as it
stands and with each conflict clause by a writer who has the ledger's two SQL functions, so that
the rules themselves are asked; and with the sqlite3 shell, which has them not. Foreign keys and
recursive triggers are off, as in the shell. After each refusal the ledger must be unchanged.
"""
import glob
import os
import random
import re
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOOT = "b" * 32
OTHER_BOOT = "a" * 32
BASE = 2114715648
REAPER = 2147287040
TABLES = ["ledger", "pool", "reservation", "lease", "evidence", "history", "free", "account"]
SHELL = shutil.which("sqlite3")
STEPS = sorted(glob.glob(os.path.join(TOP, "db/schema/*.sql")))


def history(db, what, uid):
    return db.execute("SELECT count(*) FROM history WHERE what = ? AND uid = ?",
                      (what, uid)).fetchone()[0]


class Ledger:
    """A ledger in a file, and what a program does with it when all goes well."""

    def __init__(self, path, steps=STEPS):
        self.path = path
        self.boot, self.now = BOOT, 10**9
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.create_function("uidpool_boot_id", 0, lambda: self.boot)
        self.db.create_function("uidpool_boot_usec", 0, lambda: self.now)
        self.take(steps)
        self.run("INSERT INTO ledger VALUES (1, ?, 16, 0)", REAPER)
        self.add_pool("p", BASE)
        self.add_pool("q", BASE + 1000)

    def take(self, steps):
        for step in steps:
            with open(step, encoding="utf-8") as file:
                self.db.executescript(f"BEGIN; {file.read()} COMMIT;")

    def run(self, sql, *values):
        return self.db.execute(sql, values)

    def one(self, sql, *values):
        return self.run(sql, *values).fetchone()[0]

    def next_id(self, table="history"):
        return self.one(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")

    def add_pool(self, name, base, size=40, quarantine=60):
        self.run("INSERT INTO pool (base, size, name, policy, gid, quarantine, follow, resolve,"
                 " next, created_at) VALUES (?, ?, ?, 'next', ?, ?, 0, 0, ?, 0)",
                 base, size, name, base, quarantine, base)

    def begin_pool(self, name, base, size=40):
        self.run("INSERT INTO pool (base, size, name, policy, gid, quarantine, follow, resolve,"
                 " retired, provisioning, next, created_at)"
                 " VALUES (?, ?, ?, 'next', ?, 60, 0, 0, 1, 1, ?, 0)", base, size, name, base, base)

    def lease(self, uid, count=1, domid=None, name=None, state="leased", pool=BASE):
        number = self.next_id()
        self.run("INSERT INTO lease (uid, count, id, pool, gid, domid, name, state, boot,"
                 " leased_at, since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
                 uid, count, number, pool, pool, domid, name, state, self.boot)
        return number

    def step(self, uid, state, evidence=None, rest=None):
        self.run("UPDATE lease SET state = ?, step = step + 1, boot = ?, since = 1, rest_until = ?,"
                 " evidence = ? WHERE uid = ?", state, self.boot, rest, evidence, uid)

    def prove(self, uid, scan="empty", census="empty", residue=0):
        number = self.next_id("evidence")
        self.run("INSERT INTO evidence SELECT ?, id, step, uid, count, 2, ?, ?, ?, 100, 1, 0, ?,"
                 " NULL FROM lease WHERE uid = ?", number, self.boot, scan, census, residue, uid)
        return number

    def quarantine(self, uid):
        self.step(uid, "revoking")
        self.step(uid, "quarantined", self.prove(uid), self.now + 60 * 10**6)

    def reserve(self, uid, name, count=1, pool=BASE):
        self.run("INSERT INTO reservation VALUES (?, ?, ?, ?, 0)", uid, count, pool, name)

    def add_account(self, uid, name, state="present", pool=BASE):
        """An account in this state, by the edges that lead there."""
        self.reserve(uid, name, pool=pool)
        self.run("INSERT INTO account (name, uid, gid, pool, state, created_at)"
                 " VALUES (?, ?, ?, ?, 'adding', 0)", name, uid, uid, pool)
        for step in ("present", "removing", "removed"):
            if self.one("SELECT state FROM account WHERE name = ?", name) != state:
                self.run("UPDATE account SET state = ? WHERE name = ?", step, name)

    def dump(self):
        return {table: self.run(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}

    def free_uids(self):
        return [uid for first, last in self.run("SELECT first, last FROM free ORDER BY 1")
                for uid in range(first, last + 1)]


class RuleCase(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="uidpool-rules-")
        self.addCleanup(self.dir.cleanup)
        self.l = Ledger(os.path.join(self.dir.name, "ledger.db"))
        self.addCleanup(self.l.db.close)

    def refused(self, sql, why=None):
        """`sql` changes nothing, however it is put. `why`: what the ledger must answer."""
        before = self.l.dump()
        for variant in self.variants(sql):
            answer = None
            try:
                self.l.run(variant)
            except sqlite3.Error as error:
                answer = str(error)
            self.assertEqual(before, self.l.dump(), f"{variant}: changed the ledger")
            # OR IGNORE may pass over a violated CHECK in silence, but changes nothing either.
            if " OR IGNORE " not in variant and " ON CONFLICT " not in variant:
                self.assertIsNotNone(answer, f"{variant}: was accepted")
            if why and variant == sql:
                self.assertRegex(answer, why)
        self.refused_in_shell(sql, before)

    @staticmethod
    def variants(sql):
        yield sql
        match = re.match(r"(INSERT|UPDATE)\b", sql)
        for clause in ("REPLACE", "IGNORE", "FAIL", "ROLLBACK") if match else ():
            yield sql.replace(match[1], f"{match[1]} OR {clause}", 1)
        if sql.startswith("INSERT") and "VALUES" in sql:
            yield sql + " ON CONFLICT DO NOTHING"

    def refused_in_shell(self, sql, before):
        if not SHELL:
            return
        for variant in self.variants(sql):
            run = subprocess.run([SHELL, "-batch", self.l.path, variant + ";"], timeout=30,
                                 stdin=subprocess.DEVNULL, capture_output=True, check=False)
            self.assertEqual(before, self.l.dump(), f"sqlite3 shell: {variant}: changed the ledger")
            if " OR IGNORE " not in variant:
                self.assertNotEqual(run.returncode, 0, f"sqlite3 shell: {variant}: was accepted")

    def free_is_right(self):
        """The free stretches are exactly what is in no lease and no reservation, merged."""
        used = {uid + i for table in ("lease", "reservation")
                for uid, count in self.l.run(f"SELECT uid, count FROM {table}")
                for i in range(count)}
        all_uids = [base + i for base, size in self.l.run("SELECT base, size FROM pool ORDER BY 1")
                    for i in range(size)]
        self.assertEqual([uid for uid in all_uids if uid not in used], self.l.free_uids())
        rows = self.l.run("SELECT first, last, pool FROM free ORDER BY 1").fetchall()
        for (_, last, pool), (first, _, next_pool) in zip(rows, rows[1:]):
            self.assertFalse(last + 1 == first and pool == next_pool, "stretches are not merged")


class Pools(RuleCase):
    INSERT = ("INSERT INTO pool (base, size, name, policy, gid, quarantine, follow, resolve, next,"
              " created_at) VALUES ({base}, {size}, '{name}', 'next', 1, 0, 0, 0, {base}, 0)")

    def test_overlap(self):
        for base, size in [(BASE, 40), (BASE - 1, 2), (BASE + 39, 1), (BASE + 5, 1),
                           (BASE - 10, 2000), (BASE + 39, 2000)]:
            self.refused(self.INSERT.format(base=base, size=size, name="x"),
                         "overlap|pool of that name")
        self.l.run(self.INSERT.format(base=BASE + 40, size=960, name="fits"))
        self.free_is_right()

    def test_reapers_uids(self):
        for base, size in [(REAPER, 1), (REAPER - 5, 6), (REAPER + 15, 5), (REAPER - 1, 100)]:
            self.refused(self.INSERT.format(base=base, size=size, name="x"), "reaper")
        self.l.run(self.INSERT.format(base=REAPER - 5, size=5, name="below"))
        self.l.run(self.INSERT.format(base=REAPER + 16, size=5, name="above"))

    def test_needs_the_reapers_uids_first(self):
        with sqlite3.connect(":memory:", isolation_level=None) as db:
            db.create_function("uidpool_boot_id", 0, lambda: BOOT)
            db.create_function("uidpool_boot_usec", 0, lambda: 1)
            for step in STEPS:
                with open(step, encoding="utf-8") as file:
                    db.executescript(file.read())
            with self.assertRaisesRegex(sqlite3.Error, "no reaper uids"):
                db.execute(self.INSERT.format(base=BASE, size=10, name="x"))

    def test_a_key_that_sqlite_chooses(self):
        # A BEFORE trigger sees -1 where an INTEGER PRIMARY KEY is NULL; the row gets max + 1.
        insert = self.INSERT.format(base="NULL", size=10, name="x")
        self.refused(insert.replace("NULL, 0)", f"{BASE + 1001}, 0)"))

    def test_uids_that_are_never_used(self):
        for base, size in [(0, 10), (-5, 3), (65530, 10), (65535, 1), (2**31 - 5, 6), (2**31, 1),
                           (4294967295, 1), (2**40, 1), (90000, 0), (90000, -1), (90000, 2**62)]:
            self.refused(self.INSERT.format(base=base, size=size, name="x"))

    def test_name_is_taken(self):
        self.refused(self.INSERT.format(base=90000, size=10, name="p"), "name")

    def test_range_never_changes(self):
        for change in ("base = base + 1", "size = size + 1", "size = 1", "name = 'r'", "name = 'q'",
                       f"base = {BASE + 1000}", "created_at = 9", "rowid = 77"):
            self.refused(f"UPDATE pool SET {change} WHERE name = 'p'", "never change")

    def test_never_deleted(self):
        self.refused("DELETE FROM pool WHERE name = 'p'", "retired")
        self.refused("DELETE FROM pool", "retired")

    def test_retire_only_without_leases(self):
        self.l.lease(BASE + 39, domid=1)
        self.refused("UPDATE pool SET retired = 1 WHERE name = 'p'", "live")
        self.l.step(BASE + 39, "revoking")
        self.refused("UPDATE pool SET retired = 1 WHERE name = 'p'", "live")
        self.l.step(BASE + 39, "quarantined", self.l.prove(BASE + 39), 0)
        self.l.run("UPDATE pool SET retired = 1 WHERE name = 'p'")
        self.assertEqual(history(self.l.db, "pool-retired", BASE), 1)

    def test_a_retired_pool_gives_nothing(self):
        self.l.run("UPDATE pool SET retired = 1 WHERE name = 'p'")
        self.refused(f"INSERT INTO lease VALUES ({BASE}, 1, {self.l.next_id()}, {BASE}, 1, 1, NULL,"
                     f" NULL, 'leased', 0, 0, NULL, '{BOOT}', 0, 0, NULL, NULL)", "no pool in use")
        self.refused(f"INSERT INTO reservation VALUES ({BASE}, 1, {BASE}, 'r', 0)",
                     "no pool in use")

    def test_reapers_choice_is_final(self):
        self.refused(f"INSERT INTO ledger VALUES (1, {BASE}, 1, 0)")
        self.refused(f"INSERT INTO ledger VALUES (2, {BASE}, 1, 0)")
        self.refused("UPDATE ledger SET reaper_first = 5")
        self.refused("DELETE FROM ledger")


class Reservations(RuleCase):
    def test_overlap(self):
        self.l.reserve(BASE + 10, "r", 5)
        for uid, count in [(10, 5), (10, 1), (14, 1), (9, 2), (14, 3), (5, 30), (12, 1)]:
            self.refused(f"INSERT INTO reservation VALUES ({BASE + uid}, {count}, {BASE}, 'x', 0)",
                         "reserved")
        self.l.lease(BASE + 20, 3, domid=1)
        for uid, count in [(20, 3), (22, 1), (19, 2), (22, 5), (18, 9)]:
            self.refused(f"INSERT INTO reservation VALUES ({BASE + uid}, {count}, {BASE}, 'x', 0)",
                         "leased")
        self.l.reserve(BASE + 15, "beside", 5)
        self.free_is_right()

    def test_outside_of_its_pool(self):
        for uid, count, pool in [(BASE - 1, 1, BASE), (BASE + 39, 2, BASE), (BASE + 1000, 1, BASE),
                                 (BASE, 1, BASE + 1000), (5, 1, 5), ("NULL", 1, BASE)]:
            self.refused(f"INSERT INTO reservation VALUES ({uid}, {count}, {pool}, 'x', 0)")

    def test_never_changes(self):
        self.l.reserve(BASE + 10, "r", 5)
        for change in (f"uid = {BASE}", "count = 1", "name = 'other'", f"pool = {BASE + 1000}"):
            self.refused(f"UPDATE reservation SET {change}", "never changes")
        self.refused(f"INSERT INTO reservation VALUES ({BASE + 30}, 1, {BASE}, 'r', 0)",
                     "name exists")

    def test_stays_while_in_use(self):
        self.l.reserve(BASE + 10, "r", 5)
        self.l.lease(BASE + 10, 5, name="r")
        self.refused("DELETE FROM reservation", "leased")
        self.l.quarantine(BASE + 10)
        self.refused("DELETE FROM reservation", "quarantine")
        self.l.now += 61 * 10**6
        self.l.run("DELETE FROM lease")
        self.free_is_right()
        self.l.run("DELETE FROM reservation")
        self.free_is_right()

    def test_is_leased_to_nobody_else(self):
        self.l.reserve(BASE + 10, "r", 5)
        number = self.l.next_id()
        row = (f"INSERT INTO lease VALUES ({{uid}}, {{count}}, {number}, {BASE}, 1, {{domid}},"
               f" {{name}}, NULL, 'leased', 0, 0, NULL, '{BOOT}', 0, 0, NULL, NULL)")
        for uid, count, domid, name in [(10, 5, 1, "NULL"), (10, 5, "NULL", "'x'"),
                                        (12, 1, 1, "NULL"), (10, 1, "NULL", "'r'"),
                                        (11, 4, "NULL", "'r'"),
                                        (5, 30, "NULL", "'r'"), (9, 2, 1, "NULL")]:
            self.refused(row.format(uid=BASE + uid, count=count, domid=domid, name=name),
                         "reserved for another")
        self.l.lease(BASE + 10, 5, name="r")
        self.free_is_right()


class Leases(RuleCase):
    def insert(self, **change):
        row = {"uid": BASE + 5, "count": 1, "id": self.l.next_id(), "pool": BASE, "gid": 1,
               "domid": 5, "name": "NULL", "uuid": "NULL", "state": "'leased'", "step": 0,
               "attempts": 0,
               "reason": "NULL", "boot": f"'{BOOT}'", "leased_at": 0, "since": 0,
               "rest_until": "NULL", "evidence": "NULL", **change}
        return (f"INSERT INTO lease ({', '.join(row)}) VALUES "
                f"({', '.join(str(value) for value in row.values())})")

    def test_the_row_below_is_fine_as_it_stands(self):
        self.l.run(self.insert())
        self.free_is_right()

    def test_overlap(self):
        self.l.lease(BASE + 10, 5, domid=1)
        for state in ("leased", "revoking", "quarantined", "held"):
            if state != "leased":
                proof = self.l.prove(BASE + 10) if state in ("quarantined", "held") and \
                    self.l.one("SELECT state FROM lease") == "revoking" else None
                if state == "held":
                    break
                self.l.step(BASE + 10, state, proof, 2**60)
            for uid, count in [(10, 5), (10, 1), (14, 1), (9, 2), (14, 3), (5, 30), (12, 1)]:
                self.refused(self.insert(uid=BASE + uid, count=count), "leased, being revoked")
                self.refused(self.insert(uid=BASE + uid, count=count, state="'held'", domid="NULL"),
                             "leased, being revoked")

    def test_overlap_with_a_hold(self):
        self.l.lease(BASE + 10, 5, state="held")
        for uid, count in [(10, 5), (10, 1), (14, 1), (9, 2), (14, 3), (5, 30)]:
            self.refused(self.insert(uid=BASE + uid, count=count), "leased, being revoked")

    def test_outside_of_its_pool(self):
        for uid, count, pool in [(BASE - 1, 1, BASE), (BASE + 39, 2, BASE), (BASE + 1000, 1, BASE),
                                 (BASE, 1, BASE + 1000), (0, 1, BASE), ("NULL", 1, BASE),
                                 (BASE, 2**62, BASE), (BASE, 0, BASE), (BASE, -1, BASE),
                                 (REAPER, 1, BASE)]:
            self.refused(self.insert(uid=uid, count=count, pool=pool))

    def test_birth(self):
        for change in ({"state": "'revoking'"}, {"state": "'quarantined'", "rest_until": 0},
                       {"state": "'free'"}, {"step": 1}, {"evidence": 1}, {"rest_until": 5},
                       {"boot": f"'{OTHER_BOOT}'"}, {"domid": "NULL"}, {"name": "'n'"},
                       {"domid": 32752}, {"domid": -1}, {"gid": 0}, {"id": 1}, {"id": "NULL"},
                       {"id": self.l.next_id() + 1}, {"uuid": "'short'"}, {"state": "'held'"},
                       {"uid": "'x'"}, {"count": 1.5}, {"name": "''", "domid": "NULL"}):
            self.refused(self.insert(**change))

    def test_one_lease_a_domid_and_name(self):
        self.l.lease(BASE + 5, domid=5)
        self.refused(self.insert(uid=BASE + 6), "has a lease")
        self.l.lease(BASE + 7, name="n")
        self.refused(self.insert(uid=BASE + 6, domid="NULL", name="'n'"), "has a lease")
        self.l.lease(BASE + 1006, domid=5, pool=BASE + 1000)

    def test_uids_owner_and_age_never_change(self):
        self.l.lease(BASE + 5, 2, domid=5)
        self.l.lease(BASE + 9, domid=9)
        for change in (f"uid = {BASE + 8}", f"uid = {BASE + 9}", "count = 1", "id = 1", "gid = 3",
                       f"pool = {BASE + 1000}", "domid = 6", "name = 'n', domid = NULL",
                       "uuid = '00000000-0000-0000-0000-000000000000'", "leased_at = 9"):
            self.refused(f"UPDATE lease SET {change} WHERE uid = {BASE + 5}", "never change")
            self.refused(f"UPDATE lease SET {change}, state = 'revoking', step = 1 "
                         f"WHERE uid = {BASE + 5}", "never change")

    def test_edges(self):
        """Every pair of states: only the design's edges, each by one step and in this boot."""
        allowed = {("leased", "revoking"), ("revoking", "revoking"), ("revoking", "quarantined"),
                   ("revoking", "held"), ("held", "held"), ("held", "quarantined")}
        states = ("leased", "revoking", "quarantined", "held")
        for number, (old, new) in enumerate((a, b) for a in states for b in states):
            uid = BASE + number
            self.bring(uid, old)
            proof = self.l.prove(uid) if old in ("revoking", "held") else \
                self.l.one("SELECT evidence FROM lease WHERE uid = ?", uid)
            if (old, new) == ("held", "held") or new == "revoking":
                proof = self.l.one("SELECT evidence FROM lease WHERE uid = ?", uid) \
                    if old == "held" else None
            sql = (f"UPDATE lease SET state = '{new}', step = step + {{by}}, boot = '{{boot}}', "
                   f"rest_until = 0, evidence = {proof if proof else 'NULL'} WHERE uid = {uid}")
            with self.subTest(old=old, new=new):
                for by, boot in ((0, BOOT), (2, BOOT), (-1, BOOT), (1, OTHER_BOOT)):
                    self.refused(sql.format(by=by, boot=boot))
                if (old, new) in allowed:
                    self.l.run(sql.format(by=1, boot=BOOT))
                else:
                    self.refused(sql.format(by=1, boot=BOOT), "no such edge")
        self.free_is_right()

    def bring(self, uid, state):
        if state == "held":
            self.l.lease(uid, state="held")
            return
        self.l.lease(uid, domid=uid - BASE)
        if state != "leased":
            self.l.step(uid, "revoking")
        if state == "quarantined":
            self.l.step(uid, "quarantined", self.l.prove(uid), 2**60)

    def proofless(self, uid, why="no evidence"):
        for evidence in ["NULL", 0, 99] + [row[0] for row in self.l.run("SELECT id FROM evidence")]:
            for state in ("quarantined", "held"):
                if self.l.one("SELECT state FROM lease WHERE uid = ?", uid) == state:
                    continue
                self.refused(f"UPDATE lease SET state = '{state}', step = step + 1,"
                             f" boot = '{self.l.boot}', rest_until = 0, evidence = {evidence}"
                             f" WHERE uid = {uid}", why)

    def test_revocation_needs_evidence(self):
        self.l.lease(BASE + 5, domid=5)
        self.l.step(BASE + 5, "revoking")
        self.proofless(BASE + 5)

    def test_a_revocation_keeps_no_evidence(self):
        self.l.lease(BASE + 5, domid=5)
        self.refused("UPDATE lease SET state = 'revoking', step = 1, evidence = 1",
                     "leaves no evidence")
        self.l.step(BASE + 5, "revoking")
        proof = self.l.prove(BASE + 5)
        self.refused(f"UPDATE lease SET state = 'revoking', step = 2, evidence = {proof}",
                     "leaves no evidence")

    def test_no_end_without_evidence_though_a_trigger_is_gone(self):
        for number, forget in enumerate(("NULL", 99)):
            self.l.lease(BASE + number, domid=number)
            self.l.quarantine(BASE + number)
            self.l.run("DROP TRIGGER IF EXISTS lease_update")
            this = f"WHERE uid = {BASE + number}"
            self.l.run(f"UPDATE lease SET evidence = {forget}, rest_until = 0 {this}")
            self.refused(f"DELETE FROM lease {this}", "ends only with evidence")

    def test_evidence_must_say_empty_twice(self):
        self.l.lease(BASE + 5, domid=5)
        self.l.step(BASE + 5, "revoking")
        for scan in ("unknown", "busy", "empty"):
            for census in ("unknown", "busy", "empty"):
                if (scan, census) != ("empty", "empty"):
                    self.l.prove(BASE + 5, scan, census)
        self.assertEqual(history(self.l.db, "not-proven", BASE + 5), 8)
        self.proofless(BASE + 5)

    def test_evidence_of_another_lease(self):
        self.l.lease(BASE + 6, domid=6)
        self.l.quarantine(BASE + 6)
        self.l.lease(BASE + 5, domid=5)
        self.l.step(BASE + 5, "revoking")
        self.proofless(BASE + 5)

    def test_evidence_of_another_step(self):
        self.l.lease(BASE + 5, domid=5)
        self.l.step(BASE + 5, "revoking")
        self.l.prove(BASE + 5)
        self.l.step(BASE + 5, "revoking")
        self.proofless(BASE + 5)

    def test_evidence_of_another_boot(self):
        self.l.lease(BASE + 5, domid=5)
        self.l.step(BASE + 5, "revoking")
        self.l.prove(BASE + 5)
        self.l.boot = OTHER_BOOT
        self.proofless(BASE + 5)

    def test_evidence_with_residue_only_holds(self):
        self.l.lease(BASE + 5, domid=5)
        self.l.step(BASE + 5, "revoking")
        proof = self.l.prove(BASE + 5, residue=1)
        self.refused("UPDATE lease SET state = 'quarantined', step = 2, rest_until = 0,"
                     f" evidence = {proof}", "no evidence")
        self.l.step(BASE + 5, "held", proof)
        self.proofless(BASE + 5)
        self.refused("UPDATE lease SET state = 'held', step = 3, evidence = NULL",
                     "keeps its evidence")
        self.l.step(BASE + 5, "quarantined", self.l.prove(BASE + 5), 0)
        self.l.run("DELETE FROM lease")
        self.free_is_right()

    def test_end_needs_quarantine_and_rest(self):
        self.l.lease(BASE + 5, domid=5)
        self.refused("DELETE FROM lease", "quarantine")
        self.l.step(BASE + 5, "revoking")
        self.refused("DELETE FROM lease", "quarantine")
        self.l.prove(BASE + 5)
        self.refused("DELETE FROM lease", "quarantine")
        self.l.step(BASE + 5, "quarantined", 1, self.l.now + 60)
        self.refused(f"DELETE FROM lease WHERE uid = {BASE + 5}", "rested")
        self.l.now += 59
        self.refused("DELETE FROM lease", "rested")
        self.l.now += 1
        self.l.run("DELETE FROM lease")
        self.free_is_right()
        self.assertEqual(history(self.l.db, "freed", BASE + 5), 1)

    def test_a_rest_of_another_boot_is_over(self):
        self.l.lease(BASE + 5, domid=5)
        self.l.quarantine(BASE + 5)
        self.l.boot, self.l.now = OTHER_BOOT, 5
        self.l.run("DELETE FROM lease")
        self.assertEqual(history(self.l.db, "freed", BASE + 5), 1)

    def test_a_hold_never_ends_without_evidence(self):
        self.l.lease(BASE + 5, state="held")
        self.refused("DELETE FROM lease", "quarantine")
        self.proofless(BASE + 5)

    def test_a_lease_of_another_boot_changes_only_in_this_one(self):
        self.l.lease(BASE + 5, domid=5)
        self.l.boot = OTHER_BOOT
        self.refused(f"UPDATE lease SET state = 'revoking', step = 1, boot = '{BOOT}'",
                     "in this boot")
        self.l.step(BASE + 5, "revoking")

    def test_no_id_is_used_twice(self):
        first = self.l.lease(BASE + 5, domid=5)
        self.l.quarantine(BASE + 5)
        self.l.now += 10**9
        self.l.run("DELETE FROM lease")
        for number in range(first + 8):
            if number != self.l.next_id():
                self.refused(self.insert(id=number), "first event")
        self.assertGreater(self.l.lease(BASE + 5, domid=5), first)


class Journal(RuleCase):
    def setUp(self):
        super().setUp()
        self.l.lease(BASE + 5, domid=5)
        self.l.step(BASE + 5, "revoking")
        self.proof = self.l.prove(BASE + 5)

    def test_history_is_append_only(self):
        last = self.l.next_id() - 1
        for change in ("what = 'x'", "at = 0", "uid = 1", "id = id + 100", "detail = NULL",
                       "lease = 9", f"boot = '{BOOT}'", "domid = 1"):
            self.refused(f"UPDATE history SET {change} WHERE id = {last}", "append-only")
        self.refused("DELETE FROM history", "append-only")
        self.refused(f"DELETE FROM history WHERE id = {last}", "append-only")

    def test_history_has_no_gaps_and_no_other_boot(self):
        last = self.l.next_id() - 1
        for number in (1, last, last + 2, 2**62, "NULL", -1):
            self.refused("INSERT INTO history (id, at, boot, what) VALUES "
                         f"({number}, 0, '{BOOT}', 'leased')", "by the ledger alone")
        self.refused("INSERT INTO history (id, at, boot, what) VALUES "
                     f"({last + 1}, 0, '{OTHER_BOOT}', 'leased')", "by the ledger alone")

    def test_evidence_is_append_only(self):
        for change in ("scan = 'empty'", "census = 'empty'", "residue = 0", "step = 9", "lease = 1",
                       "id = 77", "at = 0", "boot = 'x'"):
            self.refused(f"UPDATE evidence SET {change}", "append-only")
        self.refused("DELETE FROM evidence", "append-only")

    def test_evidence_fits_its_lease(self):
        lease, step = self.l.run("SELECT id, step FROM lease").fetchone()
        row = ("INSERT INTO evidence VALUES ({id}, {lease}, {step}, {uid}, {count}, 0, '{boot}',"
               " '{scan}', 'empty', {scanned}, 0, 0, 0, NULL)")
        right = {"id": self.l.next_id("evidence"), "lease": lease, "step": step, "uid": BASE + 5,
                 "count": 1, "boot": BOOT, "scan": "empty", "scanned": 1}
        for change in ({"id": 1}, {"id": "NULL"}, {"id": 9}, {"lease": lease + 1},
                       {"step": step - 1}, {"step": step + 1}, {"uid": BASE + 6}, {"count": 2},
                       {"boot": OTHER_BOOT},
                       {"scan": "EMPTY"}, {"scan": "yes"}, {"scanned": -1}, {"scanned": "'x'"}):
            self.refused(row.format(**{**right, **change}))
        self.l.run(row.format(**right))

    def test_evidence_only_while_it_can_count(self):
        self.l.lease(BASE + 9, domid=9)
        with self.assertRaisesRegex(sqlite3.Error, "present step"):
            self.l.prove(BASE + 9)
        self.l.step(BASE + 5, "quarantined", self.proof, 0)
        with self.assertRaisesRegex(sqlite3.Error, "present step"):
            self.l.prove(BASE + 5)


class Provisioning(RuleCase):
    NEW = BASE + 2000
    INSERT = ("INSERT INTO pool (base, size, name, policy, gid, quarantine, follow, resolve,"
              " retired, provisioning, next, created_at)"
              " VALUES ({new}, 40, 'x', 'next', 1, 0, 0, 0, {retired}, {provisioning}, {new}, 0)")

    def test_begins_retired(self):
        for retired, provisioning in ((0, 1), (0, 2), (1, 2), (1, -1), ("NULL", 1), (1, "NULL"),
                                      (0, "NULL"), (0, "'1'"), (0, 1.0), (0, "'x'")):
            self.refused(self.INSERT.format(new=self.NEW, retired=retired,
                                            provisioning=provisioning))
        self.refused(self.INSERT.format(new=self.NEW, retired=0, provisioning=1), "provisioned")
        self.l.run(self.INSERT.format(new=self.NEW, retired=1, provisioning=1))
        self.assertEqual(history(self.l.db, "pool-added", self.NEW), 1)
        self.free_is_right()

    def test_gives_nothing(self):
        self.l.begin_pool("x", self.NEW)
        self.refused(f"INSERT INTO lease VALUES ({self.NEW}, 1, {self.l.next_id()}, {self.NEW}, 1,"
                     f" 1, NULL, NULL, 'leased', 0, 0, NULL, '{BOOT}', 0, 0, NULL, NULL)",
                     "no pool in use")
        self.refused(f"INSERT INTO reservation VALUES ({self.NEW}, 1, {self.NEW}, 'r', 0)",
                     "no pool in use")

    def test_ends_by_coming_into_use(self):
        self.l.begin_pool("x", self.NEW)
        this = f"WHERE base = {self.NEW}"
        for change in ("retired = 0", "provisioning = 0", "retired = NULL", "provisioning = NULL",
                       "retired = 0, provisioning = NULL", "retired = NULL, provisioning = 0",
                       "retired = NULL, provisioning = NULL", "retired = 0, provisioning = 1",
                       "retired = 1, provisioning = 0", "provisioning = 2", "provisioning = -1",
                       "provisioning = 'x'"):
            self.refused(f"UPDATE pool SET {change} {this}")
        self.refused(f"UPDATE pool SET retired = 0 {this}", "being provisioned")
        self.refused(f"UPDATE pool SET provisioning = 0 {this}", "being provisioned")
        # What changes nothing, or other things, is fine.
        self.l.run(f"UPDATE pool SET retired = 1, provisioning = 1, next = next + 1 {this}")
        self.l.run(f"UPDATE pool SET retired = 0, provisioning = 0 {this}")
        self.assertEqual(history(self.l.db, "pool-finished", self.NEW), 1)
        self.assertEqual(history(self.l.db, "pool-revived", self.NEW), 0)
        self.l.lease(self.NEW, domid=1, pool=self.NEW)
        self.free_is_right()

    def test_never_begins_again(self):
        self.l.begin_pool("x", self.NEW)
        self.l.run(f"UPDATE pool SET retired = 0, provisioning = 0 WHERE base = {self.NEW}")
        for retired in (0, 1):
            for pool in (BASE, self.NEW):
                self.l.run(f"UPDATE pool SET retired = {retired} WHERE base = {pool}")
                for change in ("provisioning = 1", "provisioning = 1, retired = 1",
                               "provisioning = NULL", "provisioning = 2, retired = 1"):
                    self.refused(f"UPDATE pool SET {change} WHERE base = {pool}", "once")
        for pool in (BASE, self.NEW):
            self.l.run(f"UPDATE pool SET retired = 0 WHERE base = {pool}")
            self.assertEqual(history(self.l.db, "pool-retired", pool), 1)
            self.assertEqual(history(self.l.db, "pool-revived", pool), 1)

    def changed(self, change):
        """What history says of it."""
        before = self.l.next_id()
        self.l.run(f"UPDATE pool SET {change} WHERE base = {BASE}")
        return self.l.run("SELECT what, pool, detail FROM history WHERE id >= ?", before).fetchall()

    def test_every_change_is_noted(self):
        for change, detail in (
                ("policy = 'domid'", "policy next -> domid"),
                ("gid = 7", f"gid {BASE} -> 7"), ("gid = NULL", "gid 7 -> per-uid"),
                ("gid = 8", "gid per-uid -> 8"),
                ("quarantine = 30", "quarantine 60 -> 30"), ("follow = 1", "follow no -> yes"),
                ("resolve = 1", "resolve no -> yes"),
                ("policy = 'next', gid = NULL, quarantine = 0, follow = 0, resolve = 0, next = next",
                 "policy domid -> next, gid 8 -> per-uid, quarantine 30 -> 0, follow yes -> no,"
                 " resolve yes -> no")):
            self.assertEqual(self.changed(change), [("pool-changed", BASE, detail)])
        for change in ("policy = 'next'", "gid = NULL", "next = next + 1", "retired = 0",
                       "provisioning = 0"):
            self.assertEqual(self.changed(change), [])
        self.assertEqual(self.changed("retired = 1, quarantine = 9")[0][0][:5], "pool-")
        self.assertEqual(history(self.l.db, "pool-retired", BASE), 1)
        self.assertEqual(history(self.l.db, "pool-changed", BASE), 9)

    def test_no_change_without_the_ledgers_functions(self):
        before = self.l.dump()
        with sqlite3.connect(self.l.path, isolation_level=None) as shell:
            for change in ("policy = 'domid'", "gid = 7", "gid = NULL", "quarantine = 30",
                           "follow = 1", "resolve = 1", "retired = 1"):
                with self.assertRaisesRegex(sqlite3.Error, "uidpool_boot_id"):
                    shell.execute(f"UPDATE pool SET {change} WHERE base = {BASE}")
        self.assertEqual(before, self.l.dump())


class Accounts(RuleCase):
    INSERT = ("INSERT INTO account (name, uid, gid, pool, state, created_at)"
              " VALUES ({name}, {uid}, {gid}, {pool}, {state}, {created_at})")
    STATES = ("adding", "present", "removing", "removed")
    EDGES = {("adding", "present"), ("present", "removing"), ("removing", "removed"),
             ("adding", "removing"), ("removed", "adding")}

    def insert(self, **change):
        return self.INSERT.format(**{"name": "'alice'", "uid": BASE + 5, "gid": 9, "pool": BASE,
                                     "state": "'adding'", "created_at": 0, **change})

    def test_needs_its_own_reservation(self):
        long, longer = "a" * 31, "a" * 32
        for uid, name, count in ((5, "alice", 1), (6, "bob", 1), (7, "carol", 3), (11, long, 1),
                                 (12, longer, 1)):
            self.l.reserve(BASE + uid, name, count)
        for change in ({"name": "'bob'"}, {"uid": BASE + 6}, {"uid": BASE + 4}, {"name": "'dora'"},
                       {"name": "'Alice'"},
                       {"name": "'carol'", "uid": BASE + 7}, {"name": "'carol'", "uid": BASE + 8},
                       {"pool": BASE + 1000}, {"pool": 5}):
            self.refused(self.insert(**change), "not reserved for that name")
        for change in ({"name": f"'{longer}'", "uid": BASE + 12}, {"gid": 0}, {"gid": -1},
                       {"gid": 2**31}, {"gid": "NULL"}, {"uid": "NULL"}, {"name": "NULL"},
                       {"pool": "NULL"}, {"created_at": "NULL"}, {"gid": "'x'"}):
            self.refused(self.insert(**change))
        self.l.run(self.insert())
        self.l.run(self.insert(name=f"'{long}'", uid=BASE + 11))
        self.assertEqual(history(self.l.db, "account-adding", BASE + 5), 1)
        self.assertEqual(self.l.run("SELECT pool, lease, uid, count, name FROM history WHERE id = ?",
                                    self.l.next_id() - 1).fetchone(),
                         (BASE, None, BASE + 11, 1, long))

    def test_name_and_uid_are_taken(self):
        self.l.add_account(BASE + 5, "alice")
        self.l.add_account(BASE + 6, "bob")
        self.refused(self.insert(), "of that name exists")
        # A reservation cannot give two accounts one uid; a trigger that is gone could.
        self.l.run("DROP TRIGGER reservation_insert")
        self.l.run("DROP TRIGGER reservation_update")
        self.l.run("DROP TRIGGER take_uids_insert")
        self.l.run("CREATE TRIGGER take_uids_insert INSTEAD OF INSERT ON take_uids"
                   " BEGIN SELECT 1; END")
        self.l.run(f"UPDATE reservation SET name = 'dora' WHERE uid = {BASE + 5}")
        self.refused(self.insert(name="'dora'"), "has that uid")

    def test_has_no_other_key(self):
        # In a table with a rowid an INSERT OR REPLACE of that would delete another account.
        self.l.add_account(BASE + 5, "alice")
        self.l.reserve(BASE + 6, "bob")
        for key in ("rowid", "_rowid_", "oid"):
            self.refused(self.insert(name="'bob'", uid=BASE + 6)
                         .replace("(name", f"({key}, name").replace("VALUES (", "VALUES (1, "))
            self.refused(f"UPDATE account SET {key} = 77")

    def test_begins_as_adding(self):
        self.l.reserve(BASE + 5, "alice")
        for state in ("'present'", "'removing'", "'removed'", "NULL", "''", "'ADDING'"):
            self.refused(self.insert(state=state), "first to be added")

    def test_what_never_changes(self):
        self.l.add_account(BASE + 5, "alice")
        self.l.add_account(BASE + 6, "bob")
        self.l.reserve(BASE + 7, "carol")
        for change in ("name = 'carol'", "name = 'bob'", "name = NULL", f"uid = {BASE + 7}",
                       f"uid = {BASE + 6}", f"name = 'carol', uid = {BASE + 7}", "gid = gid + 1",
                       f"pool = {BASE + 1000}", "created_at = 9", "uid = NULL", "gid = NULL"):
            self.refused(f"UPDATE account SET {change} WHERE name = 'alice'", "never change")
            self.refused(f"UPDATE account SET {change}, state = 'removing' WHERE name = 'alice'",
                         "never change")

    def test_edges(self):
        for number, (old, new) in enumerate((a, b) for a in self.STATES for b in self.STATES):
            uid = BASE + number
            self.l.add_account(uid, f"n{number}", old)
            self.assertEqual(self.l.one("SELECT state FROM account WHERE uid = ?", uid), old)
            sql = f"UPDATE account SET state = '{new}' WHERE uid = {uid}"
            with self.subTest(old=old, new=new):
                before = history(self.l.db, f"account-{new}", uid)
                if (old, new) in self.EDGES:
                    self.l.run(sql)
                    self.assertEqual(history(self.l.db, f"account-{new}", uid), before + 1)
                else:
                    self.refused(sql, "no such edge")
        for state in ("NULL", "''", "'x'", "5"):
            self.refused(f"UPDATE account SET state = {state}", "no such edge")

    def test_never_deleted(self):
        for number, state in enumerate(self.STATES):
            self.l.add_account(BASE + number, f"n{number}", state)
            self.refused(f"DELETE FROM account WHERE uid = {BASE + number}", "never deleted")
        self.refused("DELETE FROM account", "never deleted")

    def test_its_reservation_stays(self):
        for number, state in enumerate(self.STATES):
            self.l.add_account(BASE + number, f"n{number}", state)
            self.refused(f"DELETE FROM reservation WHERE uid = {BASE + number}", "user remove")
            self.refused(f"INSERT INTO reservation VALUES ({BASE + 20}, 1, {BASE}, 'n{number}', 0)",
                         "name exists")
            self.refused(f"INSERT INTO reservation VALUES ({BASE + number}, 1, {BASE}, 'x', 0)",
                         "reserved")
        self.l.reserve(BASE + 10, "other")
        self.l.run("DELETE FROM reservation WHERE name = 'other'")
        self.free_is_right()

    def test_leased_only_while_it_is_present(self):
        for number, state in enumerate(self.STATES):
            uid, name = BASE + number, f"n{number}"
            self.l.add_account(uid, name, state)
            if state != "present":
                self.refused("INSERT INTO lease (uid, count, id, pool, gid, name, state, boot,"
                             f" leased_at, since) VALUES ({uid}, 1, {self.l.next_id()}, {BASE}, 1,"
                             f" '{name}', 'leased', '{BOOT}', 0, 0)", "not there to be used")
                # What a stranger does there is worth a hold all the same.
                self.l.lease(uid, state="held")
            else:
                self.l.lease(uid, name=name)
        self.free_is_right()

    def test_stays_while_it_is_leased(self):
        for number, state in enumerate(("adding", "present")):
            uid, name = BASE + number, f"n{number}"
            sql = f"UPDATE account SET state = 'removing' WHERE uid = {uid}"
            self.l.reserve(uid, name)
            self.l.lease(uid, name=name)
            self.l.run(self.insert(uid=uid, name=f"'{name}'"))
            if state != "adding":
                self.l.run(f"UPDATE account SET state = 'present' WHERE uid = {uid}")
            self.refused(sql, "is leased")
            self.l.step(uid, "revoking")
            self.refused(sql, "is leased")
            self.l.step(uid, "quarantined", self.l.prove(uid), self.l.now + 60 * 10**6)
            self.l.run(sql)
        # A hold is nobody's use.
        self.l.add_account(BASE + 5, "alice")
        self.l.lease(BASE + 5, state="held")
        self.l.run("UPDATE account SET state = 'removing' WHERE name = 'alice'")


class Upgrade(unittest.TestCase):
    """Each step on a ledger of the step before that is in use."""

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="uidpool-rules-")
        self.addCleanup(self.dir.cleanup)
        self.l = Ledger(os.path.join(self.dir.name, "ledger.db"), STEPS[:1])
        self.addCleanup(self.l.db.close)

    def test_from_1(self):
        self.l.lease(BASE + 5, 2, domid=5)
        self.l.lease(BASE + 9, domid=9)
        self.l.step(BASE + 9, "revoking")
        self.l.lease(BASE + 12, state="held")
        self.l.reserve(BASE + 20, "r", 3)
        self.l.run(f"UPDATE pool SET retired = 1 WHERE base = {BASE + 1000}")
        old = [table for table in TABLES if table != "account"]
        before = {table: self.l.run(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in old}
        self.l.take(STEPS[1:])
        after = self.l.dump()
        self.assertEqual([row + (0,) for row in before.pop("pool")], after.pop("pool"))
        self.assertEqual(after.pop("account"), [])
        self.assertEqual(before, after)
        # And it goes on.
        self.l.step(BASE + 9, "quarantined", self.l.prove(BASE + 9), self.l.now)
        self.l.run(f"DELETE FROM lease WHERE uid = {BASE + 9}")
        self.l.run(f"UPDATE pool SET retired = 0 WHERE base = {BASE + 1000}")
        self.l.add_account(BASE + 30, "alice")
        fresh = Ledger(os.path.join(self.dir.name, "fresh.db"))
        self.addCleanup(fresh.db.close)
        schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2"
        self.assertEqual(self.l.run(schema).fetchall(), fresh.run(schema).fetchall())


class FreeStretches(RuleCase):
    def test_tampering(self):
        self.l.lease(BASE + 10, 5, domid=1)
        self.l.reserve(BASE + 20, "r", 5)
        for first, last, pool in [(10, 14, BASE), (9, 12, BASE), (12, 16, BASE), (14, 14, BASE),
                                  (20, 24, BASE), (18, 21, BASE), (0, 39, BASE), (40, 50, BASE),
                                  (-5, 3, BASE), (0, 9, BASE + 1000), (5, 4, BASE), (0, 9, BASE)]:
            self.refused("INSERT INTO free (last, first, pool) VALUES "
                         f"({BASE + last}, {BASE + first}, {pool})")
        self.refused(f"INSERT INTO free (last, first, pool) VALUES (NULL, {BASE}, {BASE})")
        for change in ("last = last + 1", "last = last - 1", "first = first + 1",
                       "first = first - 1", "first = first - 5", f"pool = {BASE + 1000}",
                       "first = last + 1",
                       f"first = {BASE + 15}", f"first = {BASE}"):
            self.refused(f"UPDATE free SET {change} WHERE last = {BASE + 39}")
        self.refused("DELETE FROM free")
        self.refused(f"DELETE FROM free WHERE last = {BASE + 39}", "stay free")
        self.refused(f"DELETE FROM free WHERE last = {BASE + 9}", "stay free")

    def test_a_stretch_inside_of_a_stretch(self):
        for first, last in [(10, 20), (0, 20), (0, 0), (38, 38)]:
            self.refused("INSERT INTO free (last, first, pool) VALUES "
                         f"({BASE + last}, {BASE + first}, {BASE})")

    def test_the_two_procedures(self):
        self.l.lease(BASE + 10, 5, domid=1)
        for first, last in [(0, 3), (10, 14), (12, 12), (5, 20), (30, 39), (39, 40)]:
            self.refused("INSERT INTO take_uids (first, last) VALUES "
                         f"({BASE + first}, {BASE + last})")
        for first, last in [(10, 14), (0, 0), (9, 10), (14, 16), (39, 45), (-1, -1), (0, 9)]:
            before = self.l.dump()
            for variant in self.variants("INSERT INTO give_uids (first, last, pool) VALUES "
                                         f"({BASE + first}, {BASE + last}, {BASE})"):
                try:
                    self.l.run(variant)
                except sqlite3.Error:
                    pass
                self.assertEqual(before, self.l.dump(), variant)

    def test_random_leases_and_reservations(self):
        seed = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
        print(f"seed {seed}")
        dice = random.Random(seed)
        for number in range(400):
            uid, count = BASE + dice.randrange(40), dice.choice((1, 1, 1, 2, 3, 7))
            kind = dice.randrange(5)
            self.l.now += 10**6
            try:
                if kind == 0:
                    self.l.reserve(uid, f"r{number}", count)
                elif kind == 1:
                    self.l.run("DELETE FROM reservation WHERE uid = "
                               "(SELECT min(uid) FROM reservation WHERE uid >= ?)", uid)
                elif kind == 2:
                    uid = self.l.one("SELECT coalesce(min(uid), 0) FROM lease WHERE uid >= ?", uid)
                    if uid:
                        self.l.quarantine(uid)
                        self.l.now += 61 * 10**6
                        self.l.run("DELETE FROM lease WHERE uid = ?", uid)
                else:
                    self.l.lease(uid, count, domid=number)
            except sqlite3.IntegrityError:
                pass
            self.free_is_right()


if __name__ == "__main__":
    unittest.main(verbosity=2)
