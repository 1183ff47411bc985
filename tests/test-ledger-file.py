#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ledger's file: damaged, foreign, unsafe, on a full or read-only disk, under a clock that went
back, after a reboot, copied and created while others work. A clear error, the right exit status,
and nothing lost."""
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import unittest

import support
from support import LedgerCase, Uidpool, digest, poll, write_ledger

# Every run begins elsewhere: the kernel counts what runs as a uid in all PID namespaces.
BASE = 2114715648 + 6144 * random.SystemRandom().randrange(9)
READERS = (["list"], ["show", BASE], ["history"], ["pool", "list"], ["who", BASE])
WRITERS = (["lease", "--domid=7"], ["pool", "add", "other", f"--base={BASE + 5000}", "--size=5"],
           ["reserve", "r", "--pool=p"], ["recover"], ["release", "--domid=5"], ["clear", BASE])

CLOCK_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long long offset(void)
{
    const char *text = getenv("CLOCK_OFFSET");
    return text ? atoll(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, ts);
    if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ts->tv_sec += offset();
    return r;
}

int gettimeofday(struct timeval *tv, void *zone)
{
    struct timespec ts;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (t)
        *t = ts.tv_sec;
    return ts.tv_sec;
}
"""


def sql(path, *statements):
    """As somebody with a shell would, but for the checkpoint: close it and leave no log behind."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            db.execute(statement)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()


def patch(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


class FileCase(LedgerCase):
    def setUp(self):
        super().setUp()
        self.add_pool(BASE)
        for domid in (5, 6):
            self.lease(domid)

    def refused_by_all(self, status=7, readers=READERS, writers=WRITERS, message=None):
        """Every verb says so, with the exit status, and leaves the ledger as it is."""
        files = [self.u.ledger, self.u.ledger + "-wal"]
        before = digest(*files)
        for args in (*readers, *writers, ["ledger", "backup", os.path.join(self.dir, "copy")]):
            run = self.run_exit(status, *args)
            if message:
                self.assertRegex(run.stderr, message)
            self.assertEqual(run.stdout, "")
            self.assertEqual(before, digest(*files), f"{args} changed the ledger")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "copy")))

    def check_is_clean(self, u=None):
        run = (u or self.u).run("ledger", "check")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


class Foreign(FileCase):
    def test_newer_schema(self):
        sql(self.u.ledger, "PRAGMA user_version = 99")
        self.refused_by_all(message="schema 99")
        self.run_exit(7, "ledger", "check")
        self.run_exit(7, "ledger", "upgrade")

    def test_no_schema_at_all(self):
        sql(self.u.ledger, "PRAGMA user_version = 0")
        self.refused_by_all()

    def test_somebody_elses_database(self):
        sql(self.u.ledger, "PRAGMA application_id = 1234")
        self.refused_by_all(message="no uidpool ledger")
        self.run_exit(7, "ledger", "check")

    def test_a_trigger_was_dropped(self):
        sql(self.u.ledger, "DROP TRIGGER lease_delete")
        run = self.run_exit(10, "ledger", "check")
        self.assertIn("lease_delete", run.stdout + run.stderr)


class BrokenRules(FileCase):
    """What somebody did who removed a trigger: the check asks the rules again from the rows."""

    def found(self, finding, trigger, *statements):
        db = sqlite3.connect(self.u.ledger, isolation_level=None)
        body = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", [trigger]).fetchone()[0]
        db.close()
        write_ledger(self.u.ledger, f"DROP TRIGGER {trigger}", *statements, body)
        self.assertRegex(self.run_exit(10, "ledger", "check").stdout, finding)

    def add_account(self):
        write_ledger(self.u.ledger,
                     f"INSERT INTO reservation VALUES ({BASE + 9}, 1, {BASE}, 'web', 0)",
                     "INSERT INTO account (name, uid, gid, pool, state, created_at)"
                     f" VALUES ('web', {BASE + 9}, 1, {BASE}, 'adding', 0)")
        self.check_is_clean()

    def test_a_provisioned_pool_in_use(self):
        self.found("pool p is being provisioned, but not retired", "pool_update_provisioning",
                   "UPDATE pool SET provisioning = 1")

    def test_an_account_without_its_reservation(self):
        self.add_account()
        self.found(f"uid {BASE + 9} is the account web, but not reserved", "account_reservation",
                   "DELETE FROM reservation WHERE name = 'web'")

    def test_an_account_that_history_does_not_know(self):
        self.add_account()
        self.found("account web is present, but history", "account_updated",
                   "UPDATE account SET state = 'present'")


class OlderSchema(LedgerCase):
    """A ledger of schema 1 with leases that live."""

    def setUp(self):
        super().setUp()
        first = os.path.join(support.TOP, "db/schema/001-ledger.sql")
        with open(first, encoding="utf-8") as file:
            schema = file.read()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip().replace("-", "")
        leases = (f"INSERT INTO lease (uid, count, id, pool, gid, domid, name, state, boot,"
                  f" leased_at, since) VALUES ({BASE + 5}, 1, 2, {BASE}, {BASE}, 5, NULL, 'leased',"
                  f" '{boot}', 1, 1), ({BASE + 6}, 3, 3, {BASE}, {BASE}, NULL, 'web', 'leased',"
                  f" '{boot}', 1, 1)")
        write_ledger(self.u.ledger, "PRAGMA journal_mode = WAL", f"BEGIN; {schema}"
                     "INSERT INTO ledger VALUES (1, 2147287040, 64, 0);"
                     "PRAGMA application_id = 0x55494450; PRAGMA user_version = 1;"
                     "INSERT INTO pool (base, size, name, policy, gid, quarantine, follow, resolve,"
                     f" next, created_at) VALUES ({BASE}, 40, 'p', 'next', {BASE}, 0, 0, 0, {BASE},"
                     " 0); COMMIT", leases)
        os.chmod(self.u.ledger, 0o600)

    def upgraded(self):
        leases = self.u.leases()
        self.assertEqual([(lease["uid"], lease["count"], lease["domid"], lease["name"])
                          for lease in leases],
                         [(BASE + 5, 1, 5, None), (BASE + 6, 3, None, "web")])
        self.run_ok("ledger", "check")
        self.assertEqual(self.run_ok("lease", "--domid=5").stdout, f"{BASE + 5}:{BASE}\n")
        self.run_ok("release", "--name=web")
        self.assertEqual(self.lease(7), BASE)
        self.run_ok("recover")
        self.assertEqual([lease["domid"] for lease in self.u.leases()], [7, 5])
        self.run_ok("ledger", "check")

    def test_upgrade(self):
        for args in (["list"], ["lease", "--domid=7"], ["release", "--domid=5"], ["recover"],
                     ["pool", "add", "q", f"--base={BASE + 100}", "--size=5"], ["ledger", "check"]):
            before = digest(self.u.ledger, self.u.ledger + "-wal")
            self.assertIn("uidpool ledger upgrade", self.run_exit(7, *args).stderr)
            self.assertEqual(before, digest(self.u.ledger, self.u.ledger + "-wal"))
        self.assertEqual(self.u.json("ledger", "upgrade"), {"from": 1, "to": 2})
        self.assertEqual(self.u.json("ledger", "upgrade"), {"from": 2, "to": 2})
        self.upgraded()

    def test_sixteen_upgrade_at_once(self):
        started = [self.u.start("--json", "ledger", "upgrade") for _ in range(16)]
        answers = [process.communicate(timeout=120) for process in started]
        self.assertEqual({process.returncode for process in started}, {0}, answers)
        self.assertEqual(sorted(out for out, _ in answers),
                         ['{"from":1,"to":2}\n'] + ['{"from":2,"to":2}\n'] * 15)
        self.upgraded()

    def test_no_step_is_half_taken(self):
        """In the way of the step's end: what it made until then is gone."""
        write_ledger(self.u.ledger,
                     "CREATE TRIGGER account_lease BEFORE INSERT ON lease BEGIN SELECT 1; END")
        self.assertIn("schema 2", self.run_exit(7, "ledger", "upgrade").stderr)
        write_ledger(self.u.ledger, "DROP TRIGGER account_lease")
        self.assertEqual(self.u.json("ledger", "upgrade"), {"from": 1, "to": 2})
        self.upgraded()


class Damaged(FileCase):
    def setUp(self):
        super().setUp()
        sql(self.u.ledger)
        self.size = os.stat(self.u.ledger).st_size

    def test_garbage(self):
        with open(self.u.ledger, "wb") as file:
            file.write(random.Random(1).randbytes(self.size))
        self.refused_by_all()
        self.run_exit(7, "ledger", "check")

    def test_text(self):
        with open(self.u.ledger, "w", encoding="ascii") as file:
            file.write("uid 5 is free\n" * 1000)
        self.refused_by_all()

    def test_truncated(self):
        for part in (100, self.size // 2 // 4096 * 4096, self.size // 2 + 77, self.size - 4096):
            with self.subTest(bytes=part):
                shutil.copy(self.u.ledger, self.u.ledger + ".whole")
                os.truncate(self.u.ledger, part)
                try:
                    self.refused_by_all()
                finally:
                    os.replace(self.u.ledger + ".whole", self.u.ledger)
        self.check_is_clean()

    def test_emptied(self):
        """Somebody's `> ledger.db`: the mark in the lock file knows that there were leases."""
        os.truncate(self.u.ledger, 0)
        for args in (*READERS, *WRITERS, ["pool", "add", "p", f"--base={BASE}", "--size=40"]):
            run = self.u.run(*args)
            self.assertEqual(run.returncode, 7, f"{args}: {run.stdout}{run.stderr}")
            self.assertEqual(os.stat(self.u.ledger).st_size, 0, f"{args} made a new ledger over it")

    def test_a_page_of_zeroes(self):
        for page in range(self.size // 4096):
            with self.subTest(page=page + 1):
                self.damage(page * 4096, b"\0" * 4096)

    def test_flipped_bytes(self):
        """In the header of a page, SQLite notices; in what a row says, the check does or nobody
        can. Never a crash, never a change to the file."""
        dice = random.Random(7)
        for page in range(1, self.size // 4096):
            self.damage(page * 4096, bytes([0x55]))
            self.damage(page * 4096 + 3, bytes([0x77, 0x77]))
            self.damage(page * 4096 + dice.randrange(4096), dice.randbytes(1), sure=False)

    def damage(self, offset, data, sure=True):
        """Somebody must notice, if it is `sure`, and until then nobody may write."""
        shutil.copy(self.u.ledger, self.u.ledger + ".whole")
        patch(self.u.ledger, offset, data)
        before = digest(self.u.ledger)
        if before != digest(self.u.ledger + ".whole"):
            answers = {}
            for args in (["ledger", "check"], ["list"], ["history"]):
                run = self.u.run(*args)
                answers[" ".join(args)] = run.returncode
                self.assertIn(run.returncode, (0, 7, 10), f"{args}: {run.stderr}")
            self.assertEqual(before, digest(self.u.ledger))
            if sure:
                self.assertIn(answers["ledger check"], (7, 10), f"{offset}: nobody noticed")
        for suffix in ("-wal", "-shm"):
            if os.path.exists(self.u.ledger + suffix):
                os.unlink(self.u.ledger + suffix)
        os.replace(self.u.ledger + ".whole", self.u.ledger)


class TornLog(FileCase):
    """The write-ahead log holds committed leases. A torn frame hides everything behind it."""

    def setUp(self):
        super().setUp()
        sql(self.u.ledger)
        self.lease(8)
        self.wal = self.u.ledger + "-wal"
        self.before_last = os.stat(self.wal).st_size
        self.lease(9)
        self.size = os.stat(self.wal).st_size
        self.assertGreater(self.size, self.before_last)

    def noticed(self):
        if os.path.exists(self.u.ledger + "-shm"):
            os.unlink(self.u.ledger + "-shm")
        self.refused_by_all(message="lost events")
        self.run_exit(7, "ledger", "check")

    def test_whole(self):
        self.assertEqual({lease["domid"] for lease in self.u.leases()}, {5, 6, 8, 9})

    def test_cut_in_the_last_frame(self):
        os.truncate(self.wal, self.size - 100)
        self.noticed()

    def test_cut_before_the_last_transaction(self):
        os.truncate(self.wal, self.before_last)
        self.noticed()

    def test_a_byte_in_the_last_transaction(self):
        patch(self.wal, self.size - 2000, b"\xa5\x5a\xa5")
        self.noticed()

    def test_a_byte_in_the_middle(self):
        patch(self.wal, 32 + 24 + 50, b"\xa5\x5a\xa5")
        self.noticed()

    def test_no_log_any_more(self):
        os.unlink(self.wal)
        self.noticed()

    def test_no_ledger_any_more(self):
        for suffix in ("", "-wal", "-shm"):
            os.unlink(self.u.ledger + suffix)
        for args in (["list"], ["lease", "--domid=1"]):
            self.assertIn("lost events", self.run_exit(7, *args).stderr)
            self.assertFalse(os.path.exists(self.u.ledger), args)

    def test_an_old_copy_in_its_place(self):
        self.run_ok("ledger", "backup", os.path.join(self.dir, "old"))
        self.lease(10)
        for suffix in ("-wal", "-shm"):
            os.unlink(self.u.ledger + suffix)
        os.replace(os.path.join(self.dir, "old"), self.u.ledger)
        self.noticed()
        os.truncate(self.u.ledger + ".lock", 0)
        self.assertEqual({lease["domid"] for lease in self.u.leases()}, {5, 6, 8, 9})
        self.lease(10)
        self.check_is_clean()

    def test_what_was_never_committed_is_no_loss(self):
        with open(self.wal, "ab") as file:
            file.write(b"\x5a" * 3000)
        os.unlink(self.u.ledger + "-shm")
        self.assertEqual({lease["domid"] for lease in self.u.leases()}, {5, 6, 8, 9})
        self.lease(10)
        self.check_is_clean()


class Unsafe(FileCase):
    def refused(self):
        self.refused_by_all(message="not safe")
        self.run_exit(7, "ledger", "check")

    def test_writable_by_others(self):
        for suffix in ("", "-wal", "-shm", ".lock"):
            for mode in (0o602, 0o620):
                with self.subTest(suffix=suffix, mode=oct(mode)):
                    path = self.u.ledger + suffix
                    os.chmod(path, mode)
                    self.refused()
                    os.chmod(path, 0o600)
        self.run_ok("list")

    def test_owned_by_another(self):
        for suffix in ("", "-wal", ".lock"):
            with self.subTest(suffix=suffix):
                os.chown(self.u.ledger + suffix, BASE + 1, 0)
                self.refused()
                os.chown(self.u.ledger + suffix, 0, 0)

    def test_directory(self):
        inner = os.path.join(self.dir, "a", "b")
        os.makedirs(inner)
        u = Uidpool(inner)
        run = u.run("pool", "add", "p", f"--base={BASE}", "--size=40")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.u = u
        for folder in (inner, os.path.dirname(inner)):
            for mode in (0o777, 0o770):
                os.chmod(folder, mode)
                self.refused()
                os.chmod(folder, 0o700)
            os.chown(folder, BASE, 0)
            self.refused()
            os.chown(folder, 0, 0)
        self.run_ok("list")

    def test_symbolic_link(self):
        for suffix in ("", "-wal", ".lock"):
            with self.subTest(suffix=suffix):
                path = self.u.ledger + suffix
                os.rename(path, path + ".real")
                os.symlink(path + ".real", path)
                self.refused()
                os.rename(path + ".real", path)

    def test_second_link(self):
        os.link(self.u.ledger, self.u.ledger + ".link")
        self.refused()

    def test_not_a_file(self):
        shutil.move(self.u.ledger, self.u.ledger + ".real")
        os.mkdir(self.u.ledger)
        self.refused()
        os.rmdir(self.u.ledger)
        os.mkfifo(self.u.ledger, 0o600)
        self.refused()

    def test_made_for_nobody_else(self):
        old = os.umask(0)
        try:
            u = Uidpool(os.path.join(self.dir), "new/ledger.db")
            run = u.run("pool", "add", "p", f"--base={BASE}", "--size=40")
        finally:
            os.umask(old)
        self.assertEqual(run.returncode, 0, run.stderr)
        for path, mode in ((os.path.dirname(u.ledger), 0o700), (u.ledger, 0o600),
                           (u.ledger + "-wal", 0o600), (u.ledger + ".lock", 0o600)):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode, path)


class FullDisk(FileCase):
    tmpfs = "size=1m"

    def fill(self):
        path = os.path.join(self.dir, "ballast")
        with open(path, "ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        return path

    def test_a_full_disk_loses_nothing(self):
        ballast = self.fill()
        granted, failed = {5, 6}, 0
        for domid in range(100, 160):
            run = self.u.run("lease", f"--domid={domid}")
            if run.returncode == 0:
                granted.add(domid)
                continue
            failed += 1
            self.assertEqual(run.returncode, 1 if "exhausted" not in run.stderr else 5, run.stderr)
            self.assertEqual(run.stdout, "")
            self.assertRegex(run.stderr, "full|room|space")
            if failed == 3:
                break
        self.assertEqual(failed, 3, "the disk never was full")
        self.assertEqual({lease["domid"] for lease in self.u.leases()}, granted)
        self.run_exit(1, "ledger", "backup", os.path.join(self.dir, "copy"))
        os.unlink(ballast)
        self.assertEqual({lease["domid"] for lease in self.u.leases()}, granted)
        self.lease(200)
        self.check_is_clean()

    def test_a_release_on_a_full_disk_keeps_the_lease(self):
        ballast = self.fill()
        while self.u.run("lease", f"--domid={random.randrange(1000, 9000)}").returncode == 0:
            pass
        before = self.u.leases()
        self.run_exit(1, "release", "--domid=5")
        self.assertEqual(self.u.leases(), before)
        os.unlink(ballast)
        self.run_ok("release", "--domid=5")
        self.run_ok("recover")
        self.assertNotIn(5, {lease["domid"] for lease in self.u.leases()})
        self.check_is_clean()


class ReadOnlyDisk(FileCase):
    def test_reads_work_and_writes_say_why(self):
        before = self.u.leases()
        subprocess.run(["mount", "-o", "remount,ro", self.dir], check=True)
        for args in (["lease", "--domid=7"], ["release", "--domid=5"],
                     ["pool", "add", "o", f"--base={BASE + 5000}", "--size=5"]):
            run = self.u.run(*args)
            self.assertIn(run.returncode, (1, 9), run.stderr)
            self.assertRegex(run.stderr, "[Rr]ead-only")
        self.assertEqual(self.u.leases(), before)
        subprocess.run(["mount", "-o", "remount,rw", self.dir], check=True)
        self.lease(7)
        self.check_is_clean()


class ClockSetBack(FileCase):
    DAY = 86400

    def shim(self):
        source, shim = (os.path.join(self.dir, name) for name in ("shim.c", "shim.so"))
        with open(source, "w", encoding="ascii") as file:
            file.write(CLOCK_SHIM)
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"],
                           check=True)
        except FileNotFoundError:
            self.skipTest("no C compiler to make the clock's stand-in with")
        return {**os.environ, "LD_PRELOAD": shim, "CLOCK_OFFSET": str(-self.DAY),
                "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def test_history_and_rest(self):
        yesterday = self.shim()
        self.run_ok("pool", "add", "slow", f"--base={BASE + 100}", "--size=10", "--policy=domid",
                    "--quarantine=600")
        self.run_ok("lease", "--pool=slow", "--domid=3")
        last = self.u.events()[-1]
        self.run_ok("release", "--pool=slow", "--domid=3", env=yesterday)
        self.run_ok("lease", "--pool=slow", "--domid=4", env=yesterday)

        events = self.u.events()
        self.assertEqual([event["id"] for event in events], list(range(1, len(events) + 1)))
        self.assertEqual([event["what"] for event in events if event["id"] > last["id"]],
                         ["revoking", "proven", "quarantined", "leased"])
        self.assertLess(events[-1]["at"], last["at"], "the clock was not set back")
        # The rest runs on the boot clock: neither over at once nor a day longer.
        self.run_exit(4, "lease", "--pool=slow", "--domid=3")
        self.run_exit(4, "lease", "--pool=slow", "--domid=3", env=yesterday)
        lease = [lease for lease in self.u.leases() if lease["uid"] == BASE + 103][0]
        self.assertEqual(lease["state"], "quarantined")
        self.assertTrue(500 < lease["rest_left"] <= 600, lease["rest_left"])
        self.check_is_clean()


class Reboot(FileCase):
    BOOT_ID = "/proc/sys/kernel/random/boot_id"

    def reboot(self):
        path = os.path.join(self.dir, "boot_id")
        with open(path, "w", encoding="ascii") as file:
            file.write("01234567-89ab-4def-8123-456789abcdef\n")
        subprocess.run(["mount", "--bind", path, self.BOOT_ID], check=True)
        self.addCleanup(subprocess.run, ["umount", self.BOOT_ID], check=True)

    def test_recover_revokes_and_frees(self):
        self.run_ok("reserve", "pinned", "--pool=p", "--count=3")
        self.run_ok("lease", "--name=pinned")
        self.reboot()
        self.assertEqual({lease["state"] for lease in self.u.leases()}, {"leased"})
        self.assertTrue(all(lease["other_boot"] for lease in self.u.leases()))
        self.run_ok("recover")
        self.run_ok("recover")
        self.assertEqual(self.u.leases(), [])
        self.assertEqual([event["what"] for event in self.u.events("--domid=5")],
                         ["leased", "revoking", "proven", "quarantined", "freed"])
        self.assertEqual(self.run_ok("lease", "--name=pinned").returncode, 0)
        self.check_is_clean()

    def test_recover_kills_what_runs_as_it_all_the_same(self):
        uid = self.u.leases()[0]["uid"]
        process = subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                                    "sleep", "1000"])
        poll(lambda: os.stat(f"/proc/{process.pid}").st_uid == uid, "the process to become the uid")
        self.reboot()
        self.run_ok("recover")
        self.assertEqual(process.wait(timeout=support.LIMIT), -9)
        self.assertEqual(self.u.leases(), [])

    def test_a_lease_after_the_reboot_proves_the_uid_first(self):
        self.run_ok("pool", "add", "fix", f"--base={BASE + 100}", "--size=10", "--policy=domid",
                    "--quarantine=0")
        self.run_ok("lease", "--pool=fix", "--domid=3",
                    "--uuid=11111111-1111-1111-1111-111111111111")
        self.reboot()
        self.run_ok("lease", "--pool=fix", "--domid=3",
                    "--uuid=22222222-2222-2222-2222-222222222222")
        self.assertEqual([event["what"] for event in self.u.events(f"--uid={BASE + 103}")],
                         ["leased", "revoking", "proven", "quarantined", "freed", "leased"])


class Backup(FileCase):
    def test_while_four_writers_work(self):
        self.run_ok("pool", "add", "big", f"--base={BASE + 1000}", "--size=4000", "--policy=next",
                    "--quarantine=0")
        stop = os.path.join(self.dir, "stop")
        script = ('d=$1; while [ ! -e "$2" ]; do "$3" "$4" "$5" lease --pool=big --domid=$d'
                  ' >/dev/null || exit 1; d=$((d + 4)); done')
        _, ledger, config = self.u.command()
        writers = [subprocess.Popen(["sh", "-c", script, "sh", str(100 + i), stop, support.UIDPOOL,
                                     ledger, config]) for i in range(4)]
        try:
            for number in range(8):
                want = len(self.u.leases()) + 10
                poll(lambda: len(self.u.leases()) >= want, "the writers")
                copy = os.path.join(self.dir, f"copy{number}")
                self.run_ok("ledger", "backup", copy)
                self.assertEqual(stat.S_IMODE(os.stat(copy).st_mode), 0o600)
                os.makedirs(copy + ".d")
                os.rename(copy, copy + ".d/ledger.db")
                of_copy = Uidpool(copy + ".d")
                self.check_is_clean(of_copy)
                self.assertGreaterEqual(len(of_copy.leases()), want)
                events = of_copy.events()
                self.assertEqual(events, self.u.events()[:len(events)])
        finally:
            open(stop, "wb").close()
            for writer in writers:
                self.assertEqual(writer.wait(timeout=support.LIMIT), 0)
        self.check_is_clean()

    def test_never_over_a_file(self):
        self.run_ok("ledger", "backup", os.path.join(self.dir, "copy"))
        before = digest(os.path.join(self.dir, "copy"))
        self.run_exit(4, "ledger", "backup", os.path.join(self.dir, "copy"))
        self.assertEqual(before, digest(os.path.join(self.dir, "copy")))
        self.run_exit(4, "ledger", "backup", self.u.ledger)
        self.check_is_clean()


    def test_restored(self):
        """A copy in the ledger's place, as its message says: without the old log and lock file."""
        self.run_ok("ledger", "backup", os.path.join(self.dir, "copy"))
        before = self.u.leases()
        for suffix in ("-wal", "-shm", ".lock"):
            os.unlink(self.u.ledger + suffix)
        os.replace(os.path.join(self.dir, "copy"), self.u.ledger)
        self.assertEqual(self.u.leases(), before)
        self.lease(7)
        db = sqlite3.connect(self.u.ledger)
        self.addCleanup(db.close)
        self.assertEqual(db.execute("PRAGMA journal_mode").fetchone(), ("wal",))
        self.check_is_clean()


class Creation(LedgerCase):
    def all_start(self, *commands):
        started = [self.u.start(*args) for args in commands]
        return [(process.communicate(timeout=120), process.returncode) for process in started]

    def test_sixteen_make_the_same(self):
        add = ["pool", "add", "p", f"--base={BASE}", "--size=40"]
        for answer, status in self.all_start(*[add] * 16):
            self.assertEqual(status, 0, answer)
        self.assertEqual(len(self.u.json("pool", "list")["pools"]), 1)
        self.run_ok("ledger", "check")

    def test_sixteen_make_their_own(self):
        for answer, status in self.all_start(*[["pool", "add", f"p{i}", f"--base={BASE + 40 * i}",
                                                "--size=40"] for i in range(16)]):
            self.assertEqual(status, 0, answer)
        self.assertEqual(len(self.u.json("pool", "list")["pools"]), 16)
        self.run_ok("ledger", "check")

    def test_sixteen_want_the_same_uids(self):
        answers = self.all_start(*[["pool", "add", f"p{i}", f"--base={BASE + i}", "--size=40"]
                                   for i in range(16)])
        self.assertEqual(sorted(status for _, status in answers), [0] + [4] * 15, answers)
        self.run_ok("ledger", "check")

    def test_a_creator_that_was_killed(self):
        open(self.u.ledger, "wb").close()
        os.chmod(self.u.ledger, 0o600)
        self.run_exit(3, "list")
        self.add_pool(BASE)
        self.lease(5)
        self.run_ok("ledger", "check")


if __name__ == "__main__":
    support.main()
