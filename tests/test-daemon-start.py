#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How uidpoold begins and ends: its options, what it refuses to start on, sockets passed by each
protocol, readiness for each, signals, and being killed."""
import contextlib
import errno
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
import unittest

import support
from daemon import PROGRAM, Client, Daemon, Refused

BASE = 2115112960
STRANGER = BASE + 4000


def listening(path):
    """A socket that somebody else listens on."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(5)
    return server


class Case(support.LedgerCase):
    def setUp(self):
        super().setUp()
        self.d = Daemon(self.u, self.dir)
        self.addCleanup(self.d.kill)

    def run_daemon(self, *options, status, **more):
        """It ends by itself. What it said."""
        run = subprocess.run(self.d.command(*options), stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=support.LIMIT, check=False,
                             **more)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stdout + run.stderr

    def serves(self, path=None):
        with Client(path or self.d.socket) as client:
            info = client.call("org.varlink.service.GetInfo")
        self.assertEqual(info["product"], "uidpoold")
        return info["interfaces"]

    def says(self, pattern):
        support.poll(lambda: re.search(pattern, self.d.said()), f"{pattern!r} in the log")


class Options(Case):
    def test_help_and_version(self):
        text = self.run_daemon("--help", status=0)
        for option in ("--ledger=", "--config=", "--runtime-dir=", "--userdb-dir=", "--ready=",
                       "--xenstore=", "--help", "--version", "uidpoold(8)"):
            self.assertIn(option, text)
        self.assertRegex(self.run_daemon("-V", status=0), r"\Auidpoold \d+\.\d+\.\d+\n\Z")
        # Nothing was made on the way.
        self.assertFalse(os.path.exists(self.d.runtime))

    def test_wrong_usage(self):
        for words in (["--bogus"], ["-x"], ["serve"], [""], ["--"" ", "x"], ["--ledger"],
                      ["--ledger="], ["--ledger=relative.db"], ["--config=x"], ["--runtime-dir=run"],
                      ["--userdb-dir="], ["--xenstore=sock"], ["--ready=yes"], ["--ready=fd:"],
                      ["--ready=fd:-1"], ["--ready=fd:3x"], ["--led=/x"], ["--version=1"],
                      ["--ready=auto", "--ready=auto"]):
            with self.subTest(words):
                run = subprocess.run([PROGRAM, *words], stdin=subprocess.DEVNULL,
                                     capture_output=True, text=True, timeout=support.LIMIT,
                                     check=False)
                self.assertEqual(run.returncode, 2, run.stderr)
                self.assertRegex(run.stderr, r"\Auidpoold: .+\nusage: uidpoold \[OPTION...\]\n\Z")
                self.assertEqual(run.stdout, "")

    def test_not_root(self):
        program = "/tmp/uidpoold-for-all"
        with open(PROGRAM, "rb") as file, open(program, "wb") as copy:
            self.addCleanup(os.unlink, program)
            copy.write(file.read())
            os.fchmod(copy.fileno(), 0o755)
        # The sanitizers' runtime looks at /proc/self, which is root's after a change of uid.
        run = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             user=STRANGER, group=STRANGER, extra_groups=[], check=False,
                             timeout=support.LIMIT)
        self.assertEqual(run.returncode, 9, run.stderr)
        self.assertIn("root", run.stderr)

    def test_standard_descriptors_may_be_missing(self):
        self.add_pool(BASE)
        ready, write = os.pipe()
        self.d.process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *self.d.command(f"--ready=fd:{write}")],
            pass_fds=[write])
        os.close(write)
        with os.fdopen(ready, "rb") as file:
            self.assertEqual(file.read(), b"\n")
        self.serves()
        self.assertEqual(self.d.stop(), 0)

    def test_log_level(self):
        self.add_pool(BASE)
        self.d.start(env={**os.environ, "UIDPOOLD_LOG": "err"})
        self.assertEqual(self.d.stop(), 0)
        self.assertEqual(self.d.said(), "")
        self.d.start(env={**os.environ, "UIDPOOLD_LOG": "loud\033[2J"})
        self.assertEqual(self.d.stop(), 0)
        self.assertIn("UIDPOOLD_LOG=loud?[2J is none of", self.d.said())
        self.assertIn("ending", self.d.said())


class Ledgers(Case):
    def test_no_ledger(self):
        text = self.run_daemon(status=3)
        self.assertIn("there is no ledger", text)
        self.assertIn("uidpool pool add", text)
        self.assertFalse(os.path.exists(self.d.runtime))

    def test_damaged_ledger(self):
        self.add_pool(BASE)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.u.ledger + suffix)
        with open(self.u.ledger, "r+b") as file:
            file.write(b"not a database at all")
        before = support.digest(self.u.ledger)
        self.assertIn(self.u.ledger, self.run_daemon(status=7))
        self.assertEqual(support.digest(self.u.ledger), before)

    def test_ledger_that_others_may_write(self):
        self.add_pool(BASE)
        os.chmod(self.u.ledger, 0o666)
        self.assertIn("chmod", self.run_daemon(status=7))

    def test_wrong_configuration(self):
        self.add_pool(BASE)
        with open(os.path.join(self.u.config, "uidpool.conf"), "w", encoding="ascii") as file:
            file.write("[residue]\nPlaecs=/srv\n")
        self.assertIn("Plaecs", self.run_daemon(status=1))

    def test_replaced_ledger(self):
        """What is written after that would be in nobody's ledger."""
        self.add_pool(BASE)
        self.d.start()
        self.run_ok("ledger", "backup", os.path.join(self.dir, "copy.db"))
        self.serves()
        os.rename(os.path.join(self.dir, "copy.db"), self.u.ledger)
        self.assertEqual(self.d.process.wait(timeout=support.LIMIT), 1)
        self.assertIn("not the file any more", self.d.said())

    def test_removed_lock(self):
        """Another daemon could begin beside it."""
        self.add_pool(BASE)
        self.d.start()
        self.serves()
        os.unlink(self.u.ledger + ".daemon")
        self.assertEqual(self.d.process.wait(timeout=support.LIMIT), 1)
        self.assertIn("ledger.db.daemon is not the file any more", self.d.said())
        self.d.start()
        self.serves()

    def test_lock_is_a_link(self):
        self.add_pool(BASE)
        os.symlink("/nonexistent", self.u.ledger + ".daemon")
        self.assertIn("ledger.db.daemon is a link", self.run_daemon(status=7))

    def test_restored_ledger(self):
        """A backup has no -wal yet; the daemon is the first that opens it."""
        self.add_pool(BASE)
        self.run_ok("ledger", "backup", os.path.join(self.dir, "copy.db"))
        for suffix in ("-wal", "-shm", ".lock"):
            os.unlink(self.u.ledger + suffix)
        os.rename(os.path.join(self.dir, "copy.db"), self.u.ledger)
        self.d.start()
        self.serves()

    def test_two_daemons(self):
        self.add_pool(BASE)
        self.d.start()
        other = Daemon(self.u, os.path.join(self.dir, "other"))
        os.mkdir(os.path.join(self.dir, "other"))
        run = subprocess.run(other.command(), stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=support.LIMIT, check=False)
        self.assertEqual(run.returncode, 4, run.stderr)
        self.assertIn(f"pid {self.d.process.pid}, at {self.d.socket}", run.stderr)
        self.assertFalse(os.path.exists(other.runtime))
        self.serves()
        # The lock goes with its owner, however that ends.
        self.d.kill()
        other.start()
        self.addCleanup(other.kill)
        self.serves(other.socket)


class Sockets(Case):
    def setUp(self):
        super().setUp()
        self.add_pool(BASE)

    def test_own_socket(self):
        self.d.start()
        folder, found = os.stat(self.d.runtime), os.lstat(self.d.socket)
        self.assertEqual((folder.st_mode, folder.st_uid), (0o40755, 0))
        self.assertEqual((found.st_mode, found.st_uid), (0o140666, 0))
        # No pool resolves: no socket for names.
        self.assertFalse(os.path.exists(self.d.userdb))
        self.assertEqual(sorted(self.serves()), ["io.uidpool", "org.varlink.service"])

    def test_stale_socket(self):
        self.d.start()
        before = os.lstat(self.d.socket).st_ino
        self.d.kill()
        self.assertTrue(os.path.exists(self.d.socket))
        self.d.start()
        self.assertNotEqual(os.lstat(self.d.socket).st_ino, before)
        self.serves()

    def test_somebody_elses_socket(self):
        with listening(self.d.socket) as server:
            self.assertIn(f"somebody listens on {self.d.socket}", self.run_daemon(status=4))
            # It still does, and was not asked over and over.
            server.settimeout(0)
            asked = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
                    asked += 1
            self.assertIn(asked, (1, 2, 3))
            server.settimeout(support.LIMIT)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.d.socket)
                peer = server.accept()[0]
                client.sendall(b"x")
                self.assertEqual(peer.recv(1), b"x")
                peer.close()

    def test_somebody_elses_socket_that_dies(self):
        """As that of a daemon that was killed while it started a helper."""
        server = listening(self.d.socket)
        process = subprocess.Popen(self.d.command(), stdin=subprocess.DEVNULL)
        self.d.process = process
        server.settimeout(support.LIMIT)
        peer = server.accept()[0]
        server.close()
        peer.close()
        support.poll(lambda: os.path.exists(self.d.socket) and self.answers(), "a daemon")

    def answers(self):
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            return self.serves()

    def test_no_socket_in_its_place(self):
        os.mkdir(self.d.runtime, 0o755)
        with open(self.d.socket, "w", encoding="ascii") as file:
            file.write("precious")
        self.assertIn("no socket", self.run_daemon(status=4))
        self.assertEqual(os.path.getsize(self.d.socket), 8)

    def test_unsafe_directory(self):
        os.mkdir(self.d.runtime)
        os.chmod(self.d.runtime, 0o777)
        self.assertIn("chmod go-w", self.run_daemon(status=1))

    def test_long_path(self):
        self.d.runtime = os.path.join(self.dir, "d" * 120)
        self.assertIn("at most 107 bytes", self.run_daemon(status=1))
        self.assertFalse(os.path.exists(self.d.runtime))

    def test_names(self):
        self.run_ok("pool", "add", "names", f"--base={BASE + 100}", "--size=10", "--resolve")
        uid = self.lease(3, "--pool=names")
        self.d.start()
        path = os.path.join(self.d.userdb, "io.uidpool")
        self.assertEqual(os.lstat(path).st_mode, 0o140666)
        self.assertIn("io.systemd.UserDatabase", self.serves(path))
        with Client(path) as client:
            answer = client.call("io.systemd.UserDatabase.GetUserRecord", uid=uid,
                                 service="io.uidpool")
        self.assertEqual(answer["record"]["userName"], "names-domid3")

    def test_names_cannot_be_served(self):
        """Leases do not wait for that."""
        self.run_ok("pool", "add", "names", f"--base={BASE + 100}", "--size=10", "--resolve")
        os.mkdir(self.d.userdb, 0o755)
        with listening(os.path.join(self.d.userdb, "io.uidpool")):
            self.d.start()
            self.serves()
            self.says("leased uids have no names until a reload")
        os.unlink(os.path.join(self.d.userdb, "io.uidpool"))
        self.d.process.send_signal(signal.SIGHUP)
        support.poll(lambda: os.path.exists(os.path.join(self.d.userdb, "io.uidpool")), "names")
        self.serves(os.path.join(self.d.userdb, "io.uidpool"))


class Passed(Case):
    """By a parent that speaks each protocol."""

    def setUp(self):
        super().setUp()
        self.server = listening(self.d.socket)
        self.addCleanup(self.server.close)

    def spawn(self, *options, fds=(), **variables):
        """With these descriptors as 3, 4, ..."""
        high = [os.dup(fd) for fd in fds]

        def in_child():
            for index, fd in enumerate(high):
                os.dup2(fd, 100 + index)
            for index in range(len(high)):
                os.dup2(100 + index, 3 + index)
                os.set_inheritable(3 + index, True)
                os.close(100 + index)
            for name, value in variables.items():
                os.environ[name] = value.replace("PID", str(os.getpid()))

        with open(self.d.log, "ab") as log:
            self.d.process = subprocess.Popen(self.d.command(*options), stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log, preexec_fn=in_child,
                                              close_fds=False)
        for fd in high:
            os.close(fd)
        return self.d.process

    def listen_fds(self, *sockets, names=None, **variables):
        if names:
            variables["LISTEN_FDNAMES"] = names
        return self.spawn(fds=[each.fileno() for each in sockets], LISTEN_PID="PID",
                          LISTEN_FDS=str(len(sockets)), **variables)

    def test_listen_fds(self):
        self.add_pool(BASE)
        inode = os.lstat(self.d.socket).st_ino
        with Client(self.d.socket) as early:
            early.send("org.varlink.service.GetInfo")
            self.listen_fds(self.server)
            self.assertEqual(early.answer()["parameters"]["product"], "uidpoold")
        # Killed: who connects meanwhile waits, and the next one answers.
        self.d.kill()
        with Client(self.d.socket) as client:
            client.send("org.varlink.service.GetInfo")
            self.listen_fds(self.server)
            self.assertEqual(client.answer()["parameters"]["product"], "uidpoold")
        self.assertEqual(self.d.stop(), 0)
        # It is nobody's to remove but of who made it.
        self.assertEqual(os.lstat(self.d.socket).st_ino, inode)

    def test_listen_fds_by_name(self):
        self.add_pool(BASE)
        other = os.path.join(self.dir, "elsewhere")
        names = os.path.join(self.dir, "names")
        with listening(other) as varlink, listening(names) as userdb:
            self.listen_fds(userdb, varlink, names="userdb:varlink")
            self.assertIn("io.uidpool", self.serves(other))
            # Served although no pool resolves: somebody may be waiting there.
            self.assertIn("io.systemd.UserDatabase", self.serves(names))
        self.assertEqual(self.d.stop(), 0)

    def test_a_socket_that_nobody_knows(self):
        self.add_pool(BASE)
        with listening(os.path.join(self.dir, "elsewhere")) as other:
            self.assertEqual(self.listen_fds(other).wait(timeout=support.LIMIT), 1)
        self.assertIn("neither", self.d.said())

    def test_what_is_no_socket(self):
        self.add_pool(BASE)
        with open(os.devnull, "rb") as file:
            self.assertEqual(self.listen_fds(file).wait(timeout=support.LIMIT), 1)
        self.assertIn("no listening", self.d.said())

    def test_upstart(self):
        """Its init: a socket in UPSTART_FDS, "expect stop", SIGCONT."""
        self.add_pool(BASE)
        with Client(self.d.socket) as early:
            early.send("org.varlink.service.GetInfo")
            process = self.spawn(fds=[self.server.fileno()], UPSTART_FDS="3",
                                 UPSTART_EVENTS="socket", UPSTART_JOB="uidpoold")
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            self.assertTrue(os.WIFSTOPPED(status), status)
            self.assertEqual(os.WSTOPSIG(status), signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
            self.assertEqual(early.answer()["parameters"]["product"], "uidpoold")
        self.assertEqual(self.d.stop(), 0)

    def test_upstart_without_socket(self):
        self.add_pool(BASE)
        self.server.close()
        process = self.spawn("--ready=sigstop", UPSTART_EVENTS="runlevel", UPSTART_JOB="uidpoold")
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status), status)
        # It is ready: its socket is there, and who connects is answered once it goes on.
        with Client(self.d.socket) as client:
            client.send("org.varlink.service.GetInfo")
            process.send_signal(signal.SIGCONT)
            self.assertEqual(client.answer()["parameters"]["product"], "uidpoold")

    def test_no_ledger(self):
        """Who has connected is told, and it does not end at once, only to be started again."""
        names = os.path.join(self.d.userdb, "io.uidpool")
        with listening(names) as userdb:
            with Client(self.d.socket) as client, Client(names) as asker:
                client.send("Release", domid=5)
                asker.send("io.systemd.UserDatabase.GetUserRecord", uid=5, service="io.uidpool")
                began = time.monotonic()
                process = self.listen_fds(self.server, userdb)
                with self.assertRaises(Refused) as caught:
                    client.answer()
                # Not NotFound: that would be no such lease.
                self.assertEqual(caught.exception.error, "io.uidpool.LedgerUnusable")
                self.assertIn("uidpool pool add", caught.exception.parameters["message"])
                with self.assertRaises(Refused) as caught:
                    asker.answer()
                self.assertEqual(caught.exception.error,
                                 "io.systemd.UserDatabase.ServiceNotAvailable")
            self.assertEqual(process.wait(timeout=support.LIMIT), 3)
            self.assertGreater(time.monotonic() - began, 5)
        self.assertIn("there is no ledger", self.d.said())

    def test_no_ledger_and_asked_to_end(self):
        with Client(self.d.socket) as client:
            client.send("Describe", uid=5)
            process = self.listen_fds(self.server)
            with self.assertRaises(Refused):
                client.answer()
        process.terminate()
        self.assertEqual(process.wait(timeout=support.LIMIT), 3)


class Readiness(Case):
    def setUp(self):
        super().setUp()
        self.add_pool(BASE)
        self.inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.inbox.close)
        self.inbox.bind(os.path.join(self.dir, "notify"))
        self.inbox.settimeout(support.LIMIT)
        self.heard = []

    def begin(self, *options, **variables):
        """As Type=notify does."""
        env = {**os.environ, "NOTIFY_SOCKET": os.path.join(self.dir, "notify")}
        with open(self.d.log, "ab") as log:
            self.d.process = subprocess.Popen(
                ["sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *self.d.command(*options)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**env, **variables})

    def hear(self, pattern):
        """What was said up to a message like that, which is the last."""
        since = len(self.heard)
        while not self.heard[since:] or not re.fullmatch(pattern, self.heard[-1]):
            self.heard.append(self.inbox.recv(4096).decode())
        return self.heard[since:]

    def test_notify(self):
        self.begin()
        self.assertEqual(self.hear("READY=1"), ["READY=1"])
        self.serves()
        self.hear("STATUS=0 uids leased.*")
        self.lease(5)
        self.hear("STATUS=1 uids? leased.*")
        self.d.process.send_signal(signal.SIGHUP)
        said = self.hear("READY=1")
        self.assertRegex(said[-2] if "STATUS" not in said[-2] else said[-3],
                         r"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z")
        self.d.process.terminate()
        self.hear("STOPPING=1")
        self.assertEqual(self.d.process.wait(timeout=support.LIMIT), 0)

    def test_ready_is_served(self):
        """Not a moment before."""
        self.begin("--ready=notify")
        self.hear("READY=1")
        self.serves()

    def test_not_ready_when_it_fails(self):
        with listening(self.d.socket):
            self.begin()
            self.assertEqual(self.d.process.wait(timeout=support.LIMIT), 4)
        # What start-stop-daemon waits for then.
        self.assertRegex(self.inbox.recv(4096).decode(), rf"\ASTATUS=.*\nERRNO={errno.EADDRINUSE}\Z")
        self.assertFalse(select.select([self.inbox], [], [], 0)[0])

    def test_status_is_told_once_a_second_at_most(self):
        self.begin()
        self.hear("STATUS=0 uids leased.*")
        began = time.monotonic()
        for domid in range(30):
            self.lease(domid)
        said = self.hear("STATUS=30 uids leased.*")
        self.assertLessEqual(len(said), time.monotonic() - began + 2)

    def test_watchdog(self):
        self.begin(WATCHDOG_USEC="300000")
        self.hear("READY=1")
        for _ in range(3):
            self.hear("WATCHDOG=1")

    def test_asked_for_and_cannot_be(self):
        self.assertIn("NOTIFY_SOCKET", self.run_daemon("--ready=notify", status=1))
        self.assertIn("descriptor 77", self.run_daemon("--ready=fd:77", status=1))
        self.assertFalse(os.path.exists(self.d.socket))

    def test_newline(self):
        """And nothing else, and then the end."""
        ready, write = os.pipe()
        self.d.process = subprocess.Popen(self.d.command(f"--ready=fd:{write}"), pass_fds=[write],
                                          stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(ready, "rb") as file:
            self.assertEqual(file.read(), b"\n")
        self.serves()


class Signals(Case):
    def setUp(self):
        super().setUp()
        self.add_pool(BASE)

    def test_ends(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                self.d.start()
                self.serves()
                began = time.monotonic()
                self.d.process.send_signal(number)
                self.assertEqual(self.d.process.wait(timeout=support.LIMIT), 0)
                self.assertLess(time.monotonic() - began, 5)

    def test_ends_with_connections_open(self):
        """Who asks nothing, who has asked half of something, and who never reads."""
        self.d.start()
        with contextlib.ExitStack() as stack:
            for begin in (b"", b'{"method": "org.', b'{"method":"org.varlink.service.GetInfo"}\0' * 500):
                client = stack.enter_context(Client(self.d.socket))
                client.socket.sendall(begin)
            self.serves()
            began = time.monotonic()
            self.assertEqual(self.d.stop(), 0)
            self.assertLess(time.monotonic() - began, 20)

    def test_ends_with_streams(self):
        """Who listens for events is told that there are no more, and the end waits for nobody."""
        self.d.start()
        with self.d.client() as client:
            events = client.stream("Subscribe")
            self.assertEqual(next(events)["event"]["what"], "subscribed")
            began = time.monotonic()
            self.assertEqual(self.d.stop(), 0)
            self.assertLess(time.monotonic() - began, 5)
            self.assertEqual([each["event"]["what"] for each in events], ["ended"])

    def test_ends_with_a_release(self):
        """What is under way is done and answered first."""
        self.d.start()
        with self.d.client() as client:
            for domid in range(10):
                lease = client.call("Lease", domid=domid)["lease"]
                process = subprocess.Popen(["sleep", "1000"], user=lease["uid"],
                                           group=lease["gid"], extra_groups=[])
                self.addCleanup(process.wait)
                self.addCleanup(process.kill)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(self.d.client()) for _ in range(10)]
            for domid, client in enumerate(clients):
                client.send("Release", domid=domid)
            # They have been read when this is answered: it came later.
            self.serves()
            self.d.process.terminate()
            for client in clients:
                self.assertEqual(client.answer()["parameters"]["released"][0]["state"],
                                 "quarantined")
        self.assertEqual(self.d.process.wait(timeout=support.LIMIT), 0)

    def test_leaves_no_socket(self):
        self.run_ok("pool", "add", "names", f"--base={BASE + 100}", "--size=10", "--resolve")
        self.d.start()
        self.assertEqual(self.d.stop(), 0)
        self.assertFalse(os.path.exists(self.d.socket))
        self.assertFalse(os.path.exists(os.path.join(self.d.userdb, "io.uidpool")))

    def test_a_pool_that_is_new(self):
        """No reload is needed."""
        self.d.start()
        self.run_ok("pool", "add", "names", f"--base={BASE + 100}", "--size=10", "--resolve")
        support.poll(lambda: os.path.exists(os.path.join(self.d.userdb, "io.uidpool")), "names")

    def test_a_group_that_is_new(self):
        """From the reload on, for who connects then."""
        group = os.path.join(self.dir, "group")
        with open("/etc/group", encoding="utf-8") as file, open(group, "w", encoding="utf-8") as copy:
            lines = [line for line in file if not line.startswith("uidpool:")]
            copy.write("".join(lines))
        os.chmod(group, 0o644)
        subprocess.run(["mount", "--bind", group, "/etc/group"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/etc/group"], check=True)
        os.chmod(self.dir, 0o711)
        self.d.start()

        def answer():
            """Without another program, which the stranger may not be able to read."""
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(OSError):
                    os.setgroups([STRANGER + 1])
                    os.setresgid(STRANGER, STRANGER, STRANGER)
                    os.setresuid(STRANGER, STRANGER, STRANGER)
                    with self.d.client() as client:
                        client.send("Lease", domid=9)
                        os.write(write, json.dumps(client.receive()).encode())
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as file:
                text = file.read()
            os.waitpid(pid, 0)
            message = json.loads(text)
            return message.get("error") or str(message["parameters"]["lease"]["uid"])
        self.assertEqual(answer(), "io.uidpool.NotPermitted")
        with open(group, "a", encoding="utf-8") as file:
            file.write(f"uidpool:x:{STRANGER + 1}:\n")
        self.d.process.send_signal(signal.SIGHUP)
        self.says("read the configuration, the pools and the group again")
        self.assertEqual(answer(), str(BASE))

    def test_asked_twice(self):
        self.d.start()
        self.d.process.terminate()
        self.d.process.terminate()
        self.assertEqual(self.d.process.wait(timeout=support.LIMIT), 0)

    def test_reload(self):
        """A pool that resolves is new, and the configuration is wrong, then right."""
        self.d.start()
        conf = os.path.join(self.u.config, "uidpool.conf")
        self.run_ok("pool", "add", "names", f"--base={BASE + 100}", "--size=10", "--resolve")
        with open(conf, "w", encoding="ascii") as file:
            file.write("[residue]\nPlaces=srv\n")
        self.d.process.send_signal(signal.SIGHUP)
        self.says(r"no absolute path; going on with what was read before")
        support.poll(lambda: os.path.exists(os.path.join(self.d.userdb, "io.uidpool")), "names")
        self.serves()
        with open(conf, "w", encoding="ascii") as file:
            file.write("[residue]\nPlaces=/srv /opt\n")
        for _ in range(20):
            self.d.process.send_signal(signal.SIGHUP)
        support.poll(lambda: self.d.said().count("read the configuration") >= 1, "another reload")
        self.serves()
        self.assertEqual(self.d.stop(), 0)

    def test_killed_and_started_again(self):
        for _ in range(10):
            self.d.start()
            self.serves()
            self.d.kill()
        self.d.start()
        self.serves()

    def test_nothing_is_left_open(self):
        """Connections come and go, reloads too; the descriptors stay as many."""
        self.d.start()
        self.serves()
        before = self.d.descriptors()
        for _ in range(50):
            self.serves()
            self.d.process.send_signal(signal.SIGHUP)
        support.poll(lambda: self.d.descriptors() <= before, "descriptors")

    def test_limits(self):
        self.d.start(preexec_fn=lambda: None)
        with open(f"/proc/{self.d.process.pid}/limits", encoding="ascii") as file:
            soft, hard = re.search(r"Max open files\s+(\d+)\s+(\d+)", file.read()).groups()
        self.assertGreaterEqual(int(soft), min(int(hard), 65536))


if __name__ == "__main__":
    support.main()
