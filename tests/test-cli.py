#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line: what it refuses and how, its help, its JSON's shapes, its exit statuses, what
happens to output that cannot be written; and that manual, completions and the C example keep up."""
import fcntl
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import unittest

import support
from support import LedgerCase, UIDPOOL, poll, write_ledger

BASE = 2114650112
F_OFD_SETLK = 37  # fcntl(2); not in Python 3.11's fcntl
COMPLETION = os.path.join(support.TOP, "data", "completions", "bash", "uidpool")
MANUAL = os.path.join(support.TOP, "docs", "uidpool.8")
VERBS = ["pool add", "pool list", "pool show", "pool retire", "reserve", "unreserve", "lease",
         "release", "list", "show", "who", "history", "recover", "clear", "ledger check",
         "ledger backup", "ledger upgrade"]
IDENTITY = ["lease", "pool", "uid", "gid", "count", "domid", "name", "uuid", "state"]
LISTED = {*IDENTITY, "reason", "leased_at", "since", "rest_left", "other_boot", "attempts"}
RELEASED = {*IDENTITY, "reason", "rest_left", "attempts", "tasks_scanned", "tasks_killed",
            "zombies"}
EVENT = {"id", "at", "boot", "what", "pool", "lease", "uid", "count", "domid", "name", "uuid",
         "detail"}
POOL = {"name", "base", "size", "policy", "group_per_uid", "gid", "quarantine", "follow", "resolve",
        "retired", "provisioning", "next_uid", "leased", "revoking", "quarantined", "held", "reserved", "free"}
RESERVATION = {"name", "pool", "uid", "count", "created_at"}
SURVIVOR = {"pid", "tid", "command", "state", "real", "effective", "saved", "filesystem"}
TIME = re.compile(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d\Z")
UUIDS = ["5c1d3f7e-0000-4000-8000-000000000001", "5c1d3f7e-0000-4000-8000-000000000002"]
LONG = "n" * 300


def run(*args, **options):
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([UIDPOOL, *map(str, args)], stdin=subprocess.DEVNULL, text=True,
                          stderr=subprocess.PIPE, timeout=60, check=False, **options)


class Help(unittest.TestCase):
    def helps(self, *args):
        answer = run(*args)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""), args)
        return answer.stdout

    def test_general_help_lists_every_verb_and_no_other(self):
        text = self.helps("help")
        self.assertEqual(re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", text, re.M), VERBS)
        self.assertEqual(self.helps("--help"), text)
        self.assertEqual(self.helps("-h"), text)

    def test_every_verb_has_help(self):
        for verb in VERBS:
            with self.subTest(verb):
                text = self.helps("help", *verb.split())
                self.assertTrue(text.startswith(f"usage: uidpool [OPTION...] {verb}"), text)
                self.assertEqual(self.helps(*verb.split(), "--help"), text)
                self.assertEqual(self.helps("--help", *verb.split()), text)
                usage = text.splitlines()[0]
                for option in re.findall(r"--[a-z]+", usage):
                    self.assertRegex(text, rf"(?m)^ {{6}}{option}\b", "is not explained")

    def test_half_a_verb(self):
        self.assertEqual(self.helps("help", "pool").count("usage: "), 4)
        self.assertEqual(self.helps("pool", "--help").count("usage: "), 4)
        answer = run("pool")
        self.assertEqual((answer.returncode, answer.stdout), (2, ""))
        self.assertIn("pool show NAME", answer.stderr)

    def test_nothing_at_all(self):
        answer = run()
        self.assertEqual((answer.returncode, answer.stdout), (2, ""))
        self.assertIn("usage: uidpool", answer.stderr)

    def test_version(self):
        self.assertRegex(self.helps("--version"), r"\Auidpool \d+\.\d+\.\d+\n\Z")
        self.assertEqual(self.helps("lease", "-V"), self.helps("--version"))


# Arguments, and what the message must say: the culprit, and what would be right.
WRONG = [
    (["nonsense"], "nonsense", "uidpool help"),
    ([""], "''", "uidpool help"),
    (["pool", "nonsense"], "pool nonsense", "uidpool help"),
    (["help", "nonsense"], "nonsense", "uidpool help"),
    (["help", "lease", "x"], "x", "too many"),
    (["--nonsense", "list"], "--nonsense", "unknown"),
    (["-x"], "-x", "unknown"),
    (["list", "-x"], "-x", "unknown"),
    (["list", "extra"], "extra", "too many"),
    (["list", "--", "extra"], "extra", "too many"),
    (["list", "--json=yes"], "--json", "no value"),
    (["list", "--json", "--json"], "--json", "twice"),
    (["--json", "list", "--json"], "--json", "twice"),
    (["list", "-q", "-v"], "--quiet", "--verbose"),
    (["list", "--base=5"], "--base", "takes no"),
    (["--domid=5", "lease"], "--domid", "behind the verb"),
    (["--ledger"], "--ledger", "value"),
    (["--ledger=", "list"], "--ledger", "a path"),
    (["--ledger=" + "x" * 5000, "list"], "--ledger", "a path"),
    (["--config=", "list"], "--config", "a path"),
    (["lease"], "--domid=N", "--name=NAME"),
    (["lease", "--domid=5", "--name=x"], "--domid=N", "--name=NAME"),
    (["lease", "--domid=5", "--domid=5"], "--domid", "twice"),
    (["lease", "--dom=5"], "--domid", "in full"),
    (["lease", "--domid"], "--domid", "32751"),
    (["lease", "--domid=5", "5"], "'5'", "too many"),
    (["lease", "--name="], "--name", "63"),
    (["lease", f"--name={LONG}"], "--name", "63"),
    (["lease", "--name=-x"], "--name", "63"),
    (["lease", "--name=a b"], "--name", "63"),
    (["lease", "--name=a/b"], "--name", "63"),
    (["lease", "--domid=5", f"--pool={LONG}"], "--pool", "63"),
    (["lease", "--domid=5", "--uuid=5"], "--uuid", "hexadecimal"),
    (["lease", "--domid=5", f"--uuid={UUIDS[0]}x"], "--uuid", "hexadecimal"),
    (["lease", "--domid=5", "--count=0"], "--count", "2147483647"),
    (["lease", "--domid=5", "--count=2147483648"], "--count", "2147483647"),
    (["lease", "--domid=5", "--timeout=-1"], "--timeout", "seconds"),
    (["lease", "--domid=5", "--timeout=1.5"], "--timeout", "seconds"),
    (["lease", "--domid=5", "--timeout=315360001"], "--timeout", "315360000"),
    (["release"], "--domid=N", "--uid=UID"),
    (["release", "--domid=5", "--uid=5"], "--domid=N", "--uid=UID"),
    (["release", "--pool=xen"], "--name=NAME", "--uid=UID"),
    (["show"], "argument", "UID"),
    (["show", "-5"], "-5", "negative"),
    (["show", "5", "6"], "'6'", "too many"),
    (["who", "5", "--at=tomorrow"], "--at", "yesterday"),
    (["who", "5", "--at="], "--at", "yesterday"),
    (["who", "5", "--at=@0"], "--at", "1970"),
    (["history", "--limit=0"], "--limit", "1 or more"),
    (["history", "--limit=99999999999999999999"], "--limit", "1 or more"),
    (["history", "--since=now", "--until=-5m"], "--since", "--until"),
    (["clear"], "argument", "UID"),
    (["ledger", "backup"], "argument", "FILE"),
    (["ledger", "backup", ""], "''", "a path"),
    (["ledger", "check", "x"], "'x'", "too many"),
    (["pool", "add", "x"], "--base=UID|auto", "--size=N"),
    (["pool", "add", "--base=auto", "--size=5"], "argument", "NAME"),
    (["pool", "add", "x", "--base=auto"], "needs", "--size=N"),
    (["pool", "add", "x", "y", "--base=auto", "--size=5"], "'y'", "too many"),
    (["pool", "add", LONG, "--base=auto", "--size=5"], "is no name", "63"),
    (["pool", "add", "", "--base=auto", "--size=5"], "'' is no name", "63"),
    (["pool", "add", "x", "--base=auto", "--size=0"], "--size", "2147483647"),
    (["pool", "add", "x", "--base=Auto", "--size=5"], "--base", "auto, or"),
    (["pool", "add", "x", "--base=auto", "--size=5", "--policy=other"], "--policy",
     "domid or next"),
    (["pool", "add", "x", "--base=auto", "--size=5", "--group=base"], "--group", "per-uid"),
    (["pool", "add", "x", "--base=auto", "--size=5", "--group=0"], "--group", "per-uid"),
    (["pool", "add", "x", "--base=auto", "--size=5", "--quarantine=1y"], "--quarantine", "seconds"),
    (["pool", "show", "a", "b"], "'b'", "too many"),
    (["reserve", "x"], "needs", "--pool=POOL"),
    (["reserve", "x", "--pool=p", "--name=y"], "--name", "takes no"),
]
NO_UIDS = ["0", "-1", "4294967295", "4294967296", "2147483648", "65534", "65535", "5x", "x5", " 5",
           "5 ", "0x5", "+5", "05", "", "1e3", "18446744073709551617"]
NO_DOMIDS = ["-1", "32752", "4294967295", "4294967296", "5x", " 5", "", "+5", "05", "0x5",
             "18446744073709551621"]


class Refusals(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="uidpool-test-")
        self.addCleanup(folder.cleanup)
        self.ledger = os.path.join(folder.name, "ledger.db")

    def refused(self, args, *words):
        given = args if any(a.startswith("--ledger") for a in args) else \
            [f"--ledger={self.ledger}", *args]
        answer = run(*given)
        with self.subTest(args=[a[:40] for a in args]):
            self.assertEqual((answer.returncode, answer.stdout), (2, ""), answer.stderr)
            for word in words:
                self.assertIn(word, answer.stderr)
            self.assertTrue(answer.stderr.startswith("uidpool: "), answer.stderr)
            self.assertLess(len(answer.stderr), 1000, "echoes too much of what was wrong")
            self.assertFalse(os.path.exists(self.ledger), "it made a ledger")

    def test_wrong_usage(self):
        for args, *words in WRONG:
            self.refused(args, *words)

    def test_uids(self):
        for bad in NO_UIDS:
            self.refused(["release", f"--uid={bad}"], "--uid", "1 to 2147483647")
            self.refused(["release", "--uid", bad], "--uid", "1 to 2147483647")
            self.refused(["pool", "add", "x", f"--base={bad}", "--size=5"], "--base", "auto, or 1")
            if not bad.startswith("-"):
                self.refused(["show", bad], "is no uid", "1 to 2147483647")
                self.refused(["clear", bad], "is no uid", "1 to 2147483647")

    def test_domids(self):
        for bad in NO_DOMIDS:
            self.refused(["lease", f"--domid={bad}"], "--domid", "0 to 32751")
            self.refused(["release", f"--domid={bad}"], "--domid", "0 to 32751")

    def test_control_characters_reach_no_terminal(self):
        answer = run("lease", "--name=\x1b[2Jx\n")
        self.assertEqual(answer.returncode, 2)
        self.assertNotIn("\x1b", answer.stderr)

    def test_posixly_correct_changes_nothing(self):
        answer = run("show", "5", "--nonsense", env={**os.environ, "POSIXLY_CORRECT": "1"})
        self.assertIn("--nonsense", answer.stderr)


class NotRoot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Where everybody may execute it, wherever it was built.
        cls.folder = tempfile.mkdtemp(prefix="uidpool-test-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        os.chmod(cls.folder, 0o755)
        cls.copy = os.path.join(cls.folder, "uidpool")
        shutil.copy(UIDPOOL, cls.copy)

    def run_as(self, *args):
        return subprocess.run([self.copy, *args], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, user=BASE + 60000, group=BASE + 60000,
                              extra_groups=[])

    def test_verbs_need_root(self):
        ledger = f"--ledger={self.folder}/ledger.db"
        for args in (["list"], ["lease", "--domid=5"], ["show", "5"], ["ledger", "check"],
                     ["recover"], ["pool", "add", "x", "--base=auto", "--size=5"]):
            answer = self.run_as(ledger, *args)
            self.assertEqual((answer.returncode, answer.stdout), (9, ""), args)
            self.assertIn("root", answer.stderr)

    def test_help_does_not(self):
        for args in (["help"], ["--version"], ["lease", "--help"]):
            answer = self.run_as(*args)
            self.assertEqual((answer.returncode, answer.stderr), (0, ""), args)

    def test_set_user_id_is_refused(self):
        os.chmod(self.copy, 0o4755)
        self.addCleanup(os.chmod, self.copy, 0o755)
        answer = self.run_as(f"--ledger={self.folder}/ledger.db", "list")
        self.assertEqual((answer.returncode, answer.stdout), (9, ""))


class Provisioned(LedgerCase):
    """What uidpool-provision has begun, and nobody else may carry on or end."""

    BEGIN = ("INSERT INTO pool (base, size, name, policy, gid, quarantine, follow, resolve, retired,"
             f" provisioning, next, created_at) VALUES ({BASE + 100}, 40, 'new', 'domid',"
             f" {BASE + 100}, 60, 0, 0, 1, 1, {BASE + 100}, 0)")
    FINISH = "UPDATE pool SET retired = 0, provisioning = 0 WHERE name = 'new'"
    ADD = ["pool", "add", "new", f"--base={BASE + 100}", "--size=40"]
    ADVICE = "uidpool-provision apply"

    def setUp(self):
        super().setUp()
        self.add_pool(BASE)
        write_ledger(self.u.ledger, self.BEGIN)

    def refused(self, *args, says=ADVICE):
        before = self.u.events()
        self.assertIn(says, self.run_exit(4, *args).stderr)
        self.assertEqual(self.u.events(), before)

    def test_is_shown(self):
        self.assertEqual([(pool["provisioning"], pool["retired"])
                          for pool in self.u.json("pool", "list")["pools"]],
                         [(False, False), (True, True)])
        self.assertRegex(self.run_ok("pool", "show", "new").stdout, r"(?mi)^provisioning: +yes$")
        self.assertNotIn("provisioning", self.run_ok("pool", "show", "p").stdout)
        self.assertIn("PROVISIONING", self.run_ok("pool", "list").stdout)

    def test_gives_nothing_until_it_is_finished(self):
        self.refused("lease", "--domid=1", "--pool=new")
        self.refused("reserve", "web", "--pool=new")
        # Without --pool it is no choice, and no reason to say that there is no pool.
        self.assertEqual(self.lease(1) // 100, BASE // 100)
        self.run_ok("release", "--domid=1")
        self.run_ok("recover")
        self.run_ok("pool", "retire", "p")
        self.refused("lease", "--domid=1")
        write_ledger(self.u.ledger, self.FINISH)
        self.assertEqual(self.lease(1), BASE + 101)

    def test_is_neither_revived_nor_retired(self):
        self.refused(*self.ADD)
        self.refused("pool", "retire", "new")
        self.run_ok("ledger", "check")
        write_ledger(self.u.ledger, self.FINISH)
        self.run_ok(*self.ADD)
        self.run_ok("pool", "retire", "new")
        self.run_ok(*self.ADD)
        self.assertEqual([event["what"] for event in self.u.events("--pool=new")],
                         ["pool-added", "pool-finished", "pool-retired", "pool-revived"])

    def test_an_account_keeps_its_uid(self):
        uid = self.u.json("reserve", "web", "--pool=p")["uid"]
        write_ledger(self.u.ledger, "INSERT INTO account (name, uid, gid, pool, state, created_at)"
                                    f" VALUES ('web', {uid}, {uid}, {BASE}, 'adding', 0)")
        self.refused("unreserve", "web", says="uidpool-provision user remove web")
        self.refused("lease", "--name=web", says="uidpool-provision user add web")
        write_ledger(self.u.ledger, "UPDATE account SET state = 'present'")
        self.assertEqual(self.run_ok("lease", "--name=web").stdout, f"{uid}:{BASE}\n")
        self.run_ok("lease", "--name=web")  # the same again
        self.run_ok("release", "--name=web")
        write_ledger(self.u.ledger, "UPDATE account SET state = 'removing'",
                     "UPDATE account SET state = 'removed'")
        self.refused("unreserve", "web", says="uidpool-provision user remove web")
        self.run_ok("recover")
        self.refused("lease", "--name=web", says="uidpool-provision user add web")
        self.assertEqual([event["what"] for event in self.u.events("--name=web")
                          if event["what"].startswith("account")],
                         [f"account-{state}" for state in
                          ("adding", "present", "removing", "removed")])
        self.run_ok("ledger", "check")


class Shapes(LedgerCase):
    """JSON is an interface: its keys, their types, null where something is missing."""

    def test_pool(self):
        added = self.u.json("pool", "add", "p", f"--base={BASE}", "--size=40", "--policy=next",
                            "--quarantine=2m")
        self.assertEqual(set(added), POOL)
        expected = {"name": "p", "base": BASE, "size": 40, "policy": "next", "group_per_uid": False,
                    "gid": BASE, "quarantine": 120, "follow": False, "resolve": False,
                    "retired": False, "provisioning": False, "leased": 0, "held": 0, "free": 40}
        self.assertEqual({key: added[key] for key in expected}, expected)
        self.u.json("pool", "add", "q", f"--base={BASE + 100}", "--size=5", "--group=per-uid",
                    "--follow", "--resolve")
        pools = self.u.json("pool", "list")["pools"]
        self.assertEqual([set(pool) for pool in pools], [POOL, POOL])
        self.assertEqual([pool["gid"] for pool in pools], [BASE, None])
        self.assertEqual([pool["follow"] for pool in pools], [False, True])
        self.assertEqual([pool["policy"] for pool in pools], ["next", "domid"])
        reserved = self.u.json("reserve", "fred", "--pool=p", f"--uid={BASE + 3}", "--count=2")
        self.assertEqual(set(reserved), RESERVATION)
        self.assertRegex(reserved.pop("created_at"), TIME)
        self.assertEqual(reserved, {"name": "fred", "pool": "p", "uid": BASE + 3, "count": 2})
        shown = self.u.json("pool", "show", "p")
        self.assertEqual(set(shown), POOL | {"reservations"})
        self.assertEqual([r["name"] for r in shown["reservations"]], ["fred"])
        self.assertEqual((shown["reserved"], shown["free"]), (2, 38))
        self.assertIn("fred", self.run_ok("pool", "show", "p").stdout)
        self.assertEqual(self.u.json("unreserve", "fred"), {"unreserved": "fred"})
        retired = self.u.json("pool", "retire", "p")
        self.assertEqual(set(retired), POOL)
        self.assertTrue(retired["retired"])

    def test_empty_lists(self):
        self.add_pool(BASE)
        self.assertEqual(self.u.json("list"), {"leases": []})
        self.assertEqual(self.u.json("history", "--domid=5"), {"events": []})
        self.assertEqual(self.u.json("recover"), {"recovered": []})

    def test_lease(self):
        self.add_pool(BASE, policy="domid")
        text = self.run_ok("--json", "lease", "--domid=5").stdout
        lease = json.loads(text)
        self.assertEqual(text, f'{{"lease":{lease["lease"]},"pool":"p","uid":{BASE + 5},'
                               f'"gid":{BASE},"count":1,"domid":5,"name":null,"uuid":null,'
                               '"state":"leased","existing":false}\n')
        again = self.u.json("lease", "--domid=5", "--pool=p")
        self.assertEqual(again, {**lease, "existing": True})
        # --json before, behind and between.
        self.assertEqual(json.loads(self.run_ok("lease", "--json", "--domid=5").stdout), again)
        self.assertEqual(len(json.loads(self.run_ok("pool", "--json", "list").stdout)["pools"]), 1)
        self.assertEqual(self.run_ok("lease", "--domid", "5").stdout, f"{BASE + 5}:{BASE}\n")

    def test_listings(self):
        self.add_pool(BASE)
        self.lease(5, f"--uuid={UUIDS[0].upper()}")
        self.u.json("lease", "--name=fred", "--count=3")
        five, fred = self.u.leases()
        self.assertEqual((set(five), set(fred)), (LISTED, LISTED))
        self.assertEqual((five["domid"], five["name"], five["uuid"]), (5, None, UUIDS[0]))
        self.assertEqual((fred["domid"], fred["name"], fred["uuid"]), (None, "fred", None))
        self.assertEqual((fred["count"], fred["rest_left"], fred["attempts"]), (3, 0, 0))
        self.assertEqual((fred["state"], fred["reason"], fred["other_boot"]),
                         ("leased", None, False))
        self.assertRegex(fred["leased_at"], TIME)
        self.assertRegex(fred["since"], TIME)
        for selector in ("--name=fred", f"--uid={fred['uid'] + 2}"):
            self.assertEqual(self.u.json("list", selector)["leases"], [fred])
        self.assertEqual(self.u.json("list", "--domid=5", "--pool=p")["leases"], [five])
        self.assertEqual(self.u.json("list", "--domid=5", "--name=fred")["leases"], [])
        table = self.run_ok("list").stdout.splitlines()
        self.assertEqual(len(table), 3)
        self.assertEqual(table[1].split()[:6],
                         [str(five[key]) for key in IDENTITY[:6]])

        shown = self.u.json("show", fred["uid"] + 1)
        self.assertEqual(set(shown), LISTED | {"events"})
        self.assertEqual({key: shown[key] for key in LISTED}, fred)
        self.assertEqual([set(event) for event in shown["events"]], [EVENT])
        self.assertEqual((shown["events"][0]["what"], shown["events"][0]["id"]),
                         ("leased", fred["lease"]))
        self.assertIn("leased", self.run_ok("show", five["uid"]).stdout)

        who = self.u.json("who", fred["uid"], "--at=now")
        self.assertEqual(set(who), {"uid", "at", "lease", "pool", "domid", "name", "uuid",
                                    "events"})
        self.assertEqual((who["lease"], who["name"], who["domid"]), (fred["lease"], "fred", None))
        self.assertIn("domid 5 in pool p", self.run_ok("who", five["uid"]).stdout)
        self.run_exit(3, "who", five["uid"], "--at=yesterday")

        events = self.u.events(f"--uid={five['uid']}", "--domid=5")
        self.assertEqual([set(event) for event in events], [EVENT])
        self.assertRegex(events[0]["at"], TIME)
        self.assertRegex(events[0]["boot"], r"\A[0-9a-f]{32}\Z")
        self.assertEqual(len(self.u.events("--limit=1")), 1)
        self.assertEqual(self.u.events("--until=yesterday"), [])
        self.assertEqual(self.u.events("--since=-1m"), self.u.events())

    def test_release(self):
        self.add_pool(BASE, policy="domid", quarantine=60)
        uid = self.lease(5)
        self.lease(6)
        process = subprocess.Popen(["sleep", "1000"], user=uid, group=uid, extra_groups=[])
        self.addCleanup(process.wait)
        line = self.run_ok("release", "--domid=5").stdout
        # We are its parent and did not reap it yet: dead, yet still counted by the kernel.
        self.assertRegex(line, rf"\Areleased domid 5 from p: uid {uid}, \d+ tasks looked at, "
                               r"[01] killed, 1 zombies that nobody reaped, rests \d+ s\n\Z")
        self.assertEqual(process.wait(), -9)
        answer = self.run_ok("--json", "release", "--domid=6")
        self.assertEqual(answer.stdout.count("\n"), 1)
        (released,) = json.loads(answer.stdout)["released"]
        self.assertEqual(set(json.loads(answer.stdout)), {"released"})
        self.assertEqual(set(released), RELEASED)
        self.assertEqual((released["state"], released["domid"]), ("quarantined", 6))
        self.assertGreater(released["rest_left"], 0)

    def test_hold_and_clear(self):
        self.add_pool(BASE)
        uid = self.lease(5)
        left = tempfile.NamedTemporaryFile(dir="/tmp", prefix="uidpool-test-")
        self.addCleanup(left.close)
        os.chown(left.name, uid, -1)
        answer = self.run_ok("release", f"--uid={uid}")
        self.assertTrue(answer.stdout.startswith(f"held: domid 5 of p: uid {uid}, "), answer.stdout)
        self.assertIn(left.name, answer.stdout)
        self.assertIn(f"uidpool clear {uid}", answer.stderr)
        self.run_exit(4, "clear", uid)
        os.chown(left.name, 0, -1)
        cleared = self.u.json("clear", uid)
        self.assertEqual(set(cleared), RELEASED)
        self.assertEqual((cleared["uid"], cleared["state"]), (uid, "quarantined"))
        self.run_exit(3, "clear", uid)
        self.run_exit(4, "clear", self.lease(6))

    def test_ledger(self):
        self.add_pool(BASE)
        self.assertEqual(self.u.json("ledger", "check"), {"findings": []})
        copy = os.path.join(self.dir, "copy.db")
        self.assertEqual(self.u.json("ledger", "backup", copy), {"backup": copy})
        self.assertEqual(os.stat(copy).st_mode & 0o777, 0o600)
        self.run_exit(4, "ledger", "backup", copy)
        versions = self.u.json("ledger", "upgrade")
        self.assertEqual(set(versions), {"from", "to"})
        self.assertEqual(versions["from"], versions["to"])


class ExitStatus(LedgerCase):
    def silent(self, status, *args):
        """Failed, and said nothing where a toolstack reads."""
        answer = self.run_exit(status, *args)
        self.assertEqual(answer.stdout, "")
        self.assertTrue(all(line.startswith("uidpool: ") for line in answer.stderr.splitlines()),
                        answer.stderr)
        return answer.stderr

    def test_not_found(self):
        self.add_pool(BASE, policy="domid")
        for args in (["lease", "--pool=other", "--domid=5"], ["lease", "--name=fred"],
                     ["release", "--domid=5"], ["show", BASE], ["who", BASE], ["clear", BASE],
                     ["pool", "show", "other"], ["pool", "retire", "other"],
                     ["reserve", "x", "--pool=other"], ["unreserve", "x"]):
            self.silent(3, *args)
            self.silent(3, "--json", *args)

    def test_a_lost_ledger_is_not_an_empty_one(self):
        for args in (["list"], ["lease", "--domid=5"], ["release", "--domid=5"], ["recover"]):
            answer = self.u.run(*args)
            self.assertNotEqual(answer.returncode, 0, args)
            self.assertEqual(answer.stdout, "")
            self.assertIn(self.u.ledger, answer.stderr)

    def test_conflicts(self):
        self.add_pool(BASE)
        self.assertIn("p", self.silent(4, "pool", "add", "q", f"--base={BASE + 39}", "--size=9"))
        self.lease(5, f"--uuid={UUIDS[0]}")
        for json_too in ([], ["--json"]):
            self.assertIn("uuid", self.silent(4, "lease", "--domid=5", *json_too))
        self.silent(4, "pool", "retire", "p")
        self.run_ok("reserve", "fred", "--pool=p", f"--uid={BASE + 20}")
        self.silent(4, "reserve", "barney", "--pool=p", f"--uid={BASE + 20}")
        self.run_ok("lease", "--name=fred")
        self.silent(4, "unreserve", "fred")

    def test_a_stranger_on_a_uid_that_has_rested(self):
        """It is held like any other, though the lease before it is still in the ledger."""
        self.add_pool(BASE, policy="domid", quarantine=1)
        uid = self.lease(5)
        self.run_ok("release", "--domid=5")
        poll(lambda: self.u.leases()[0]["rest_left"] == 0, "the rest to be over")
        stranger = subprocess.Popen(["setpriv", f"--reuid={uid}", "--clear-groups", "cat"],
                                    stdin=subprocess.PIPE)
        self.addCleanup(stranger.communicate)
        poll(lambda: os.stat(f"/proc/{stranger.pid}").st_uid == uid, "the stranger")
        message = self.silent(4, "lease", "--domid=5")
        self.assertIn(f"in use without a lease by pid {stranger.pid}", message)
        self.assertEqual([lease["state"] for lease in self.u.leases()], ["held"])

    def test_what_is_free_is_in_others_hands(self):
        """A pool whose last free uid somebody else is looking at is not exhausted: wait for him."""
        self.add_pool(BASE, size=1)
        claim = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, BASE, 1, 0)
        with open(self.u.ledger + ".lock", "r+b") as lock:
            fcntl.fcntl(lock, F_OFD_SETLK, claim)
            self.silent(5, "lease", "--domid=5", "--timeout=0")
            waiting = self.u.start("lease", "--domid=5")
            with self.assertRaises(subprocess.TimeoutExpired):
                waiting.wait(timeout=0.3)
        self.assertEqual(waiting.communicate(timeout=30)[0].split(":")[0], str(BASE))

    def test_clearing_skips_no_rest(self):
        """A stranger's uid rests from when it is cleared; residue's from when it was proven."""
        self.add_pool(BASE, policy="domid", quarantine=3600)
        stranger = subprocess.Popen(["setpriv", f"--reuid={BASE + 5}", "--clear-groups", "cat"],
                                    stdin=subprocess.PIPE)
        poll(lambda: os.stat(f"/proc/{stranger.pid}").st_uid == BASE + 5, "the stranger")
        self.silent(4, "lease", "--domid=5")
        stranger.communicate()
        self.assertEqual(self.u.json("clear", BASE + 5)["rest_left"], 3600)
        uid = self.lease(6)
        with tempfile.NamedTemporaryFile(dir="/tmp", prefix="uidpool-test-") as left:
            os.chown(left.name, uid, -1)
            self.run_ok("release", "--domid=6")
            self.run_exit(4, "clear", uid)
        rest = self.u.json("clear", uid)["rest_left"]
        self.assertTrue(3500 < rest <= 3600, rest)

    def test_a_warning_is_shown_and_no_failure(self):
        """Xen's documented base lies in the first subordinate grant of most distributions."""
        folder = os.path.join(self.dir, "etc")
        shutil.copytree("/etc", folder, symlinks=True)
        subprocess.run(["mount", "--bind", folder, "/etc"], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", "/etc"], check=True)
        with open("/etc/subuid", "w", encoding="utf-8") as file:
            file.write(f"somebody:{BASE}:65536\n")
        answer = self.run_ok("pool", "add", "p", f"--base={BASE}", "--size=40", "--quiet")
        self.assertIn("uidpool: warning: ", answer.stderr)
        self.assertIn("somebody", answer.stderr)
        self.assertIn("name:", answer.stdout)

    def test_exhausted(self):
        self.add_pool(BASE, size=2)
        self.silent(5, "lease", "--domid=1", "--count=3")
        self.lease(1)
        self.lease(2)
        self.silent(5, "lease", "--domid=3")

    def survivor(self, uid):
        """A root process with the leased uid as its effective one: not ours to kill."""
        code = ("import os, sys, time\nos.setresuid(0, int(sys.argv[1]), 0)\n"
                "print('ready', flush=True)\ntime.sleep(1000)\n")
        process = subprocess.Popen([sys.executable, "-c", code, str(uid)], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def test_not_proven(self):
        self.add_pool(BASE, policy="domid")
        uid = self.lease(5)
        process = self.survivor(uid)
        message = self.silent(6, "release", "--domid=5", "--timeout=1")
        self.assertIn(f"pid {process.pid}, tid {process.pid}, command 'python3", message)
        self.assertIn(f"real 0, effective {uid}, saved 0, file system {uid}", message)
        self.assertIn("next: ", message)
        answer = self.run_exit(6, "--json", "release", "--domid=5", "--timeout=1")
        told = json.loads(answer.stdout)
        self.assertEqual((set(told), told["released"]), ({"released", "survivors"}, []))
        self.assertEqual(set(told["survivors"][0]), SURVIVOR)
        self.assertEqual((told["survivors"][0]["pid"], told["survivors"][0]["effective"]),
                         (process.pid, uid))
        (lease,) = self.u.leases()
        self.assertEqual(lease["state"], "revoking")
        self.assertGreaterEqual(lease["attempts"], 1)
        self.silent(6, "recover", "--timeout=1")
        process.kill()
        process.wait()
        self.assertEqual(len(self.u.json("recover")["recovered"]), 1)

    def test_a_new_uuid_waits_for_the_old_lease(self):
        self.add_pool(BASE)
        uid = self.lease(5, f"--uuid={UUIDS[0]}")
        process = self.survivor(uid)
        message = self.silent(6, "lease", "--domid=5", f"--uuid={UUIDS[1]}", "--timeout=1")
        self.assertIn(f"pid {process.pid}", message)

    def test_unusable_ledger(self):
        self.add_pool(BASE)
        os.chmod(self.u.ledger, 0o622)
        self.silent(7, "list")
        os.chmod(self.u.ledger, 0o600)
        self.run_ok("list")
        with open(self.u.ledger, "r+b") as file:
            file.write(b"garbage" * 100)
        for suffix in ("-wal", "-shm"):
            if os.path.exists(self.u.ledger + suffix):
                os.unlink(self.u.ledger + suffix)
        self.silent(7, "lease", "--domid=5")

    def test_check_finds(self):
        self.add_pool(BASE)
        with sqlite3.connect(self.u.ledger) as database:
            database.execute("DROP TRIGGER lease_delete")
        database.close()
        answer = self.run_exit(10, "ledger", "check")
        self.assertIn("lease_delete", answer.stdout)
        answer = self.run_exit(10, "--json", "ledger", "check")
        self.assertIn("lease_delete", " ".join(json.loads(answer.stdout)["findings"]))


class Output(LedgerCase):
    """Output that could not be written is a failure, and a grant is never lost in silence."""

    def setUp(self):
        super().setUp()
        self.add_pool(BASE)

    def to(self, stdout, *args, **options):
        return subprocess.run(self.u.command(*args), stdin=subprocess.DEVNULL, text=True,
                              stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False,
                              **options)

    def test_full(self):
        for args in (["list", "--json"], ["pool", "list"], ["pool", "show", "p"], ["history"],
                     ["ledger", "check"], ["help"], ["--version"], ["lease", "--help"],
                     ["recover", "--json"]):
            with open("/dev/full", "wb") as full:
                answer = self.to(full, *args)
            self.assertEqual(answer.returncode, 1, args)
            self.assertIn("standard output", answer.stderr)

    def test_full_grant(self):
        for domid, more in ((5, []), (6, ["--json"])):
            with open("/dev/full", "wb") as full:
                answer = self.to(full, "lease", f"--domid={domid}", *more)
            self.assertEqual(answer.returncode, 1)
            (lease,) = self.u.json("list", f"--domid={domid}")["leases"]
            self.assertIn(f"lease {lease['lease']} of pool p", answer.stderr)
            self.assertIn(f"{lease['uid']}:{lease['gid']}", answer.stderr)
            self.assertIn(f"uidpool release --uid={lease['uid']}", answer.stderr)
            self.assertTrue(self.u.json("lease", f"--domid={domid}")["existing"])

    def test_closed_pipe(self):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as pipe:
            answer = self.to(pipe, "lease", "--domid=5")
        self.assertEqual(answer.returncode, 1, "died of a signal" if answer.returncode < 0 else "")
        self.assertIn("was granted", answer.stderr)

    def test_closed_descriptors(self):
        """The ledger must not become descriptor 1."""
        for fd in (0, 1, 2):
            for verb in (["list", "--json"], ["lease", f"--domid={fd}"]):
                answer = subprocess.run(["sh", "-c", f'exec "$@" {fd}>&-', "sh",
                                         *self.u.command(*verb)], capture_output=True, text=True,
                                        check=False)
                self.assertEqual(answer.returncode, 1 if fd == 1 else 0, answer.stderr)
        self.run_ok("ledger", "check")
        with open(self.u.ledger + ".lock", encoding="ascii") as file:
            self.assertRegex(file.read(), r"\A\d{19}\n\Z")

    def test_exit_of_a_failure_is_kept(self):
        with open("/dev/full", "wb") as full:
            self.assertEqual(self.to(full, "release", "--domid=9").returncode, 3)

    def test_progress_is_for_terminals(self):
        uid = self.lease(5)
        process = ExitStatus.survivor(self, uid)
        quiet = self.u.run("release", "--domid=5", "--timeout=3", "-q")
        plain = self.u.run("release", "--domid=5", "--timeout=3")
        loud = self.u.run("release", "--domid=5", "--timeout=3", "--verbose")
        self.assertEqual([r.returncode for r in (quiet, plain, loud)], [6, 6, 6])
        lines = [len(r.stderr.splitlines()) for r in (quiet, plain, loud)]
        self.assertEqual(lines[0], lines[1])
        self.assertGreater(lines[2], lines[1])
        process.kill()


class Papers(unittest.TestCase):
    """Manual and completions keep up with the program."""

    def test_manual_is_clean(self):
        if not shutil.which("mandoc"):
            self.skipTest("mandoc is not installed")
        lint = subprocess.run(["mandoc", "-Tlint", MANUAL], capture_output=True, text=True,
                              check=False)
        # Which other manuals this machine has is not the manual's fault.
        found = [line for line in (lint.stdout + lint.stderr).splitlines()
                 if "referenced manual not found" not in line and "mandoc.db" not in line]
        self.assertEqual(found, [])

    def test_manual_has_every_verb_option_and_status(self):
        with open(MANUAL, encoding="utf-8") as file:
            manual = file.read()
        for verb in VERBS:
            self.assertRegex(manual, rf"(?m)^\.It (Xo\n\.)?Cm {verb}\b", verb)
            for option in re.findall(r"^ {2}.{4}--([a-z]+)", run("help", *verb.split()).stdout,
                                     re.M):
                self.assertRegex(manual, rf"Fl (\w , )?-{option}\b", verb)
        status = manual[manual.index(".Sh EXIT STATUS"):manual.index(".Sh EXAMPLES")]
        self.assertEqual(re.findall(r"(?m)^\.It (\d+)$", status),
                         ["0", "1", "2", "3", "4", "5", "6", "7", "9", "10"])

    def complete(self, *words):
        script = ('source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); '
                  'COMP_CWORD=$(($# - 1)); _uidpool "$PROGRAM"; printf "%s\\n" "${COMPREPLY[@]}"')
        answer = subprocess.run(["bash", "-c", script, "bash", COMPLETION, "uidpool", *words],
                                env={**os.environ, "PROGRAM": UIDPOOL}, capture_output=True,
                                text=True, check=True)
        self.assertEqual(answer.stderr, "")
        return answer.stdout.split()

    def test_bash_completion(self):
        self.assertEqual(set(self.complete("")), {verb.split()[0] for verb in VERBS} | {"help"})
        self.assertEqual(self.complete("--json", "pool", ""), ["add", "list", "show", "retire"])
        self.assertEqual(self.complete("help", "ledger", "b"), ["backup"])
        self.assertEqual(self.complete("lease", "--d"), ["--domid="])
        self.assertEqual(self.complete("pool", "add", "x", "--policy", "=", "n"), ["next"])
        self.assertEqual(self.complete("lease", "--policy"), [])
        self.assertEqual(self.complete("$(touch x)", ""), [])
        for verb in VERBS:
            usage = run("help", *verb.split()).stdout.splitlines()[0]
            offered = {word.rstrip("=") for word in self.complete(*verb.split(), "--")}
            self.assertLessEqual(set(re.findall(r"--[a-z]+", usage)), offered, verb)


class Example(LedgerCase):
    """docs/examples/lease.c, as a toolstack would build it."""

    def test_example(self):
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler or not shutil.which("pkg-config"):
            self.skipTest("no C compiler or no pkg-config")
        # The file that gets installed, but for where the header and the library are now.
        library = os.path.join(support.BUILD, "allocator")
        header = os.path.join(support.TOP, "include")
        with open(os.path.join(library, "libuidpool.so.0"), "rb") as file:
            if b"__asan_init" in file.read():
                self.skipTest("the library has a sanitizer, a program without one cannot load it")
        flags = subprocess.run(["pkg-config", f"--define-variable=includedir={header}",
                                f"--define-variable=libdir={library}", "--cflags", "--libs",
                                "libuidpool"], capture_output=True, text=True, check=False,
                               env={**os.environ, "PKG_CONFIG_PATH":
                                    os.path.join(support.BUILD, "meson-private")})
        self.assertEqual(flags.returncode, 0, flags.stderr)
        program = os.path.join(self.dir, "example")
        built = subprocess.run([compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", program,
                                os.path.join(support.TOP, "docs", "examples", "lease.c"),
                                *flags.stdout.split()], capture_output=True, text=True,
                               check=False)
        self.assertEqual(built.returncode, 0, built.stderr)
        self.add_pool(BASE, policy="domid")
        ran = subprocess.run([program, self.u.ledger], capture_output=True, text=True, check=False,
                             env={**os.environ, "LD_LIBRARY_PATH": library})
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertIn(f"-runas {BASE + 5}:{BASE}\nreleased uid {BASE + 5}: now quarantined",
                      ran.stdout)

    def test_the_library_shows_its_interface_alone(self):
        if not shutil.which("nm"):
            self.skipTest("nm is not installed")
        names = subprocess.run(["nm", "-D", "--defined-only",
                                os.path.join(support.BUILD, "allocator", "libuidpool.so.0")],
                               capture_output=True, text=True, check=True).stdout
        with open(os.path.join(support.TOP, "include", "uidpool.h"), encoding="utf-8") as file:
            declared = set(re.findall(r"^[a-z][^*(]*?\*?(uidpool_\w+)\(", file.read(), re.M))
        shown = {line.split()[-1] for line in names.splitlines() if " T " in line}
        self.assertEqual({name.split("@")[0] for name in shown}, declared)
        self.assertEqual({name.partition("@@")[2] for name in shown}, {"LIBUIDPOOL_0"})


if __name__ == "__main__":
    support.main()
