#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""io.uidpool and io.systemd.UserDatabase over uidpoold's own sockets: every method, every error,
who may do what, streams and those that read them slowly. Byte by byte: no library in between.
"""
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import support
from daemon import Client, Daemon, Refused, encode, is_sanitized
from support import LIMIT, LedgerCase, poll, write_ledger

BASES = itertools.count(2115043328, 100000)  # the kernel counts tasks of a uid host-wide
SERVICE = "io.uidpool"
USERDB = "io.systemd.UserDatabase."
INVALID = "org.varlink.service.InvalidParameter"
UUIDS = [f"0000000{n}-1111-2222-3333-444444444444" for n in range(3)]
ABOUT = {"pool", "uid", "domid", "message"}


def fork_as(function, uid, gid, *groups):
    """The pid of a child that runs it with these ids."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            function()
        finally:
            os._exit(0)
    return pid


def take_messages(connection, n):
    """So many, unread."""
    while n > 0:
        n -= connection.recv(1 << 20).count(0)


class Varlink(LedgerCase):
    def setUp(self):
        super().setUp()
        self.base = next(BASES)
        # One that other uids may enter.
        self.sockets = tempfile.mkdtemp(prefix="uidpool-test-sockets-")
        self.addCleanup(shutil.rmtree, self.sockets, ignore_errors=True)
        os.chmod(self.sockets, 0o755)
        self.daemon = Daemon(self.u, self.sockets)
        self.addCleanup(self.daemon.kill)

    def up(self, **pool):
        """A pool `p`, the daemon over it, and a client."""
        self.add_pool(self.base, **pool)
        return self.begin()

    def begin(self):
        self.daemon.start()
        return self.client()

    def client(self):
        client = self.daemon.client()
        self.addCleanup(client.socket.close)
        return client

    def names(self):
        client = Client(os.path.join(self.daemon.userdb, SERVICE))
        self.addCleanup(client.socket.close)
        return client

    def refused(self, error, client, method, stream=False, **parameters):
        """The error's parameters."""
        if "." not in error:
            error = f"{SERVICE}.{error}"
        with self.assertRaises(Refused) as caught:
            if stream:
                list(client.stream(method, **parameters))
            else:
                client.call(method, **parameters)
        self.assertEqual(caught.exception.error, error, caught.exception)
        if error.startswith(SERVICE):
            told = caught.exception.parameters
            self.assertLessEqual(ABOUT, set(told))
            self.assertGreater(len(told["message"]), 10)
        return caught.exception.parameters

    def run_as(self, uid):
        """A process that runs as it."""
        process = subprocess.Popen(["sleep", "1000"], user=uid, group=uid, extra_groups=[])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def survivor(self, uid):
        """A root process with the uid as its effective one: nobody may kill it."""
        code = ("import os, sys, time\nos.setresuid(0, int(sys.argv[1]), 0)\n"
                "print('ready', flush=True)\ntime.sleep(1000)\n")
        process = subprocess.Popen([sys.executable, "-c", code, str(uid)], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def write_leases(self, first, n):
        """So many by name, from this uid on, faster than by asking for them."""
        write_ledger(self.u.ledger, f"""
            BEGIN;
            WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {n - 1})
            INSERT INTO lease (uid, count, id, pool, gid, name, state, boot, leased_at, since)
            SELECT {first} + i, 1, (SELECT max(id) FROM history) + 1 + i, {self.base},
                {self.base}, 'n' || ({first} + i), 'leased', uidpool_boot_id(), 1, 1 FROM n;
            COMMIT""")

    def assert_flat(self, memory):
        """What nobody reads does not pile up. A sanitizer keeps what was freed."""
        if not is_sanitized():
            self.assertLess(self.daemon.memory() - memory, 10 << 20)

    def state(self, uid):
        with self.daemon.client() as client:
            lease = client.call("Describe", uid=uid)["lease"]
        return lease and lease["state"]


class Leases(Varlink):
    def test_every_kind_of_lease(self):
        client = self.up()
        lease = client.call("Lease", domid=5)["lease"]
        self.assertEqual((lease["uid"], lease["gid"], lease["count"], lease["pool"]),
                         (self.base, self.base, 1, "p"))
        self.assertEqual((lease["domid"], lease["name"], lease["uuid"], lease["state"],
                          lease["existing"]), (5, None, None, "leased", False))
        again = client.call("Lease", domid=5, pool="p")["lease"]
        self.assertEqual((again["lease"], again["existing"]), (lease["lease"], True))
        block = client.call("Lease", name="web", count=4, uuid=UUIDS[0].upper())["lease"]
        self.assertEqual((block["count"], block["name"], block["uuid"]), (4, "web", UUIDS[0]))
        # It is there for everybody, and the command gives it the same names.
        for told, listed in zip((lease, block), self.u.leases(), strict=True):
            del told["existing"]
            self.assertEqual(told, listed)

    def test_a_new_uuid_ends_the_old_lease(self):
        client = self.up(policy="domid")
        old = client.call("Lease", domid=5, uuid=UUIDS[0])["lease"]
        process = self.run_as(old["uid"])
        new = client.call("Lease", domid=5, uuid=UUIDS[1])["lease"]
        self.assertEqual(new["uid"], old["uid"])
        self.assertGreater(new["lease"], old["lease"])
        self.assertEqual(process.wait(LIMIT), -9)

    def test_refusals(self):
        self.add_pool(self.base, size=3)
        self.add_pool(self.base + 1000, size=3, name="q", policy="domid")
        client = self.begin()
        self.assertEqual(self.refused("NotFound", client, "Lease", domid=5, pool="none")["pool"],
                         "none")
        self.refused("InvalidParameter", client, "Lease", domid=5)  # in which of the two pools?
        client.call("Lease", domid=5, pool="p", uuid=UUIDS[0])
        told = self.refused("Conflict", client, "Lease", domid=5, pool="p")
        self.assertEqual((told["pool"], told["domid"]), ("p", 5))
        told = self.refused("Exhausted", client, "Lease", domid=6, pool="p", count=3)
        self.assertEqual((told["pool"], told["domid"]), ("p", 6))
        process = self.run_as(self.base + 1002)
        told = self.refused("Conflict", client, "Lease", domid=2, pool="q")
        self.assertEqual((told["pool"], told["uid"], told["domid"]), ("q", self.base + 1002, 2))
        self.assertIsNone(process.poll(), "a stranger was killed")
        for parameters in ({}, {"domid": 1, "name": "web"}, {"name": "a b"}, {"name": ""},
                           {"domid": 1, "uuid": "1"}, {"domid": 1, "pool": "/"}):
            self.refused("InvalidParameter", client, "Lease", **parameters)
        for name, value in (("domid", "1"), ("domid", 1.5), ("domid", -1), ("domid", 32752),
                            ("domid", True), ("domid", 2 ** 70), ("name", 5), ("count", 0),
                            ("count", 2 ** 31), ("timeout", -1), ("colour", "red"), ("pool", [])):
            told = self.refused(INVALID, client, "Lease", **{"domid": 7, name: value})
            self.assertEqual(told, {"parameter": name})
        self.assertEqual(len(self.u.leases()), 2)  # and the hold on what the stranger has

    def test_ledger_unusable(self):
        client = self.up()
        with open(self.u.ledger, "r+b") as file:
            for at in range(0, os.path.getsize(self.u.ledger), 4096):
                file.seek(at + 100)
                file.write(b"garbage" * 100)
        write_over = os.path.getsize(self.u.ledger + "-wal")
        with open(self.u.ledger + "-wal", "r+b") as file:
            file.write(b"\0" * write_over)
        self.refused("LedgerUnusable", client, "Lease", domid=5)

    def test_many_at_once(self):
        self.up(size=200)
        clients = [self.client() for _ in range(40)]
        for n, client in enumerate(clients):
            for m in range(3):
                client.send("Lease", domid=3 * n + m)
        uids = [client.answer()["parameters"]["lease"]["uid"]
                for client in clients for _ in range(3)]
        self.assertEqual(sorted(uids), list(range(self.base, self.base + 120)))

    def test_pipelining(self):
        """Answers come in order, also those that take long."""
        client = self.up(policy="domid", quarantine=1000)
        calls = [encode("Lease", {"domid": 5}), encode("Describe", {"uid": self.base + 5}),
                 encode("Release", {"domid": 5}), encode("Describe", {"uid": self.base + 5}),
                 encode("List", {}, more=True), encode("Nonsense", {}),
                 encode("Lease", {"domid": 6})]
        text = b"".join(calls)
        for at in range(0, len(text), 7):
            client.socket.sendall(text[at:at + 7])
        lease = client.answer()["parameters"]["lease"]
        self.assertEqual(client.answer()["parameters"]["lease"]["lease"], lease["lease"])
        self.assertEqual(client.answer()["parameters"]["released"][0]["lease"], lease["lease"])
        for _ in range(2):
            told = client.answer()["parameters"]["lease"]
            self.assertEqual((told["lease"], told["state"]), (lease["lease"], "quarantined"))
        with self.assertRaisesRegex(Refused, "org.varlink.service.MethodNotFound"):
            client.answer()
        self.assertEqual(client.answer()["parameters"]["lease"]["uid"], self.base + 6)

    def test_somebody_is_stopped_while_he_writes(self):
        """In his turn in the writers' queue, which the ledger's lock file keeps."""
        client = self.up(policy="domid")
        waits = Client(self.daemon.socket, 3 * LIMIT)
        self.addCleanup(waits.socket.close)
        with open(f"{self.u.ledger}.lock", "r+b") as stopped:
            inside = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, (1 << 40) + 1, 1, 0)
            fcntl.fcntl(stopped, fcntl.F_OFD_SETLK, inside)
            waits.send("Lease", domid=1)
            # Whoever only asks is answered all the time, and whoever waits is told in the end.
            while not select.select([waits.socket], [], [], 0.1)[0]:
                self.assertIsNone(client.call("Describe", uid=self.base + 1)["lease"])
            with self.assertRaises(Refused) as refused:
                waits.answer()
            self.assertEqual(refused.exception.error, "io.uidpool.Failed")
            self.assertIn(f"{self.u.ledger}.lock", refused.exception.parameters["message"])
            waits.send("Lease", domid=2)
            self.assertIsNone(client.call("Describe", uid=self.base + 2)["lease"])
        self.assertEqual(waits.answer()["parameters"]["lease"]["uid"], self.base + 2)
        self.assertEqual(client.call("Lease", domid=1)["lease"]["uid"], self.base + 1)

    def test_a_call_without_an_answer(self):
        client = self.up()
        client.send("Lease", {"oneway": True}, domid=5)
        lease = client.call("Lease", domid=6)["lease"]
        self.assertEqual(lease["domid"], 6)
        poll(lambda: len(self.u.leases()) == 2, "the lease that nobody was told of")


class Releases(Varlink):
    def test_release_proves(self):
        client = self.up(quarantine=1000)
        uid = client.call("Lease", domid=5)["lease"]["uid"]
        process = self.run_as(uid)
        (released,) = client.call("Release", domid=5)["released"]
        self.assertEqual(process.wait(LIMIT), -9)
        self.assertEqual((released["uid"], released["state"], released["tasks_killed"]),
                         (uid, "quarantined", 1))
        self.assertGreater(released["tasks_scanned"], 1)
        # What rests counts as released.
        (again,) = client.call("Release", domid=5)["released"]
        self.assertEqual((again["lease"], again["tasks_scanned"]), (released["lease"], 0))
        told = self.refused("NotFound", client, "Release", domid=6, pool="p")
        self.assertEqual((told["pool"], told["domid"], told["uid"]), ("p", 6, None))

    def test_all_that_is_meant_and_nothing_else(self):
        self.add_pool(self.base)
        self.add_pool(self.base + 1000, name="q")
        client = self.begin()
        for pool in "pq":
            for domid in (5, 6):
                client.call("Lease", pool=pool, domid=domid)
            client.call("Lease", pool=pool, name="web", count=3)
        released = client.call("Release", domid=5)["released"]
        self.assertEqual({lease["pool"] for lease in released}, {"p", "q"})
        (lease,) = client.call("Release", name="web", pool="q")["released"]
        self.assertEqual((lease["pool"], lease["count"]), ("q", 3))
        (lease,) = client.call("Release", uid=self.base + 3)["released"]
        self.assertEqual((lease["pool"], lease["name"]), ("p", "web"))
        self.refused("NotFound", client, "Release", uid=self.base + 1, name="web")
        self.assertEqual([(lease["pool"], lease["domid"]) for lease in self.u.leases()
                          if lease["state"] == "leased"], [("p", 6), ("q", 6)])
        for parameters in ({}, {"pool": "p"}, {"name": "a b"}):
            self.refused("InvalidParameter", client, "Release", **parameters)
        for name, value in (("uid", 2 ** 32), ("uid", -1), ("timeout", 1.0), ("count", 1)):
            told = self.refused(INVALID, client, "Release", **{"domid": 6, name: value})
            self.assertEqual(told, {"parameter": name})

    def test_not_proven(self):
        self.add_pool(self.base)
        self.add_pool(self.base + 1000, name="q")
        client = self.begin()
        uid = client.call("Lease", domid=5, pool="p")["lease"]["uid"]
        client.call("Lease", domid=5, pool="q")
        process = self.survivor(uid)
        told = self.refused("NotProven", client, "Release", domid=5, timeout=1)
        self.assertEqual((told["pool"], told["uid"], told["domid"]), ("p", uid, 5))
        (task,) = told["survivors"]
        self.assertEqual((task["pid"], task["tid"], task["real"], task["effective"], task["saved"]),
                         (process.pid, process.pid, 0, uid, 0))
        self.assertTrue(task["command"].startswith("python3"), task)
        self.assertEqual([lease["pool"] for lease in told["released"]], ["q"])
        self.assertEqual(told["unnamed"], 0)
        self.assertEqual(self.state(uid), "revoking")
        # The domid's next owner is told the same.
        told = self.refused("NotProven", client, "Lease", domid=5, pool="p", timeout=1)
        self.assertEqual(task["pid"], told["survivors"][0]["pid"])
        # The daemon goes on with it by itself.
        process.kill()
        process.wait()
        poll(lambda: self.state(uid) in ("quarantined", None), "the next try")

    def test_whoever_waits_may_go(self):
        client = self.up(quarantine=1000)
        uid = client.call("Lease", domid=5)["lease"]["uid"]
        process = self.survivor(uid)
        client.send("Release", domid=5, timeout=600)
        poll(lambda: self.state(uid) == "revoking", "the revocation")
        client.socket.close()
        self.run_as(uid)
        process.kill()
        process.wait()
        poll(lambda: self.state(uid) == "quarantined", "the proof")

    def test_others_are_answered_meanwhile(self):
        client, other = self.up(), self.client()
        uid = client.call("Lease", domid=5)["lease"]["uid"]
        process = self.survivor(uid)
        client.send("Release", domid=5, timeout=600)
        for domid in range(6, 26):
            other.call("Lease", domid=domid)
            other.call("Release", domid=domid)
        self.assertFalse(select.select([client.socket], [], [], 0)[0])
        process.kill()
        process.wait()
        self.assertEqual(client.answer()["parameters"]["released"][0]["uid"], uid)

    def test_two_wait_for_one(self):
        client, other = self.up(), self.client()
        uid = client.call("Lease", domid=5)["lease"]["uid"]
        process = self.survivor(uid)
        client.send("Release", domid=5, timeout=600)
        other.send("Release", uid=uid, timeout=600)
        poll(lambda: self.state(uid) == "revoking", "the revocation")
        process.kill()
        process.wait()
        for waiting in (client, other):
            self.assertEqual(waiting.answer()["parameters"]["released"][0]["uid"], uid)


class Reading(Varlink):
    def test_describe(self):
        client = self.up()
        lease = client.call("Lease", name="web", count=3)["lease"]
        told = client.call("Describe", uid=lease["uid"] + 2)["lease"]
        self.assertEqual((told["lease"], told["name"]), (lease["lease"], "web"))
        for uid in (0, self.base + 3, 4294967294):
            self.assertIsNone(client.call("Describe", uid=uid)["lease"])
        for uid in (-1, 2 ** 32 - 1, None, "1", 1.0):
            self.assertEqual(self.refused(INVALID, client, "Describe", uid=uid),
                             {"parameter": "uid"})

    def test_list_and_history_as_the_command_has_them(self):
        self.add_pool(self.base)
        self.add_pool(self.base + 1000, name="q")
        client = self.begin()
        self.assertEqual(list(client.stream("List")), [{"lease": None}])
        for domid in range(5):
            client.call("Lease", domid=domid, pool="pq"[domid % 2])
        client.call("Lease", name="web", pool="q", count=2, uuid=UUIDS[0])
        client.call("Release", domid=0)

        def listed(**parameters):
            leases = [answer["lease"] for answer in client.stream("List", **parameters)]
            for lease in leases:
                self.assertFalse(lease.pop("existing"))
            return leases
        self.assertEqual(listed(), self.u.leases())
        self.assertEqual(listed(pool="q"), self.u.json("list", "--pool=q")["leases"])
        self.refused("NotFound", client, "List", stream=True, pool="none")
        self.refused("org.varlink.service.ExpectedMore", client, "List")

        events = self.u.events()
        since, until = events[4]["at"], events[-3]["at"]
        for parameters in ({}, {"pool": "q"}, {"domid": 0}, {"name": "web"},
                           {"uid": self.base + 1001}, {"since": since, "until": until},
                           {"since": "-1h", "domid": 2, "pool": "p"}):
            options = [f"--{name}={value}" for name, value in parameters.items()]
            told = [answer["event"] for answer in client.stream("History", **parameters)]
            self.assertEqual(told, self.u.events(*options), parameters)
            self.assertTrue(told, parameters)
        self.assertEqual(list(client.stream("History", domid=99)), [{"event": None}])
        self.refused("org.varlink.service.ExpectedMore", client, "History")
        self.assertEqual(self.refused(INVALID, client, "History", stream=True, since="soon"),
                         {"parameter": "since"})

    def test_long_lists_delay_nobody(self):
        self.add_pool(self.base, size=40000)
        self.write_leases(self.base, 30000)
        client = self.begin()
        memory = self.daemon.memory()
        slow = [self.client() for _ in range(6)]
        for n, reader in enumerate(slow):
            reader.send(("List", "History")[n % 2], {"more": True})
        reading, uids = self.client(), 0
        stream = reading.stream("List")
        for n in range(200):
            uids += sum(1 for _ in itertools.islice(stream, 100))
            client.call("Describe", uid=self.base + n)
            if n % 10 == 0:
                client.call("Lease", name=f"late{n}")
        uids += sum(1 for _ in stream)
        self.assertEqual(uids, 30020)
        self.assert_flat(memory)
        for reader in slow:
            take_messages(reader.socket, 30000)


    def test_strangers_that_list_without_end(self):
        self.add_pool(self.base, size=40000)
        self.write_leases(self.base, 30000)
        client = self.begin()

        def list_for_ever():
            with self.daemon.client() as stranger:
                while True:
                    stranger.send("List", {"more": True})
                    take_messages(stranger.socket, 30000)

        def median():
            times = []
            for _ in range(9):
                client.call("Lease", name="web")
                began = time.monotonic()
                client.call("Release", name="web")
                times.append(time.monotonic() - began)
            return sorted(times)[4]
        before = median()
        for _ in range(20):
            pid = fork_as(list_for_ever, self.base + 50000, self.base + 50000)
            self.addCleanup(os.waitpid, pid, 0)
            self.addCleanup(os.kill, pid, signal.SIGKILL)
        self.assertLess(median(), 4 * before + 0.2)


class Subscriptions(Varlink):
    def events(self, stream, n):
        return [next(stream)["event"] for _ in range(n)]

    def test_everybodys_commits(self):
        client = self.up()
        stream = self.client().stream("Subscribe")
        (first,) = self.events(stream, 1)
        self.assertEqual((first["what"], first["id"]), ("subscribed", self.u.events()[-1]["id"]))
        client.call("Lease", domid=5)
        self.lease(6)
        self.run_ok("release", "--domid=6")
        client.call("Release", domid=5)
        expected = self.u.events()[first["id"]:]
        self.assertEqual(self.events(stream, len(expected)), expected)
        whats = [event["what"] for event in expected]
        self.assertEqual((whats.count("leased"), whats.count("proven")), (2, 2))

    def test_go_on_where_the_connection_broke(self):
        client = self.up()
        client.call("Lease", domid=5)
        newest = self.u.events()[-1]["id"]
        stream = self.client().stream("Subscribe", after=newest - 1)
        told = self.events(stream, 2)
        self.assertEqual([(event["what"], event["id"]) for event in told],
                         [("subscribed", newest), ("leased", newest)])
        self.refused("Conflict", client, "Subscribe", stream=True, after=newest + 1)
        self.refused("org.varlink.service.ExpectedMore", client, "Subscribe")
        self.assertEqual(self.refused(INVALID, client, "Subscribe", stream=True, after=-1),
                         {"parameter": "after"})

    def test_slow_readers(self):
        """They find every event, in order, and cost nothing meanwhile."""
        client = self.up(size=20000)
        client.call("Lease", domid=5)
        slow = [self.client() for _ in range(4)]
        for reader in slow:
            reader.send("Subscribe", {"more": True})
            self.assertEqual(reader.answer()["parameters"]["event"]["what"], "subscribed")
        memory = self.daemon.memory()
        first = self.u.events()[-1]["id"]
        for n in range(20):
            self.write_leases(self.base + 1 + 500 * n, 500)
            client.call("Lease", domid=5)
        self.assert_flat(memory)
        for reader in slow:
            for n in range(10000):
                event = reader.answer()["parameters"]["event"]
                self.assertEqual((event["id"], event["what"]), (first + 1 + n, "leased"))

    def test_the_daemon_says_good_bye(self):
        self.up()
        stream = self.client().stream("Subscribe")
        (first,) = self.events(stream, 1)
        self.assertEqual(self.daemon.stop(), 0)
        (last,) = self.events(stream, 1)
        self.assertEqual((last["what"], last["id"]), ("ended", first["id"]))
        self.assertEqual(list(stream), [])


class Permission(Varlink):
    CHANGES = [("Lease", {"domid": 9}, ""), ("Release", {"domid": 5}, ""),
               ("History", {}, "more"), ("Subscribe", {}, "more")]

    def ask(self, method, parameters, more, uid, gid, *groups):
        """The first answer that a process of these ids gets."""
        read, write = os.pipe()

        def ask():
            with self.daemon.client() as client:
                client.send(method, {"more": more == "more"}, **parameters)
                os.write(write, json.dumps(client.receive()).encode())
        pid = fork_as(ask, uid, gid, *groups)
        os.close(write)
        with os.fdopen(read) as file:
            text = file.read()
        os.waitpid(pid, 0)
        return json.loads(text)

    def test_a_stranger_reads(self):
        client = self.up()
        client.call("Lease", domid=5)
        stranger = self.base + 50000, self.base + 50000
        answer = self.ask("Describe", {"uid": self.base}, "", *stranger)
        self.assertEqual(answer["parameters"]["lease"]["domid"], 5)
        answer = self.ask("List", {}, "more", *stranger)
        self.assertEqual(answer["parameters"]["lease"]["domid"], 5)
        for method, parameters, more in self.CHANGES:
            answer = self.ask(method, parameters, more, *stranger)
            self.assertEqual(answer["error"], f"{SERVICE}.NotPermitted")
            self.assertLessEqual(ABOUT, set(answer["parameters"]))
            self.assertIn(str(self.base + 50000), answer["parameters"]["message"])
        # Root's group is not root.
        answer = self.ask("Lease", {"domid": 9}, "", self.base + 50000, 0, 0)
        self.assertEqual(answer["error"], f"{SERVICE}.NotPermitted")
        self.assertEqual([lease["state"] for lease in self.u.leases()], ["leased"])

    def test_the_group_changes(self):
        group = self.base + 50001
        with open("/etc/group", encoding="utf-8") as file:
            lines = [line for line in file if not line.startswith("uidpool:")]
        path = os.path.join(self.dir, "group")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines([*lines, f"uidpool:x:{group}:\n"])
        os.chmod(path, 0o644)
        subprocess.run(["mount", "--bind", path, "/etc/group"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/etc/group"], check=True)
        self.up()
        for groups in ((self.base + 50000, group), (group,)):
            for method, parameters, more in [("Lease", {"domid": 5}, ""), *self.CHANGES]:
                answer = self.ask(method, parameters, more, self.base + 50000, *groups)
                self.assertNotIn("error", answer, method)


class Names(Varlink):
    def add_named(self, name, base, *options):
        self.run_ok("pool", "add", name, f"--base={base}", "--size=1000", "--policy=next",
                    "--quarantine=0", *options)
        write_ledger(self.u.ledger, f"UPDATE pool SET resolve = 1 WHERE base = {base}")

    def record(self, client, kind="User", **parameters):
        return client.call(f"{USERDB}Get{kind}Record", service=SERVICE, **parameters)["record"]

    def test_names(self):
        self.add_pool(self.base + 10000)
        self.add_named("xen", self.base)
        self.add_named("own", self.base + 1000, "--group=per-uid")
        client = self.begin()
        for pool in ("p", "xen", "own"):
            for domid in range(3):
                client.call("Lease", pool=pool, domid=domid)
        names = self.names()
        record = self.record(names, uid=self.base + 1)
        self.assertEqual(record["userName"], "xen-domid1")
        self.assertEqual(self.record(names, userName="xen-domid1"), record)
        self.assertEqual(self.record(names, userName="xen-domid1", uid=self.base + 1), record)
        self.assertEqual((record["uid"], record["gid"], record["service"], record["disposition"],
                          record["locked"]), (self.base + 1, self.base, SERVICE, "dynamic", True))
        record = self.record(names, "Group", gid=self.base + 1002)
        self.assertEqual((record["groupName"], record["gid"]), ("own-domid2", self.base + 1002))
        for kind, error, parameters in (
                ("User", "NoRecordFound", {"uid": self.base + 10000}),
                ("User", "NoRecordFound", {"userName": "p-domid0"}),
                ("User", "NoRecordFound", {"uid": 0}),
                ("User", "NoRecordFound", {"userName": "root"}),
                ("Group", "NoRecordFound", {"gid": self.base}),
                ("User", "ConflictingRecordFound", {"uid": self.base, "userName": "xen-domid1"}),
                ("User", "EnumerationNotSupported", {})):
            self.refused(USERDB + error, names, f"{USERDB}Get{kind}Record", service=SERVICE,
                         **parameters)
        self.refused(f"{USERDB}BadService", names, f"{USERDB}GetUserRecord", uid=self.base)
        self.refused(f"{USERDB}NoRecordFound", names, f"{USERDB}GetMemberships", service=SERVICE,
                     userName="xen-domid1")
        everyone = [answer["record"]["userName"]
                    for answer in names.stream(f"{USERDB}GetUserRecord", service=SERVICE)]
        self.assertEqual(everyone, [f"{pool}-domid{domid}" for pool in ("xen", "own")
                                    for domid in range(3)])
        client.call("Release", domid=1, pool="xen")
        self.refused(f"{USERDB}NoRecordFound", names, f"{USERDB}GetUserRecord", service=SERVICE,
                     userName="xen-domid1")


if __name__ == "__main__":
    support.main()
