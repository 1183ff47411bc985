#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""uidpoold beside the real xenstored and the real oxenstored: domains come and go, stores and daemons
die, and nobody who lives is killed.

SEED: the same choices again.
"""
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

import support
from daemon import PROGRAM, Daemon
from support import LedgerCase, poll

sys.path.insert(0, os.path.join(support.TOP, "tests", "xenstore"))
import xenstore  # noqa: E402  (of tests/xenstore)

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
SIZE = 1024
# Every run begins elsewhere: the kernel counts what runs as a uid in all PID namespaces.
BASE = 2116000000 + 2 * SIZE * random.SystemRandom().randrange(512)
NEXT = BASE + SIZE


def new_uuid():
    return str(uuid.uuid4())


class Apart(Daemon):
    """uidpoold in a PID namespace of its own."""

    def command(self, *options):
        return ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--",
                *super().command(*options)]

    def start(self, **options):
        ready, write = os.pipe()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(f"--ready=fd:{write}"), stdout=log,
                                            stdin=subprocess.DEVNULL, stderr=log,
                                            pass_fds=[write], **options)
        os.close(write)
        with os.fdopen(ready, "rb") as file:
            # Not to the end of the file: unshare has it open too.
            if not select.select([file], [], [], support.LIMIT)[0] or file.read(1) != b"\n":
                raise AssertionError(f"not ready: {self.said()[-2000:]}")
        return self

    def process_inside(self, uid):
        """A device model that it can see and kill."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                  encoding="ascii") as file:
            daemon = file.read().split()[0]
        return subprocess.Popen(["nsenter", f"--target={daemon}", "--pid", f"--setuid={uid}",
                                 f"--setgid={uid}", "--", "sleep", "1000"],
                                stdin=subprocess.DEVNULL)


class Following:
    """The tests, for one kind of store."""
    flavour = None

    def setUp(self):
        super().setUp()
        print(f"SEED={SEED} uids from {BASE}", flush=True)
        self.dice = random.Random(SEED)
        self.processes = []
        self.addCleanup(self.end_processes)
        for name, base, policy in (("domid", BASE, "domid"), ("next", NEXT, "next")):
            self.run_ok("pool", "add", name, f"--base={base}", f"--size={SIZE}",
                        f"--policy={policy}", "--quarantine=0", "--follow")
        self.store = xenstore.Store(self.flavour, os.path.join(self.dir, "x"))
        self.d = Daemon(self.u, self.dir, f"--xenstore={self.store.socket}")
        self.addCleanup(self.end_daemon)

    def end_daemon(self):
        self.d.kill()
        if os.path.exists(self.d.log):
            said = self.d.said()
            for text in ("Sanitizer", "runtime error", "what it never says"):
                self.assertNotIn(text, said)

    def begin(self):
        self.store.start()
        self.addCleanup(self.store.stop)
        self.d.start()
        poll(lambda: self.store.read(xenstore.MARKER), "the marker")

    def end_processes(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def process(self, domid, base=BASE):
        """A device model."""
        uid = base + domid
        self.processes.append(subprocess.Popen(["sleep", "1000"], user=uid, group=uid,
                                               extra_groups=[], stdin=subprocess.DEVNULL))
        return self.processes[-1]

    def domain(self, domid, name=None, run=False):
        """A domain with a new uuid that has its lease; the uuid, and its process."""
        its = new_uuid()
        self.store.create(domid, its, name)
        poll(lambda: self.leased(domid) == its, f"a lease of domain {domid}")
        return (its, self.process(domid)) if run else its

    def leases(self):
        return {lease["domid"]: lease for lease in self.u.leases() if lease["domid"] is not None}

    def leased(self, domid):
        """The uuid of its lease, or None."""
        lease = self.leases().get(domid)
        return lease["uuid"] if lease and lease["state"] == "leased" else None

    def wait_gone(self, *domids):
        """As long as they become fewer."""
        def left():
            return len(set(domids) & set(self.leases()))
        before = left()
        while before:
            poll(lambda before=before: left() < before, f"the end of {before} leases")
            before = left()

    def wait_said(self, text):
        poll(lambda: text in self.d.said(), f"{text!r} in what the daemon says")

    def turn(self):
        """Whatever the daemon had to conclude by now, it has: two whole looks have passed."""
        for domid in (SIZE - 2, SIZE - 1):
            self.domain(domid)
            self.store.destroy(domid)
            self.wait_gone(domid)

    # What follows are the tests.

    def test_a_domain_lives_and_dies(self):
        self.begin()
        its, process = self.domain(5, run=True)
        lease = self.leases()[5]
        self.assertEqual((lease["uid"], lease["uuid"], lease["pool"]), (BASE + 5, its, "domid"))
        self.assertIn("xenstore", lease["reason"])
        # It shuts down, and is there still.
        self.store.shut_down(5)
        self.turn()
        self.assertEqual(self.leased(5), its)
        self.assertIsNone(process.poll())
        self.store.kill(5)
        self.wait_gone(5)
        self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        what = [event["what"] for event in self.u.events("--domid=5")]
        self.assertIn("proven", what)
        self.assertLess(what.index("revoking"), what.index("proven"))
        # The same again, as libxl does it.
        _, process = self.domain(5, run=True)
        self.store.destroy(5)
        self.wait_gone(5)
        self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)

    def test_the_next_owner_of_a_domid_is_left_alone(self):
        self.begin()
        for domid in (5, 6, 7):
            first, process = self.domain(domid, run=True)
            # All of it before the daemon can look.
            self.d.process.send_signal(signal.SIGSTOP)
            self.store.kill(domid)
            second = new_uuid()
            self.store.create(domid, second)
            process.kill()
            process.wait()
            process = self.process(domid)
            self.d.process.send_signal(signal.SIGCONT)
            poll(lambda: first in self.d.said(), "a word about the next owner")
            self.turn()
            self.assertIsNone(process.poll())
            # Perhaps it had begun to be revoked, when the helper looked in between.
            self.assertEqual(self.leases()[domid]["uuid"], first)
            self.store.kill(domid)
            self.wait_gone(domid)
            self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)

    def test_the_next_owner_of_one_that_died_unseen(self):
        self.begin()
        first, process = self.domain(5, run=True)
        self.d.kill()
        self.store.kill(5)
        process.kill()
        process.wait()
        self.store.create(5, new_uuid())
        process = self.process(5)
        self.d.start()
        self.wait_said(first)
        self.turn()
        self.assertIsNone(process.poll())
        self.store.kill(5)
        self.wait_gone(5)
        self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)

    def test_the_host_is_rebooted(self):
        """What the last boot left is proven, but for the uid of one who was started again before
        the daemon: that is another domain, whatever its uuid."""
        self.begin()
        uuids = {domid: self.domain(domid) for domid in (5, 6, 7, 8)}
        self.d.kill()
        self.store.crash()
        for domid in uuids:
            os.unlink(os.path.join(self.store.domains, str(domid)))
        boot_id = os.path.join(self.dir, "boot_id")
        with open(boot_id, "w", encoding="ascii") as file:
            print(new_uuid(), file=file)
        subprocess.run(["mount", "--bind", boot_id, "/proc/sys/kernel/random/boot_id"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/proc/sys/kernel/random/boot_id"], check=True)
        self.store.start()
        self.store.create(5, uuids[5])
        self.store.write(self.store.kill_uid_path(5), BASE + 5)
        same = self.process(5)
        self.store.create(6, new_uuid())
        other = self.process(6)
        self.d.start()
        self.wait_gone(7, 8)
        self.turn()
        self.assertEqual(set(self.leases()), {5, 6})
        self.assertEqual((same.poll(), other.poll()), (None, None))
        for domid, process in ((5, same), (6, other)):
            self.store.kill(domid)
            self.wait_gone(domid)
            self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        self.domain(5)

    def test_a_second_try_asks_the_store(self):
        """The daemon is in a PID namespace of its own: it cannot kill what is out here, and the
        census sees it all the same."""
        self.d = Apart(self.u, self.dir, f"--xenstore={self.store.socket}")
        self.begin()
        _, outside = self.domain(5, run=True)
        self.store.kill(5)
        poll(lambda: self.leases()[5]["state"] == "revoking", "a revocation")
        # Its domid gets another owner, whom the daemon could kill, in this life and in the next.
        self.store.create(5, new_uuid())
        for life in range(2):
            poll(lambda life=life: self.d.said().count("has another owner by now") > life,
                 "a word about the next owner")
            if life == 0:
                outside.kill()
                outside.wait()
                self.d.kill()
                self.d.start()
                inside = self.d.process_inside(BASE + 5)
                self.processes.append(inside)
        self.turn()
        self.assertIsNone(inside.poll())
        self.store.kill(5)
        self.wait_gone(5)
        self.assertNotEqual(inside.wait(timeout=support.LIMIT), 0)

    def test_500_domains_die_together(self):
        self.begin()
        domids = range(1, 501)
        for domid in domids:
            self.store.create(domid, new_uuid(), f"d{domid}")
        poll(lambda: len(self.leases()) == 500, "500 leases")
        processes = [self.process(domid) for domid in domids[::10]]
        begin = time.monotonic()
        for domid in domids:
            self.store.kill(domid)
        self.wait_gone(*domids)
        print(f"500 domains: {time.monotonic() - begin:.1f} s", flush=True)
        for process in processes:
            self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        self.assertEqual(self.u.leases(), [])

    def test_the_daemon_is_killed_in_the_middle(self):
        self.begin()
        alive, dead = {}, []
        for domid in range(1, 101):
            self.store.create(domid, new_uuid())
        poll(lambda: len(self.leases()) == 100, "100 leases")
        for domid in range(1, 101, 5):
            alive[domid] = self.process(domid)
        for _ in range(3):
            # Some die before, some while it is away; others come.
            chosen = self.dice.sample(sorted(self.store.domids), 30)
            for domid in chosen[:15]:
                self.store.kill(domid)
            time.sleep(self.dice.random() / 10)  # anywhere in its work
            self.d.kill()
            for domid in chosen[15:]:
                self.store.kill(domid)
            for domid in self.dice.sample(range(200, 900), 5):
                if domid not in self.store.domids:
                    self.store.create(domid, new_uuid())
            self.d.start()
            dead += [alive.pop(domid) for domid in chosen if domid in alive]
            poll(lambda: set(self.leases()) == self.store.domids, "a lease for each domain")
        for process in dead:
            self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        for process in alive.values():
            self.assertIsNone(process.poll())

    def test_the_store_loses_what_it_knew(self):
        self.begin()
        alive = {domid: self.domain(domid, run=True) for domid in range(1, 9)}
        for again in range(2):
            self.store.crash()
            poll(lambda: not self.d_is_connected(), "the loss of the store to be noticed")
            self.store.start()
            poll(lambda: self.store.read(xenstore.MARKER), "the marker in the new store")
            self.wait_said("xenstore does not know us")
            self.turn()
            for its, process in alive.values():
                self.assertIsNone(process.poll())
                self.assertIn(its, {lease["uuid"] for lease in self.u.leases()})
            if again == 0:
                self.d.kill()
                self.d.start()
                self.turn()
        for its, process in alive.values():
            self.assertIsNone(process.poll())
        # One that is introduced again is followed again.
        its, process = alive.pop(3)
        self.store.create(3, its)
        self.turn()
        self.store.kill(3)
        self.wait_gone(3)
        self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        for its, process in alive.values():
            self.assertIsNone(process.poll())
        # The others are released by hand.
        self.run_ok("release", "--domid=4")
        self.assertEqual(alive[4][1].wait(timeout=support.LIMIT), -signal.SIGKILL)

    def d_is_connected(self):
        """Has the helper a connection to the store that was there?"""
        helper = self.helper()
        if not helper:
            return False
        fds = f"/proc/{helper}/fd"
        return sum(os.readlink(os.path.join(fds, fd)).startswith("socket:")
                   for fd in os.listdir(fds) if os.path.exists(os.path.join(fds, fd))) > 1

    def helper(self):
        """The pid of uidpool-xenwatch, or None."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if file.read().startswith(b"uidpool-xenwatch\0"):
                        return int(pid)
            except OSError:
                pass
        return None

    def test_the_helper_is_killed(self):
        self.begin()
        its, process = self.domain(5, run=True)
        for _ in range(3):
            helper = self.helper()
            os.kill(helper, signal.SIGKILL)
            poll(lambda: self.helper() not in (None, helper), "another helper")
            self.domain(6)
            self.store.kill(6)
            self.wait_gone(6)
        self.assertIsNone(process.poll())
        self.assertEqual(self.leased(5), its)
        helper = self.helper()
        self.assertEqual(self.d.stop(), 0)
        self.assertFalse(os.path.exists(f"/proc/{helper}"))

    def test_the_store_is_updated_alive(self):
        self.begin()
        its, process = self.domain(5, run=True)
        connected = self.helper()
        self.store.live_update()
        self.domain(6)
        self.turn()
        self.assertEqual(self.leased(5), its)
        self.assertIsNone(process.poll())
        self.store.kill(5)
        self.store.kill(6)
        self.wait_gone(5, 6)
        self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        self.assertEqual(self.helper(), connected)
        self.assertNotIn("does not know us", self.d.said())

    def test_the_store_comes_late(self):
        self.d.start()
        with self.d.client() as client:
            lease = client.call("Lease", pool="domid", domid=7)["lease"]
            self.assertEqual(lease["uid"], BASE + 7)
            client.call("Release", pool="domid", domid=7)
        self.store.start()
        self.addCleanup(self.store.stop)
        self.domain(5)
        self.store.kill(5)
        self.wait_gone(5)

    def test_the_kill_uid_is_written_and_kept(self):
        self.begin()
        node = self.store.kill_uid_path

        def wait_kill_uid(domid, uid):
            poll(lambda: self.store.read(node(domid)) == str(uid), f"{node(domid)} = {uid}")

        run = self.run_ok("lease", "--pool=next", "--name=web")
        web = int(run.stdout.split(":")[0])
        self.store.create(5, new_uuid(), "web")
        wait_kill_uid(5, web)
        # libxl writes its own, after the domain was introduced.
        for _ in range(3):
            self.store.write(node(5), BASE + 5)
            wait_kill_uid(5, web)
        # A name that is leased later, and a lease by domid.
        self.store.create(6, new_uuid(), "late")
        poll(lambda: self.leased(6), "the lease of 6")
        self.assertIsNone(self.store.read(node(6)))
        run = self.run_ok("lease", "--pool=next", "--name=late")
        wait_kill_uid(6, int(run.stdout.split(":")[0]))
        its = new_uuid()
        run = self.run_ok("lease", "--pool=next", "--domid=7", f"--uuid={its}")
        uid = int(run.stdout.split(":")[0])
        self.store.create(7, its, "seven")
        wait_kill_uid(7, uid)
        # Leases by name are their owners' to release, those by domid are followed.
        process = self.process(0, web)
        for domid in (5, 6, 7):
            self.store.kill(domid)
        poll(lambda: not self.leases(), "the end of the leases by domid")
        self.turn()
        self.assertIsNone(process.poll())
        self.assertEqual({lease["name"] for lease in self.u.leases()}, {"web", "late"})

    def test_a_name_is_lease_enough(self):
        self.begin()
        self.run_ok("reserve", "web", "--pool=domid", f"--uid={BASE + 900}")
        self.run_ok("lease", "--pool=domid", "--name=web")
        self.store.create(5, new_uuid(), "web")
        self.turn()
        self.assertEqual([lease["name"] for lease in self.u.leases()], ["web"])

    def test_a_process_that_runs_already_is_adopted(self):
        self.store.start()
        self.addCleanup(self.store.stop)
        its, process = new_uuid(), self.process(5)
        self.store.create(5, its)
        self.store.write(self.store.kill_uid_path(5), BASE + 5)
        stranger = self.process(6)
        self.store.create(6, new_uuid())
        self.d.start()
        poll(lambda: self.leased(5) == its, "the lease of 5")
        self.assertIn("ran already", self.leases()[5]["reason"])
        self.assertIsNone(process.poll())
        # Whose the other one is nobody has said; then libxl does.
        self.wait_said("domid 6 runs without a lease")
        self.assertIsNone(stranger.poll())
        self.assertNotIn("held", {lease["state"] for lease in self.u.leases()})
        self.store.write(self.store.kill_uid_path(6), BASE + 6)
        poll(lambda: self.leased(6), "the lease of 6")
        self.assertIsNone(stranger.poll())
        self.store.kill(5)
        self.wait_gone(5)
        self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        self.assertIsNone(stranger.poll())

    def test_a_refused_domain_gets_its_lease_when_it_can(self):
        self.begin()
        # Another reserved its uid.
        self.run_ok("reserve", "mine", "--pool=domid", f"--uid={BASE + 5}")
        self.store.create(5, new_uuid())
        self.wait_said("domid 5 runs without a lease")
        self.run_ok("unreserve", "mine")
        poll(lambda: self.leased(5), "the lease of 5")
        self.assertEqual(self.d.said().count("runs without a lease"), 1)

    def test_a_host_without_a_pool_that_follows_has_no_helper(self):
        for name in ("domid", "next"):
            self.run_ok("pool", "retire", name)
        other = support.Uidpool(self.dir, "other.db")
        for name, base, *follow in (("plain", BASE, ), ("followed", NEXT, "--follow")):
            d = Daemon(other, self.dir, f"--xenstore={self.store.socket}")
            run = other.run("pool", "add", name, f"--base={base}", f"--size={SIZE}",
                            "--policy=domid", "--quarantine=0", *follow)
            self.assertEqual(run.returncode, 0, run.stderr)
            if follow:
                break
            d.start()
            self.addCleanup(d.kill)
            with d.client() as client:
                client.call("Lease", pool="plain", domid=5)
            self.assertIsNone(self.helper())
        # It begins with the pool, under the same daemon.
        self.store.start()
        self.addCleanup(self.store.stop)
        self.store.create(6, new_uuid())
        poll(lambda: {"plain", "followed"} == {lease["pool"] for lease in other.leases()},
             "the lease of 6")
        self.assertIsNotNone(self.helper())

    def test_what_was_released_stays_released(self):
        self.begin()
        its = self.domain(5)
        self.run_ok("release", "--domid=5")
        self.turn()
        self.assertNotIn(5, self.leases())
        self.store.kill(5)
        self.turn()
        self.assertNotEqual(self.domain(5), its)


class Watching:
    """The helper by itself."""
    flavour = None

    def setUp(self):
        folder = tempfile.mkdtemp(prefix="uidpool-test-")
        self.addCleanup(shutil.rmtree, folder)
        self.log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        self.addCleanup(self.check_log)
        self.store = xenstore.Store(self.flavour, os.path.join(folder, "x")).start()
        self.addCleanup(self.store.stop)
        self.watch = xenstore.Watch(self.store.socket, log=self.log)
        self.addCleanup(self.watch.end)

    def check_log(self):
        self.log.seek(0)
        said = self.log.read()
        self.log.close()
        for text in ("Sanitizer", "runtime error"):
            self.assertNotIn(text, said)

    def until(self, line):
        self.watch.until(lambda lines: line in lines, repr(line))

    def test_what_it_sees(self):
        self.assertEqual(self.watch.scan(), ["marker"])
        self.watch.say("want 5 6 7 32751")
        its = new_uuid()
        self.store.create(6, its, "web")
        self.store.write("/local/domain/5/name", "a directory proves nothing")
        self.until(f"domain 6 {its} - web")
        self.watch.say("again")
        self.assertEqual(self.watch.scan(), ["marker", "absent 5", f"domain 6 {its} - web",
                                             "absent 7", "absent 32751"])
        # It is told of these two.
        self.store.write(self.store.kill_uid_path(6), BASE)
        self.until(f"domain 6 {its} {BASE} web")
        self.store.write("/local/domain/6/vm", "/vm/" + its.replace("-", "+"))
        self.until(f"domain 6 - {BASE} web")
        self.store.shut_down(6)
        self.store.write("/local/domain/6/name", "web2")
        self.until(f"domain 6 - {BASE} web2")
        self.store.kill(6)
        self.until("absent 6")
        self.assertEqual(self.watch.end(), 0)

    def test_what_is_no_text_of_ours_is_none(self):
        home = "/local/domain/6"
        for name, vm, kill_uid in (("a b", "/vm", "0"), ("a/b", new_uuid(), "-1"),
                                   ("x" * 64, "/vm/x", "65534"), ("-", "", "2147483648"),
                                   ("a\0b", "/vm/" + new_uuid() + "\0", "1 "), ("", "/", "")):
            self.store.create(6, None, name)
            self.store.write(f"{home}/vm", vm)
            self.store.write(self.store.kill_uid_path(6), kill_uid)
            self.store.write(xenstore.MARKER, "x" * 96)
            self.watch.say("again")
            self.until("domain 6 - - -")
            self.store.destroy(6)
            self.watch.until(lambda lines: not any("domain" in line for line in lines), "nothing")

    def test_it_answers_for_this_store_alone(self):
        its = new_uuid()
        self.store.create(5, its)
        self.until(f"domain 5 {its} - -")
        self.assertEqual([self.watch.ask(5, its), self.watch.ask(5), self.watch.ask(5, new_uuid()),
                          self.watch.ask(6, its), self.watch.ask(6)], ["y", "n", "n", "y", "y"])
        self.watch.connection += 1
        self.assertEqual([self.watch.ask(5, its), self.watch.ask(6)], ["", ""])
        self.watch.connection -= 1
        # Dead, and nobody has noticed yet.
        self.store.crash()
        self.assertEqual([self.watch.ask(5), self.watch.ask(6)], ["", ""])
        while not self.watch.hear().startswith("down"):
            pass  # scans of before
        self.store.start()
        self.assertEqual(self.watch.scan(), ["marker"])
        self.assertEqual(self.watch.ask(5), "y")
        self.assertEqual(self.watch.connection, 2)

    def test_it_writes_to_this_store_and_this_domain_alone(self):
        its = new_uuid()
        self.store.create(5, its)
        self.until(f"domain 5 {its} - -")
        for order in (f"kill-uid 5 {new_uuid()} {BASE}", f"kill-uid 5 - {BASE}",
                      f"kill-uid 6 - {BASE}", f"mark {self.watch.connection + 1} no"):
            self.watch.say(order)
        self.watch.say(f"mark {self.watch.connection} {'1-2 3'}")
        self.until("marker 1-2 3")
        self.assertEqual([self.store.read(self.store.kill_uid_path(domid)) for domid in (5, 6)],
                         [None, None])
        self.watch.say(f"kill-uid 5 {its} {BASE}")
        self.until(f"domain 5 {its} {BASE} -")

    def test_it_ends_with_the_daemon_and_with_nonsense(self):
        self.watch.scan()
        self.watch.say("nonsense")
        self.assertEqual(self.watch.process.wait(timeout=support.LIMIT), 1)
        another = xenstore.Watch("/nowhere", log=self.log)
        self.assertEqual(another.hear(), "down No such file or directory")
        self.assertEqual(another.end(), 0)


class HelperWithXenstored(Watching, unittest.TestCase):
    flavour = "c"


class HelperWithOxenstored(Watching, unittest.TestCase):
    flavour = "ocaml"


class WithXenstored(Following, LedgerCase):
    flavour = "c"

    def test_a_store_that_hangs_hangs_nobody(self):
        self.begin()
        its, process = self.domain(5, run=True)
        helper = self.helper()
        self.store.disconnect()
        self.store.freeze()
        frozen = time.monotonic()
        slowest = 0
        with self.d.client() as client:
            while self.helper() == helper or time.monotonic() - frozen < 5:
                begin = time.monotonic()
                client.call("Lease", pool="next", name="x")
                client.call("Release", pool="next", name="x")
                slowest = max(slowest, time.monotonic() - begin)
                self.assertLess(begin - frozen, 2 * support.LIMIT)
        print(f"the slowest lease and release: {slowest:.2f} s", flush=True)
        self.assertLess(slowest, 5)
        self.assertIn("no sign of life", self.d.said())
        # A domain dies meanwhile.
        self.store.domids.discard(5)
        os.unlink(os.path.join(self.store.domains, "5"))
        self.store.thaw()
        self.wait_gone(5)
        self.assertEqual(process.wait(timeout=support.LIMIT), -signal.SIGKILL)
        self.assertNotIn(its, {lease["uuid"] for lease in self.u.leases()})


class WithOxenstored(Following, LedgerCase):
    flavour = "ocaml"


if __name__ == "__main__":
    why = xenstore.why_not() or (None if os.access(PROGRAM, os.X_OK) else f"no {PROGRAM}")
    if why:
        print(f"SKIP: {why}")
        sys.exit(77)
    support.main()
