#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""uidpoold under load: 64 toolstacks, some by the command, while it is killed again and again; a
hundred thousand calls; and peers that mean harm beside one that does not.

LEASES, KILLS, CALLS: how much of it, LEASES=10000 for the full size; SEED: the same choices again.
"""
import asyncio
import collections
import json
import os
import random
import resource
import signal
import socket
import subprocess
import time
import uuid

import daemon
import support
from daemon import Daemon, encode
from support import LedgerCase

CLIENTS = 64
COMMANDS = 4  # of them use the command beside the daemon
LEASES = int(os.environ.get("LEASES", "4000"))
KILLS = int(os.environ.get("KILLS", "10"))
CALLS = int(os.environ.get("CALLS", "100000"))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
SANITIZED = os.path.exists(daemon.PROGRAM) and daemon.is_sanitized()
if SANITIZED:  # several times slower
    LEASES, CALLS = LEASES // 10, CALLS // 10

# Every run begins elsewhere: the kernel counts what runs as a uid in all PID namespaces.
SIZE = 512
BASE = 2130706432 + 3 * SIZE * random.SystemRandom().randrange(256)
STRANGER = BASE + 2 * SIZE  # outside of the pools
BATCH = 100  # calls in one write


class DaemonCase(LedgerCase):
    @classmethod
    def setUpClass(cls):
        # Each release looks there for what was left: what others keep there takes its time.
        for place in ("/tmp", "/var/tmp"):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", place], check=True)

    def setUp(self):
        super().setUp()
        if not os.access(daemon.PROGRAM, os.X_OK):
            self.skipTest(f"SKIP: {daemon.PROGRAM} is not built")
        print(f"SEED={SEED} uids from {BASE}", flush=True)
        self.add_pool(BASE, SIZE, "next", "next")
        self.add_pool(BASE + SIZE, SIZE, "domid", "domid")
        self.d = Daemon(self.u, self.dir)
        self.addCleanup(self.d.kill)


class Toolstack:
    """One of many, with domids and names that only it uses. It asks until it is answered."""

    def __init__(self, number, load):
        self.number, self.load = number, load
        self.dice = random.Random(f"{SEED}/{number}")
        self.held = {}  # owner: (lease, process or None)
        self.life = None  # which of the daemon's lives we are connected to
        self.reader = self.writer = None

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None

    async def exchange(self, text):
        if not self.writer:
            self.life = self.load.life
            self.reader, self.writer = await asyncio.open_unix_connection(self.load.case.d.socket)
        self.writer.write(text)
        return json.loads((await self.reader.readuntil(b"\0"))[:-1])

    async def call(self, method, **parameters):
        """The answer, and whether it took more than one try."""
        text = encode(method, parameters)
        again = False
        while True:
            try:
                async with asyncio.timeout(support.LIMIT):
                    return await self.exchange(text), again
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
            again = True
            await self.load.next_life(self.life)

    def new_owner(self):
        """A domid in one of the pools, or a name; eight of each, so that each comes back soon."""
        which = self.number * 8 + self.dice.randrange(8)
        return self.dice.choice([("next", "domid", which), ("domid", "domid", which),
                                 ("next", "name", f"vm-{which}")])

    async def lease(self):
        owner = self.new_owner()
        if owner in self.held:
            return
        pool, key, value = owner
        vm = str(uuid.UUID(int=self.dice.getrandbits(128)))
        answer, _ = await self.call("Lease", pool=pool, uuid=vm, **{key: value})
        assert "error" not in answer, f"lease {owner}: {answer}"
        lease = answer["parameters"]["lease"]
        assert (lease["pool"], lease[key], lease["uuid"]) == (pool, value, vm), (owner, lease)
        self.load.granted(lease)
        process = None
        if self.dice.randrange(16) == 0:
            process = subprocess.Popen(["sleep", "1000"], user=lease["uid"], group=lease["gid"],
                                       extra_groups=[])
        self.held[owner] = (lease, process)

    async def release(self):
        owner = self.dice.choice(sorted(self.held))
        pool, key, value = owner
        lease, process = self.held.pop(owner)
        self.load.giving_back(lease)
        answer, again = await self.call("Release", pool=pool, **{key: value})
        if again and answer.get("error") == "io.uidpool.NotFound":
            pass  # the first try was carried out, and its uid is free already
        else:
            assert "error" not in answer, f"release {owner}: {answer}"
            uids = [one["uid"] for one in answer["parameters"]["released"]]
            assert uids == [lease["uid"]], (owner, lease, answer)
        self.load.gone.add(lease["uuid"])
        if process:
            assert process.poll() == -signal.SIGKILL, f"{lease} was released while it ran"

    async def look(self):
        lease, _ = self.held[self.dice.choice(sorted(self.held))]
        answer, _ = await self.call("Describe", uid=lease["uid"])
        found = answer["parameters"]["lease"]
        assert found and found["lease"] == lease["lease"], (lease, answer)

    async def work(self):
        while not self.load.enough():
            choice = self.dice.randrange(8)
            if self.held and (len(self.held) == 3 or choice < 3):
                await self.release()
            elif self.held and choice == 3:
                await self.look()
            else:
                await self.lease()
        while self.held:
            await self.release()
        self.close()


class CommandStack(Toolstack):
    """One that uses the command, on the same ledger."""

    VERBS = {"Lease": "lease", "Release": "release", "Describe": "list"}

    async def call(self, method, **parameters):
        command = self.load.case.u.command("--json", self.VERBS[method],
                                           *(f"--{key}={value}"
                                             for key, value in parameters.items()))
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL,
                                                       stdout=subprocess.PIPE,
                                                       stderr=subprocess.PIPE)
        async with asyncio.timeout(2 * support.LIMIT):
            out, err = await process.communicate()
        if process.returncode:
            return {"error": f"exit {process.returncode}: {err.decode()}"}, False
        answer = json.loads(out)
        if method == "Lease":
            answer = {"lease": answer}
        if method == "Describe":
            answer = {"lease": answer["leases"][0] if answer["leases"] else None}
        return {"parameters": answer}, False


class Load:
    """All of them, what they were told, and who kills the daemon meanwhile."""

    def __init__(self, case):
        self.case = case
        self.life = 0
        self.begun = asyncio.Condition()
        self.done = asyncio.Event()
        self.killing = False
        self.live = {}  # uid: lease, as answered and not given back
        self.grants = {}  # uuid: lease
        self.gone = set()  # uuids whose release was answered

    def granted(self, lease):
        other = self.live.get(lease["uid"])
        assert not other, f"given twice at once: {other} and {lease}"
        assert lease["uuid"] not in self.grants
        self.live[lease["uid"]] = self.grants[lease["uuid"]] = lease

    def giving_back(self, lease):
        del self.live[lease["uid"]]

    def enough(self):
        return len(self.grants) >= LEASES and self.life >= KILLS

    async def next_life(self, last):
        """A connection broke: that is so when the daemon dies, and at no other time."""
        assert self.killing or self.life > last, "the daemon closed a connection"
        async with self.begun:
            await self.begun.wait_for(lambda: self.life > last)

    async def kill_and_start(self):
        assert self.case.d.process.poll() is None, f"it died: {self.case.d.said()[-2000:]}"
        self.killing = True
        self.case.d.kill()
        # Nobody is answered now; what was answered is on the disk.
        self.nothing_is_lost()
        self.case.d.start()
        async with self.begun:
            self.life += 1
            self.killing = False
            self.begun.notify_all()

    def nothing_is_lost(self):
        ledger = {lease["uid"]: lease for lease in self.case.u.leases()}
        for uid, lease in self.live.items():
            found = ledger.get(uid)
            assert found and found["state"] == "leased", f"lost: {lease}; the ledger has {found}"
            for key in ("lease", "pool", "domid", "name", "uuid"):
                assert found[key] == lease[key], (lease, found)
        for lease in ledger.values():
            assert lease["uuid"] not in self.gone or lease["state"] in ("quarantined", "held"), \
                f"its release was answered: {lease}"

    async def killer(self):
        dice = random.Random(f"{SEED}/killer")
        while not self.done.is_set():
            try:
                async with asyncio.timeout(dice.uniform(0.1, 1.9)):
                    await self.done.wait()
            except TimeoutError:
                await self.kill_and_start()

    async def run(self):
        killer = asyncio.ensure_future(self.killer())
        kinds = [CommandStack] * COMMANDS + [Toolstack] * (CLIENTS - COMMANDS)
        toolstacks = [asyncio.ensure_future(kind(number, self).work())
                      for number, kind in enumerate(kinds)]
        # The first that fails is what there is to see.
        for finished in asyncio.as_completed([killer, asyncio.gather(*toolstacks)]):
            await finished
            self.done.set()


class Killed(DaemonCase):
    def test_64_clients_while_it_is_killed(self):
        began = time.monotonic()
        self.d.start()
        load = asyncio.run(self.carry_out())
        took = time.monotonic() - began
        print(f"{len(load.grants)} leases and releases, {load.life} kills, {took:.0f} s",
              flush=True)
        self.assertEqual(self.d.stop(), 0, self.d.said()[-2000:])
        self.history_adds_up(load)
        self.run_ok("ledger", "check")

    async def carry_out(self):
        load = Load(self)
        await load.run()
        return load

    def history_adds_up(self, load):
        self.run_ok("recover")
        self.assertEqual(self.u.leases(), [])
        events = self.u.events()
        self.assertEqual([event["id"] for event in events], list(range(1, len(events) + 1)))
        granted = [event["uuid"] for event in events if event["what"] == "leased"]
        self.assertEqual(collections.Counter(granted), collections.Counter(load.grants.keys()))
        support.check_holders(self, events)


class Stuck(DaemonCase):
    """The helper that asks the kernel is stopped: nothing is leased meanwhile, and nobody else
    waits."""

    def helpers(self):
        """Of this namespace."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if file.read().startswith(b"uidpool-census\0serve"):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def test_leases_end_without_its_answer(self):
        self.d.start()
        with self.d.client() as other:
            other.call("Lease", pool="next", name="before")
            for pid in support.poll(self.helpers, "the helper"):
                os.kill(pid, signal.SIGSTOP)
            clients = [self.d.client() for _ in range(CLIENTS)]
            for number, client in enumerate(clients):
                # Not neighbours, which would be asked about together.
                client.send("Lease", pool="domid", domid=2 * number)
            other.call("org.varlink.service.GetInfo")
            for client in clients:
                self.assertEqual(client.receive().get("error"), "io.uidpool.NotProven")
                client.socket.close()
            other.call("Lease", pool="next", name="behind")
        self.assertEqual({lease["name"] for lease in self.u.leases()}, {"before", "behind"})
        self.assertEqual(self.d.stop(), 0, self.d.said()[-2000:])


class Memory(DaemonCase):
    """It answers a hundred thousand calls of every kind, and is no bigger than before."""

    def calls(self, dice):
        domid = dice.randrange(8)
        kinds = [
            ("Describe", {"uid": BASE + dice.randrange(SIZE)}, {}),
            ("Lease", {"pool": "domid", "domid": domid}, {}),
            ("List", {}, {"more": True}),
            ("History", {"uid": BASE + 1}, {"more": True}),
            ("Release", {"domid": 100 + domid}, {}),
            ("Release", {}, {}),
            ("Lease", {"pool": "domid", "domid": -1}, {}),
            ("Describe", {"uid": "5"}, {}),
            ("Nothing", {}, {}),
            ("org.varlink.service.GetInfo", {}, {}),
            ("org.varlink.service.GetInterfaceDescription", {"interface": "io.uidpool"}, {}),
        ]
        calls = [dice.choice(kinds) for _ in range(BATCH)]
        # Few leases are made and ended: with the ledger grows what SQLite keeps of it in memory.
        if dice.randrange(10) == 0:
            calls += [("Lease", {"pool": "next", "name": "x"}, {}),
                      ("Release", {"pool": "next", "name": "x"}, {})]
        return calls

    def batch(self, dice):
        """On a connection of its own."""
        calls = self.calls(dice)
        with self.d.client() as client:
            client.socket.sendall(b"".join(encode(method, parameters, **flags)
                                           for method, parameters, flags in calls))
            for _ in calls:
                while client.receive().get("continues"):
                    pass

    def test_memory_stays_flat(self):
        dice = random.Random(f"{SEED}/memory")
        self.d.start()
        began = time.monotonic()
        sizes = []
        for number in range(CALLS // BATCH):
            self.batch(dice)
            if number % (CALLS // BATCH // 10) == 0:
                sizes.append(self.d.memory())
        sizes.append(self.d.memory())
        print(f"{CALLS} calls, {time.monotonic() - began:.0f} s, resident KiB: "
              f"{' '.join(str(size >> 10) for size in sizes)}", flush=True)
        self.assertEqual(self.d.stop(), 0, self.d.said()[-2000:])
        if not SANITIZED:  # a sanitizer keeps what was freed
            self.assertLess(sizes[-1] - sizes[3], 256 << 10, "it grew")


def stranger(name, path, report, uid=STRANGER):
    """A process that means harm, until it is killed. It reports each round."""
    pid = os.fork()
    if pid:
        return pid
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        while True:
            try:
                HARM[name](path)
                os.write(report, f"{name}\n".encode())
            except OSError:  # the door is shut; again
                os.sched_yield()
    finally:
        os._exit(1)


def read_to_the_end(peer):
    try:
        while peer.recv(65536):
            pass
    except OSError:
        pass


def push(peer, text):
    """As far as it is taken."""
    try:
        peer.sendall(text)
    except OSError:
        return False
    return True


def half_messages(path):
    """Each begins a message and waits."""
    peers = []
    for _ in range(100):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        push(peer, b'{"method":"io.uidpool.Li')
        peers.append(peer)
    peers[0].settimeout(0.5)
    read_to_the_end(peers[0])
    for peer in peers:
        peer.close()


def endless_message(path):
    """100 MB without a NUL."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(support.LIMIT)
        peer.connect(path)
        for _ in range(100):
            if not push(peer, b" " * (1 << 20)):
                break
        read_to_the_end(peer)


def deep_messages(path):
    for text in (b"[" * 10000 + b"]" * 10000 + b"\0",
                 b'{"method":"io.uidpool.List","parameters":' + b'{"pool":' * 10000 + b"1" +
                 b"}" * 10001 + b"\0"):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(0.5)
            peer.connect(path)
            push(peer, text)
            read_to_the_end(peer)


def many_connections(path):
    """10,000 at once, as far as they are let."""
    peers = []
    try:
        for _ in range(10000):
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            peers.append(peer)
            while True:
                try:
                    peer.connect(path)
                    break
                except BlockingIOError:  # the queue is full
                    os.sched_yield()
    finally:
        for peer in peers:
            peer.close()


def reader_that_never_reads(path):
    """Asks for long answers until its calls are not taken any more."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(1)
        peer.connect(path)
        text = encode("List", {}, more=True) * 100
        for _ in range(10000):
            if not push(peer, text):
                break


def subscriber_that_never_reads(path):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(1)
        peer.connect(path)
        push(peer, encode("Subscribe", {}, more=True))
        time.sleep(1)  # as long as it stays


HARM = {harm.__name__: harm for harm in (half_messages, endless_message, deep_messages,
                                         many_connections, reader_that_never_reads,
                                         subscriber_that_never_reads)}
ROOTS = {"subscriber_that_never_reads"}  # others may not subscribe


class Hostile(DaemonCase):
    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o711)
        self.strangers = []
        self.addCleanup(self.end_strangers)

    def end_strangers(self):
        for pid in self.strangers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.strangers.clear()

    def lives(self, client, number):
        """One domain's life; the longest wait."""
        waits = []
        for method in ("Lease", "Describe", "Release"):
            begin = time.monotonic()
            parameters = {"pool": "next", "domid": number % 100}
            if method == "Describe":
                parameters = {"uid": uid}
            answer = client.call(method, **parameters)
            waits.append(time.monotonic() - begin)
            if method == "Lease":
                uid = answer["lease"]["uid"]
        return max(waits)

    def test_harm_is_kept_to_those_who_mean_it(self):
        self.d.start()
        with self.d.client() as client:
            for domid in range(400):  # so that lists are long
                client.call("Lease", pool="domid", domid=domid)
        before = self.d.memory(), self.d.descriptors()
        reports, write = os.pipe()
        os.set_blocking(reports, False)
        for name in HARM:
            self.strangers.append(stranger(name, self.d.socket, write,
                                           0 if name in ROOTS else STRANGER))
        rounds = collections.Counter()
        waits = []
        steady = self.d.client()
        end = time.monotonic() + 4 * support.LIMIT
        while len(rounds) < len(HARM) or len(waits) < 100:
            self.assertLess(time.monotonic(), end, f"{rounds}, {len(waits)} lives")
            waits.append(self.lives(steady, len(waits)))
            with self.d.client() as newcomer:
                waits.append(self.lives(newcomer, len(waits)))
            try:
                rounds.update(os.read(reports, 65536).decode().split())
            except BlockingIOError:
                pass
        largest = self.d.memory()
        self.end_strangers()
        waits.sort()
        print(f"{len(waits)} lives, longest wait of each: median {waits[len(waits) // 2]:.3f} s, "
              f"longest {waits[-1]:.3f} s; resident KiB {before[0] >> 10} then {largest >> 10}; "
              f"{dict(rounds)}", flush=True)
        self.assertLess(waits[-1], 5, "somebody was kept waiting")
        if not SANITIZED:
            self.assertLess(largest - before[0], 64 << 20, "harm costs memory")
        steady.socket.close()
        support.poll(lambda: self.d.descriptors() <= before[1], "connections to be closed")
        self.assertEqual(self.d.stop(), 0, self.d.said()[-2000:])


if __name__ == "__main__":
    support.main()
