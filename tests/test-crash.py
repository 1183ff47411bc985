#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Killed, or refused by the kernel, at every system call that matters: pool add, lease, release and
recover, and their helpers. Whatever was told to the caller stands, no uid is given twice, nothing
that runs is forgotten, and recovery brings every lease to its end. SEED=N repeats a sample."""
import collections
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import support
from support import LIMIT, UIDPOOL, LedgerCase, Uidpool, poll

# Every test has uids of its own, and every run begins elsewhere: the kernel counts what runs as a
# uid in all PID namespaces, another run's among them.
BASES = iter(random.SystemRandom().sample(range(2114846720, 2114912256, 256), 32))

# What changes the disk, makes processes, gives up privileges or kills: each call of each of these
# is a point. Of all others a sample is.
ALWAYS = """write pwrite64 pwritev fsync fdatasync ftruncate fallocate unlink unlinkat rename
renameat renameat2 mkdir fchmod chmod fork vfork clone clone3 kill pidfd_send_signal setgroups
setresgid setresuid wait4 rt_sigtimedwait close_range pidfd_open exit_group""".split()
SAMPLE = 24

# What the kernel may answer. Each call once, and then from one call on for good.
ERRORS = {"pwrite64": ("ENOSPC", "EIO"), "fdatasync": ("EIO",), "ftruncate": ("EIO",),
          "clone": ("EAGAIN",), "kill": ("EPERM",), "setresuid": ("EAGAIN",),
          "setgroups": ("EPERM",), "pipe2": ("EMFILE",), "pidfd_open": ("EMFILE",),
          "write": ("ENOSPC",), "epoll_create1": ("EMFILE",), "epoll_ctl": ("ENOMEM",),
          "sendmsg": ("ENOBUFS",)}

BOOT_ID = "/proc/sys/kernel/random/boot_id"
UUID = "11111111-2222-3333-4444-555555555555"
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
Point = collections.namedtuple("Point", "call number what")


def uidpools():
    """Every uidpool program and helper of this namespace, zombies among them."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
                if file.read().startswith("uidpool"):
                    yield int(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass


def settle():
    """What a killed uidpool left behind ends by itself."""
    poll(lambda: not list(uidpools()), "the end of all helpers")


class Calls:
    """The system calls of one undisturbed run."""

    def __init__(self, trace, opened):
        per_task = collections.defaultdict(collections.Counter)
        first, self.before = None, collections.Counter()
        with open(trace, encoding="utf-8", errors="replace") as file:
            for line in file:
                match = re.match(r"(\d+) +(\w+)\((.*)", line)
                if not match:
                    continue
                task, call, args = match.groups()
                first = first or task
                per_task[task][call] += 1
                # Up to here the program only starts; nothing depends on that.
                if not self.before and opened in args:
                    self.before = +per_task[first]
                    self.before[call] -= 1
        self.most = collections.Counter()
        for counts in per_task.values():
            self.most |= counts

    def numbers(self, call):
        return range(self.before[call] + 1, self.most[call] + 1)

    def kills(self, dice):
        """Every point of those that matter, and a sample of the rest."""
        always = [Point(call, str(n), "signal=KILL") for call in ALWAYS for n in self.numbers(call)]
        rest = [Point(call, str(n), "signal=KILL") for call in sorted(self.most)
                if call not in ALWAYS and call != "execve" for n in self.numbers(call)]
        return always + dice.sample(rest, min(SAMPLE, len(rest)))

    def errors(self, dice):
        """A sample where there are many."""
        points = []
        for call, errors in ERRORS.items():
            numbers = list(self.numbers(call))
            for error in errors:
                some = dice.sample(numbers, min(12, len(numbers)))
                points += [Point(call, str(n), f"error={error}") for n in sorted(some)]
                points += [Point(call, f"{n}+", f"error={error}") for n in sorted(some)[:4]]
        return points


class CrashCase(LedgerCase):
    def setUp(self):
        super().setUp()
        self.dice = random.Random(f"{SEED}/{self.id()}")
        self.base = next(BASES)
        self.processes = []
        self.addCleanup(self.end_processes)

    def end_processes(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def run_as(self, uid):
        """A process of that uid. It has changed to it when this returns."""
        process = subprocess.Popen(["sleep", "1000"], user=uid, group=uid, extra_groups=[])
        self.processes.append(process)
        return process

    def killed(self, process):
        self.assertEqual(process.wait(timeout=LIMIT), -signal.SIGKILL)
        self.processes.remove(process)

    def snapshot(self):
        """The ledger's files. The -shm is made anew by whoever opens it first."""
        files = {}
        for suffix in ("", "-wal", ".lock"):
            with open(self.u.ledger + suffix, "rb") as file:
                files[suffix] = file.read()
        return files

    def restore(self, files):
        for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
            path = self.u.ledger + suffix
            if os.path.exists(path):
                os.unlink(path)
            if suffix in files:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(files[suffix])

    def strace(self, options, *args):
        trace = os.path.join(self.dir, "trace")
        return trace, subprocess.run(
            ["strace", "-f", "-qq", "-o", trace, *options, *self.u.command(*args)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)

    def dry(self, *args):
        with open(UIDPOOL, "rb") as file:
            if b"__asan_init" in file.read():
                self.skipTest("the helpers' leak sanitizer does not work under strace")
        trace, run = self.strace([], *args)
        self.assertEqual(run.returncode, 0, run.stderr)
        settle()
        return Calls(trace, self.u.ledger + ".lock")

    def crash(self, point, *args):
        _, run = self.strace(["-e", f"trace={point.call}",
                              "-e", f"inject={point.call}:{point.what}:when={point.number}"], *args)
        settle()
        if point.what == "signal=KILL":
            self.crashed += run.returncode == -signal.SIGKILL
        elif run.returncode not in (0, 1, 6) and not self.held():
            self.fail(f"exit {run.returncode}: {run.stdout}{run.stderr}")
        return run

    def at_each(self, points, check):
        """Run the check at each point; say how many there were."""
        print(f"SEED={SEED}: {len(points)} points of {len({p.call for p in points})} calls",
              flush=True)
        self.crashed = 0
        start, failed = time.monotonic(), 0
        for point in points:
            if failed > 5:
                break
            with self.subTest(call=point.call, when=point.number, what=point.what):
                failed += 1
                check(point)
                failed -= 1
        print(f"{self.crashed} of them killed the command itself, "
              f"{time.monotonic() - start:.0f} s", flush=True)
        if any(point.what == "signal=KILL" for point in points):
            self.assertGreater(self.crashed, len(points) // 3, "strace(1) killed too few")

    def live(self):
        """The ledger is sound, and has these leases: domid to lease."""
        self.run_ok("ledger", "check")
        leases = self.u.leases()
        of_domids = [lease for lease in leases if lease["domid"] is not None]
        by_domid = {lease["domid"]: lease for lease in of_domids}
        self.assertEqual(len(by_domid), len(of_domids), "two leases of one domid")
        return by_domid

    def held(self):
        """Uids held for nobody: a helper was killed, and so the census had to say BUSY."""
        held = [lease for lease in self.u.leases() if lease["domid"] is None]
        for lease in held:
            self.assertEqual(lease["state"], "held")
            self.assertIn("in use without a lease", lease["reason"])
        return [lease["uid"] for lease in held]

    def recover(self):
        """Twice: the second one has nothing to do."""
        self.run_ok("recover")
        settle()
        before = self.u.events()
        self.run_ok("recover")
        self.assertEqual(self.u.events(), before, "recovering twice is not idempotent")
        self.each_uid_has_one_holder(before)
        return self.live()

    def each_uid_has_one_holder(self, events):
        holder = {}
        for event in events:
            uid, lease = event["uid"], event["lease"]
            if event["id"] == lease:
                self.assertNotIn(uid, holder, f"{event}: still held")
                holder[uid] = lease
            elif lease:
                self.assertEqual(holder.get(uid), lease, event)
            if event["what"] == "freed":
                del holder[uid]

    def proven(self, lease):
        """The lease ended the one way there is."""
        words = " ".join(event["what"] for event in self.u.events() if event["lease"] == lease)
        self.assertRegex(words, r"\Aleased revoking (not-proven )*proven quarantined freed\Z")


class Lease(CrashCase):
    """Domid 1 lives, domid 2's rest is over, domid 5 asks. The pool is larger than the number of
    uids that one request may find in use by strangers, for at some points each census fails."""
    ask = ("lease", "--domid=5", f"--uuid={UUID}")

    def setUp(self):
        super().setUp()
        self.add_pool(self.base, size=100, quarantine=1)
        self.neighbour = self.run_as(self.lease(1))
        self.lease(2)
        self.run_ok("release", "--domid=2")
        poll(lambda: not any(lease["rest_left"] for lease in self.u.leases()), "the rest's end")
        self.files = self.snapshot()
        self.calls = self.dry(*self.ask)

    def check(self, point):
        self.restore(self.files)
        run = self.crash(point, *self.ask)
        live, held = self.live(), self.held()
        self.assertEqual(live[1]["state"], "leased")
        if run.stdout:
            self.assertEqual(run.stdout, f"{live[5]['uid']}:{self.base}\n")
        else:
            self.assertNotEqual(run.returncode, 0)
        if 5 in live:
            self.assertEqual(live[5]["state"], "leased")
        taken = {lease["uid"] for lease in live.values() if lease["state"] == "leased"} | set(held)
        other = self.lease(6)
        self.assertNotIn(other, taken)
        again = self.lease(5, f"--uuid={UUID}")
        if 5 in live:
            self.assertEqual(again, live[5]["uid"])
        else:
            self.assertNotIn(again, taken | {other})
        for uid in held[:1]:
            self.run_ok("clear", uid)
        states = {domid: lease["state"] for domid, lease in self.recover().items()}
        self.assertEqual(states, {1: "leased", 5: "leased", 6: "leased"})
        self.assertIsNone(self.neighbour.poll(), "the neighbour was killed")

    def test_killed_at_each_call(self):
        self.at_each(self.calls.kills(self.dice), self.check)

    def test_refused_by_the_kernel(self):
        self.at_each(self.calls.errors(self.dice), self.check)


class Release(CrashCase):
    """A pool of three: domid 1 lives, domid 5 is released, one uid is free."""
    ask = ("release", "--domid=5", "--timeout=2")

    def setUp(self):
        super().setUp()
        self.add_pool(self.base, size=3)
        self.neighbour = self.run_as(self.lease(1))
        self.uid = self.lease(5)
        self.files = self.snapshot()
        target = self.run_as(self.uid)
        self.calls = self.dry(*self.ask)
        self.killed(target)

    def nobody_gets_it(self, lease, targets):
        """While the lease is there, and so whatever may run, only the third uid can be had."""
        runs = any(target.poll() is None for target in targets)
        self.assertFalse(runs and not lease, "the uid is free, and something runs as it")
        free = [self.base + 2] if lease else [self.base + 1, self.base + 2]
        got = [self.lease(6 + i) for i in range(len(free))]
        self.assertEqual(sorted(got), free)
        self.run_exit(5, "lease", "--domid=9")

    def check(self, point):
        self.restore(self.files)
        targets = [self.run_as(self.uid), self.run_as(self.uid)]
        run = self.crash(point, *self.ask)
        lease = self.live().get(5)
        if run.returncode == 0:
            self.assertIsNone(lease)
        elif run.returncode == 6:
            self.assertEqual(lease["state"], "revoking")
        if lease:
            self.assertIn(lease["state"], ("leased", "revoking"))
            self.assertEqual(lease["uid"], self.uid)
        self.nobody_gets_it(lease, targets)
        after = self.recover()
        if lease and lease["state"] == "leased":
            self.assertEqual(after[5]["state"], "leased")
            self.assertTrue(all(target.poll() is None for target in targets))
            self.run_ok("release", "--domid=5")
            after = self.recover()
        self.assertNotIn(5, after)
        for target in targets:
            self.killed(target)
        self.proven(3)
        self.assertEqual(after[1]["state"], "leased")
        self.assertIsNone(self.neighbour.poll(), "the neighbour was killed")

    def test_killed_at_each_call(self):
        self.assertEqual(self.calls.most["kill"], 1)
        self.at_each(self.calls.kills(self.dice), self.check)

    def test_refused_by_the_kernel(self):
        self.at_each(self.calls.errors(self.dice), self.check)

    def test_a_kill_that_does_nothing(self):
        """kill(2) says that it did and did not: the proof does not believe it."""
        self.restore(self.files)
        target = self.run_as(self.uid)
        run = self.crash(Point("kill", "1+", "retval=0"), *self.ask)
        self.assertEqual(run.returncode, 6, run.stderr)
        self.assertIn(f"pid {target.pid}", run.stderr)
        self.assertEqual(self.live()[5]["state"], "revoking")
        self.nobody_gets_it(True, [target])
        self.recover()
        self.killed(target)

    def test_a_helper_that_outlives_its_parent(self):
        """It keeps the uids: nobody may have them while it may still kill."""
        self.restore(self.files)
        target = self.run_as(self.uid)
        strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", os.path.join(self.dir, "trace"), "-e", "trace=kill",
             "-e", "inject=kill:delay_enter=4000000:when=1", *self.u.command(*self.ask)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def named(name):
            for pid in uidpools():
                with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                    if file.read() == name + "\n":
                        yield pid
        poll(lambda: len(list(named("uidpool-reap"))) == 2, "the helper and its child")
        os.kill(*named("uidpool"), signal.SIGKILL)
        poll(lambda: not list(named("uidpool")), "the end of the command")
        self.assertEqual(self.u.leases()[1]["state"], "revoking")
        self.run_exit(5, "lease", "--domid=9", "--count=2")
        run = self.run_exit(6, "release", "--domid=5", "--timeout=0")
        self.assertIn("another uidpool process is at work on it", run.stderr)
        self.assertEqual(len(list(named("uidpool-reap"))), 2, "the helper ended too early")
        self.killed(target)
        strace.wait(timeout=LIMIT)
        settle()
        self.assertEqual(self.live()[5]["state"], "revoking")
        self.assertNotIn(5, self.recover())
        self.proven(3)


class Recover(CrashCase):
    """Domid 5 was left in revocation with a process, domid 2's rest is over, domid 1 lives."""

    def setUp(self):
        super().setUp()
        self.add_pool(self.base, size=8, quarantine=1)
        self.neighbour = self.run_as(self.lease(1))
        self.lease(2)
        self.run_ok("release", "--domid=2")
        self.uid = self.lease(5)
        target = self.run_as(self.uid)
        self.crash_at("kill", "release", "--domid=5")
        self.assertIsNone(target.poll())
        self.assertEqual(self.live()[5]["state"], "revoking")
        poll(lambda: not any(lease["rest_left"] for lease in self.u.leases()), "the rest's end")
        self.files = self.snapshot()
        self.calls = self.dry("recover")
        self.killed(target)

    def crash_at(self, call, *args):
        self.crashed = 0
        self.crash(Point(call, "1", "signal=KILL"), *args)

    def check(self, point):
        self.restore(self.files)
        target = self.run_as(self.uid)
        run = self.crash(point, "recover", "--timeout=2")
        lease = self.live().get(5)
        if run.returncode == 0 or lease["state"] != "revoking":
            self.assertEqual(lease["state"], "quarantined")
            self.killed(target)
        self.assertNotEqual(self.lease(6), self.uid)
        after = self.recover()
        if target in self.processes:
            self.killed(target)
        self.assertEqual(after[1]["state"], "leased")
        self.assertEqual(after.get(5, {"state": "quarantined"})["state"], "quarantined")
        self.assertIsNone(self.neighbour.poll(), "the neighbour was killed")

    def test_killed_at_each_call(self):
        self.at_each(self.calls.kills(self.dice), self.check)

    def test_refused_by_the_kernel(self):
        self.at_each(self.calls.errors(self.dice), self.check)


class Reboot(CrashCase):
    """A crash, then another boot id: nothing that was leased before is, afterwards."""

    def setUp(self):
        super().setUp()
        self.add_pool(self.base, size=8)
        self.stranger = self.run_as(self.base + 8)
        for domid in (1, 5):
            self.lease(domid)
        self.files = self.snapshot()

    def reboot(self):
        path = os.path.join(self.dir, "boot_id")
        with open(path, "w", encoding="ascii") as file:
            file.write("01234567-89ab-4def-8123-456789abcdef\n")
        subprocess.run(["mount", "--bind", path, BOOT_ID], check=True)

    def check(self, point, *args):
        self.restore(self.files)
        targets = [self.run_as(self.base), self.run_as(self.base + 1)]
        self.crash(point, *args)
        self.reboot()
        try:
            if args[0] == "recover":
                self.crash(point, *args)
            self.assertEqual(self.recover(), {})
            self.assertEqual(self.u.json("pool", "show", "p")["free"], 8 - len(self.held()))
            # Its uids are to be had again, by others.
            self.lease(6)
        finally:
            subprocess.run(["umount", BOOT_ID], check=True)
        for target in targets:
            self.killed(target)
        self.assertIsNone(self.stranger.poll(), "a stranger was killed")

    def points(self, *args):
        points = self.dry(*args).kills(self.dice)
        return self.dice.sample(points, min(16, len(points)))

    def test_after_a_crash_in_a_lease(self):
        self.at_each(self.points("lease", "--domid=6"),
                     lambda point: self.check(point, "lease", "--domid=6"))

    def test_after_a_crash_in_a_release(self):
        self.at_each(self.points("release", "--domid=5"),
                     lambda point: self.check(point, "release", "--domid=5", "--timeout=2"))

    def test_crashes_in_the_recovery(self):
        self.reboot()
        try:
            points = self.points("recover")
        finally:
            subprocess.run(["umount", BOOT_ID], check=True)
        self.at_each(points, lambda point: self.check(point, "recover", "--timeout=2"))


class Creation(CrashCase):
    """There is no ledger yet, nor a directory for it."""

    def setUp(self):
        super().setUp()
        self.u = Uidpool(self.dir, "new/ledger.db")
        self.ask = ("pool", "add", "p", f"--base={self.base}", "--size=8", "--policy=next")
        self.calls = self.dry(*self.ask)

    def check(self, point):
        shutil.rmtree(os.path.dirname(self.u.ledger))
        self.crash(point, *self.ask)
        self.run_ok(*self.ask)
        self.assertEqual([pool["name"] for pool in self.u.json("pool", "list")["pools"]], ["p"])
        self.lease(5)
        self.assertEqual(self.live()[5]["uid"], self.base)

    def test_killed_at_each_call(self):
        self.at_each(self.calls.kills(self.dice), self.check)

    def test_refused_by_the_kernel(self):
        self.at_each(self.calls.errors(self.dice), self.check)


class Storm(CrashCase):
    """32 leases and 32 releases at once, half of them killed at a random moment: the command alone,
    or with all of its helpers, as a service manager would."""
    HALF = 32
    ROUNDS = 4

    def start_all(self):
        """All stand wherever they came to, then go on together."""
        started = {}
        for i in range(self.HALF):
            for domid, args in ((100 + i, ["lease"]), (i, ["release", "--timeout=100"])):
                process = self.u.start(*args, f"--domid={domid}", start_new_session=True)
                process.send_signal(signal.SIGSTOP)
                started[domid] = process
        for process in started.values():
            process.send_signal(signal.SIGCONT)
        return started

    def kill_some(self, started):
        victims = self.dice.sample(sorted(started), self.HALF)
        moments = sorted(self.dice.uniform(0, self.duration) for _ in victims)
        begin = time.monotonic()
        for victim, moment in zip(victims, moments):
            time.sleep(max(0, begin + moment - time.monotonic()))
            if started[victim].poll() is not None:
                continue
            self.crashed += 1
            if victim % 2:
                os.killpg(started[victim].pid, signal.SIGKILL)
            else:
                started[victim].kill()
        for process in started.values():
            process.wait(timeout=300)
        self.duration = time.monotonic() - begin

    def ends(self, started):
        """Domid to exit status and output."""
        ends = {}
        for domid, process in started.items():
            out, err = process.communicate(timeout=300)
            self.assertIn(process.returncode, (0, -signal.SIGKILL),
                          f"{domid}: {out}{err}; held: {self.held()}")
            ends[domid] = process.returncode, out
        settle()
        return ends

    def storm(self):
        targets = {domid: self.run_as(self.lease(domid)) for domid in range(self.HALF)}
        started = self.start_all()
        self.kill_some(started)
        ends, live = self.ends(started), self.live()
        uids = [lease["uid"] for lease in live.values()]
        self.assertEqual(len(set(uids)), len(uids), "a uid was leased twice")
        for domid, target in targets.items():
            self.assertFalse(target.poll() is None and domid not in live, f"{domid} was forgotten")
            if ends[domid][0] == 0:
                self.assertNotIn(domid, live)
        for domid in range(100, 100 + self.HALF):
            if ends[domid][1]:
                self.assertEqual(ends[domid][1], f"{live[domid]['uid']}:{self.base}\n")
            else:
                self.assertNotEqual(ends[domid][0], 0)
        after = self.recover()
        self.assertEqual({lease["state"] for lease in after.values()} | {"leased"}, {"leased"})
        for domid, lease in after.items():
            self.assertEqual(lease["lease"], live[domid]["lease"])
            self.run_ok("release", f"--domid={domid}")
        for target in targets.values():
            self.killed(target)
        self.assertEqual(self.live(), {})
        self.assertEqual(self.held(), [])

    def test_storm(self):
        print(f"SEED={SEED}", flush=True)
        self.crashed, self.duration = 0, 0.5  # seconds, of the first round, more or less
        self.add_pool(self.base, size=2 * self.HALF)
        for _ in range(self.ROUNDS):
            self.storm()
        print(f"{self.crashed} of {self.ROUNDS * 2 * self.HALF} were killed", flush=True)
        self.assertGreater(self.crashed, self.ROUNDS)


def be_init():
    """Orphans of what was killed become children of the namespace's first process, which must reap
    them as an init does: the kernel counts a zombie as a task of its uid. The tests run beside."""
    pid = os.fork()
    if pid == 0:
        return
    while True:
        ended, status = os.wait()
        if ended == pid:
            os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


if __name__ == "__main__":
    if support.INSIDE in os.environ:
        if not shutil.which("strace"):
            print("SKIP: needs strace")
            sys.exit(77)
        be_init()
    support.main()
