#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scripts of the inits that are not systemd, by the real ones, in a Debian of their own: sysvinit's
with start-stop-daemon, s6, runit, OpenRC; and upstart's job by a parent that speaks its protocol."""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import support
from daemon import PROGRAM, Client, Refused, is_sanitized

BASE = 2115117056
DATA = os.path.join(support.TOP, "data")
HELPERS = os.path.join(support.BUILD, "allocator", "helpers")
PACKAGES = ["execline", "libcap-ng0", "libeconf0", "libjansson4", "libsqlite3-0", "libsystemd0",
            "openrc", "runit", "s6"]
SOCKET = "run/uidpool/io.uidpool"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

debian = None


def setUpModule():
    global debian
    if is_sanitized():
        raise unittest.SkipTest("the sanitizers' runtime is not in that Debian")
    debian = tempfile.mkdtemp(prefix="uidpool-test-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", debian], check=True)
    run = subprocess.run([os.path.join(support.TOP, "tests", "debian-tree"), "bookworm", debian,
                          *PACKAGES], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         check=False)
    if run.returncode == 77:
        tearDownModule()
        raise unittest.SkipTest(run.stdout.strip().rpartition("SKIP: ")[2])
    if run.returncode:
        raise AssertionError(run.stdout + run.stderr)
    for program in (PROGRAM, support.UIDPOOL):
        shutil.copy(program, os.path.join(debian, "usr", "sbin"))
    run = subprocess.run(["chroot", debian, "uidpoold", "--version"], capture_output=True,
                         text=True, check=False)
    if "GLIBC_" in run.stderr:
        tearDownModule()
        raise unittest.SkipTest(f"built for a newer Debian: {run.stderr.strip()}")


def tearDownModule():
    subprocess.run(["umount", "-l", debian], check=True)
    os.rmdir(debian)


class Case(support.LedgerCase):
    tmpfs = "size=256m"

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o755)
        self.root = os.path.join(self.dir, "r")
        upper, work = self.root + "-upper", self.root + "-work"
        for folder in (self.root, upper, work):
            os.mkdir(folder, 0o755)
        self.mount("-t", "overlay", "-o",
                   f"lowerdir={debian},upperdir={upper},workdir={work}", "overlay", self.root)
        self.mount("-t", "proc", "proc", self.path("proc"))
        self.mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", self.path("run"))
        # Where this build looks for them.
        os.makedirs(self.path(HELPERS), exist_ok=True)
        self.mount("--bind", HELPERS, self.path(HELPERS))
        os.makedirs(self.path("etc/sysconfig"), exist_ok=True)
        self.install("default/uidpool", "etc/default/uidpool")
        self.lines = []
        syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(syslog.close)
        syslog.bind(self.path("dev/log"))
        # Always read: others than we do wait for a logger that does not.
        threading.Thread(target=self.listen, args=[syslog], daemon=True).start()
        self.addCleanup(self.end_daemon)

    def listen(self, syslog):
        with contextlib.suppress(OSError):
            while True:
                self.lines.append(syslog.recv(4096).decode())

    def mount(self, *args):
        subprocess.run(["mount", *args], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", args[-1]], check=False)

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def install(self, source, target):
        """As meson does."""
        source = os.path.join(DATA, source)
        if not os.path.exists(source):
            source += ".in"
        with open(source, encoding="utf-8") as file:
            text = file.read().replace("@sbindir@", "/usr/sbin")
        os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
        with open(self.path(target), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(target), os.stat(source).st_mode & 0o777)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def chroot(self, *args, status=0, **options):
        run = subprocess.run(["chroot", self.root, *args], stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                             timeout=2 * support.LIMIT,
                             env=ENVIRONMENT, **options)
        if status is not None:
            self.assertEqual(run.returncode, status, f"{args}: {run.stdout}")
        return run.stdout

    def make_pool(self):
        self.chroot("uidpool", "pool", "add", "p", f"--base={BASE}", "--size=40", "--policy=next")

    def pids(self):
        """Of the daemons in the tree; not of those that wait for their helpers."""
        parents = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe").endswith("/usr/sbin/uidpoold"):
                    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                        parents[int(pid)] = int(re.search(r"PPid:\s*(\d+)", file.read())[1])
        return [pid for pid, parent in parents.items() if parent not in parents]

    def end_daemon(self):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        support.poll(lambda: not self.pids(), "the daemon's end")

    def client(self):
        return Client(self.path(SOCKET))

    def serves(self):
        """At once, without a second try: the init said that it runs. Its only pid."""
        with self.client() as client:
            client.call("org.varlink.service.GetInfo")
        return self.alone()[0]

    def alone(self, n=1):
        """Whoever waited for a helper of the last one is gone in a moment."""
        support.poll(lambda: len(self.pids()) == n, f"{n} daemons")
        return self.pids()

    def serves_soon(self, but=None):
        """Another one than `but`."""
        def new():
            with contextlib.suppress(OSError):
                with self.client() as client:
                    client.call("org.varlink.service.GetInfo")
                pids = self.pids()
                return pids if len(pids) == 1 and pids[0] != but else None
            return None
        return support.poll(new, "a daemon that serves")[0]

    def logs(self, pattern):
        support.poll(lambda: any(re.search(pattern, line) for line in self.lines),
                     f"{pattern!r} in syslog")

    def level(self):
        with open(f"/proc/{self.serves()}/environ", "rb") as file:
            found = re.search(rb"(?:\A|\0)UIDPOOLD_LOG=([^\0]*)", file.read())
        return found[1].decode() if found else None

    def check_levels(self, restart):
        """What the two files say, and that nothing in them is run."""
        restart()
        self.assertIn(self.level(), ("", None))
        self.write("etc/default/uidpool", "#UIDPOOLD_LOG=err\nUIDPOOLD_LOG=debug\n"
                                          "PATH=/evil\nDAEMON=/bin/false\ndaemon=/bin/false\n"
                                          "command=/bin/false\ntouch /run/was-run\n"
                                          "x=$(touch /run/was-run)\n")
        restart()
        self.assertEqual(self.level(), "debug")
        self.write("etc/sysconfig/uidpool", 'UIDPOOLD_LOG="notice"\n')
        restart()
        self.assertEqual(self.level(), "notice")
        self.write("etc/sysconfig/uidpool", "UIDPOOLD_LOG=$(touch /run/was-run)\n")
        restart()
        self.assertEqual(self.level(), "debug")
        self.assertFalse(os.path.exists(self.path("run/was-run")))

    def damage(self):
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path("var/lib/uidpool/ledger.db" + suffix))
        with open(self.path("var/lib/uidpool/ledger.db"), "r+b") as file:
            file.write(b"not a database at all")


class SysV(Case):
    def setUp(self):
        super().setUp()
        self.install("sysv/uidpoold", "etc/init.d/uidpoold")

    def script(self, verb, status=0):
        return self.chroot("/etc/init.d/uidpoold", verb, status=status)

    def test_life(self):
        self.make_pool()
        self.script("status", status=3)
        self.assertEqual(self.script("start"), "Starting uidpoold ... done.\n")
        pid = self.serves()
        self.assertIn("is running", self.script("status"))
        self.script("start")
        self.assertEqual(self.serves(), pid)
        self.script("reload")
        self.logs(r"<30>.* uidpoold\[\d+\]: read the configuration")
        self.script("restart")
        second = self.serves()
        self.assertNotEqual(second, pid)
        with self.client() as client:
            self.assertEqual(client.call("Lease", domid=5)["lease"]["uid"], BASE)
        self.script("stop")
        self.alone(0)
        self.assertFalse(os.path.exists(self.path("run/uidpoold.pid")))
        self.script("status", status=3)
        self.script("stop")

    def test_killed(self):
        self.make_pool()
        self.script("start")
        self.end_daemon()
        self.assertIn("is dead", self.script("status", status=1))
        self.script("start")
        self.serves()
        self.script("force-reload")
        self.serves()
        self.script("try-restart")
        self.serves()
        self.script("stop")
        self.script("try-restart")
        self.alone(0)

    def test_it_cannot_start(self):
        """And says so where the administrator looks."""
        said = self.script("start", status=2)
        self.assertIn("No such file", said)
        self.assertIn("failed", said)
        self.logs(r"<27>.* uidpoold\[\d+\]: there is no ledger")
        self.script("status", status=None)
        self.alone(0)
        self.make_pool()
        self.script("start")
        self.serves()

    def test_usage(self):
        self.assertIn("Usage", self.chroot("/etc/init.d/uidpoold", status=2))
        self.script("bogus", status=2)

    def test_levels(self):
        self.make_pool()
        self.check_levels(lambda: self.script("restart"))

    def test_header(self):
        """Whoever orders the scripts understands it."""
        self.chroot("insserv", "-n", "-p", "/etc/init.d", "uidpoold")
        with open(self.path("etc/init.d/uidpoold"), encoding="ascii") as file:
            self.assertEqual(file.read().count("### "), 2)


class S6(Case):
    def setUp(self):
        super().setUp()
        for name in ("run", "finish", "notification-fd", "type"):
            self.install(f"s6/uidpoold/{name}", f"srv/uidpoold/{name}")
        self.supervisor = None
        self.addCleanup(self.end_supervisor)

    def begin(self):
        with open(self.path("run/words"), "ab") as log:
            self.supervisor = subprocess.Popen(["chroot", self.root, "s6-supervise",
                                                "/srv/uidpoold"], stdin=subprocess.DEVNULL,
                                               stdout=log, stderr=log)

    def end_supervisor(self):
        if self.supervisor:
            self.supervisor.kill()
            self.supervisor.wait()

    def up_and_ready(self):
        support.poll(lambda: os.path.exists(self.path("srv/uidpoold/event")), "s6-supervise")
        self.chroot("s6-svwait", "-U", "-t", str(support.LIMIT * 1000), "/srv/uidpoold")

    def control(self, *options):
        self.chroot("s6-svc", *options, "-T", str(support.LIMIT * 1000), "/srv/uidpoold")

    def field(self, names):
        return self.chroot("s6-svstat", "-o", names, "/srv/uidpoold", status=None).strip()

    def words(self):
        with open(self.path("run/words"), encoding="utf-8") as file:
            return file.read()

    def test_life(self):
        self.make_pool()
        self.begin()
        self.up_and_ready()
        pid = self.serves()
        self.assertEqual(self.field("up,ready"), "true true")
        self.end_daemon()
        self.serves_soon(but=pid)
        self.up_and_ready()
        self.control("-h")
        support.poll(lambda: "read the configuration" in self.words(), "the reload")
        self.control("-wR", "-r")
        self.serves()
        self.control("-wD", "-d")
        self.alone(0)
        self.assertIn("uidpoold: ending", self.words())

    def test_no_ledger(self):
        """It waits for one."""
        self.begin()
        support.poll(lambda: "there is no ledger" in self.words(), "words")
        self.make_pool()
        self.serves_soon()
        self.up_and_ready()

    def test_damaged_ledger(self):
        """Nothing is tried again that would fail again."""
        self.make_pool()
        self.damage()
        self.begin()
        support.poll(lambda: self.field("wantedup") == "false", "giving up")
        self.assertEqual(self.field("up,exitcode"), "false 7")
        self.assertEqual(self.words().count("ledger.db"), 1)

    def test_levels(self):
        self.make_pool()
        self.begin()
        self.up_and_ready()
        self.check_levels(lambda: self.control("-wR", "-r"))


class Runit(Case):
    def setUp(self):
        super().setUp()
        for name in ("run", "finish", "check"):
            self.install(f"runit/uidpoold/{name}", f"etc/sv/uidpoold/{name}")
        self.supervisor = None
        self.addCleanup(self.end_supervisor)

    def begin(self):
        with open(self.path("run/words"), "ab") as log:
            self.supervisor = subprocess.Popen(["chroot", self.root, "runsv", "/etc/sv/uidpoold"],
                                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        support.poll(lambda: os.path.exists(self.path("etc/sv/uidpoold/supervise/ok")), "runsv")

    def end_supervisor(self):
        if self.supervisor:
            self.supervisor.kill()
            self.supervisor.wait()

    def sv(self, *args, status=0):
        return self.chroot("sv", f"-w{support.LIMIT}", *args, "/etc/sv/uidpoold", status=status)

    def restart(self):
        """To sv, which counts seconds, one that began in this second is the new one already."""
        support.poll(lambda: re.search(r"\) ([2-9]|\d\d+)s", self.sv("status")), "two seconds")
        self.sv("restart")

    def words(self):
        with open(self.path("run/words"), encoding="utf-8") as file:
            return file.read()

    def test_life(self):
        self.make_pool()
        self.begin()
        self.sv("start")
        pid = self.serves()
        self.sv("check")
        self.end_daemon()
        self.serves_soon(but=pid)
        self.sv("check")
        self.sv("hup")
        support.poll(lambda: "read the configuration" in self.words(), "the reload")
        self.restart()
        self.serves()
        self.sv("stop")
        self.alone(0)
        self.assertIn("uidpoold: ending", self.words())

    def test_check_waits(self):
        """For what serves, not for what runs."""
        self.make_pool()
        self.begin()
        self.sv("start")
        pid = self.serves()
        os.kill(pid, signal.SIGSTOP)
        ready = self.path(f"etc/sv/uidpoold/supervise/ready.{pid}")
        self.assertEqual(os.path.getsize(ready), 1)
        # As it is before it serves.
        os.truncate(ready, 0)
        self.sv("-w1", "check", status=1)
        os.kill(pid, signal.SIGCONT)
        self.sv("stop")
        self.assertFalse(os.path.exists(ready))

    def test_no_ledger(self):
        self.begin()
        support.poll(lambda: "there is no ledger" in self.words(), "words")
        self.make_pool()
        self.serves_soon()
        self.sv("check")

    def test_damaged_ledger(self):
        self.make_pool()
        self.damage()
        self.begin()
        support.poll(lambda: "down: " in self.sv("status", status=None), "giving up")
        self.assertEqual(self.words().count("ledger.db"), 1)

    def test_levels(self):
        self.make_pool()
        self.begin()
        self.sv("start")
        self.check_levels(self.restart)


class OpenRC(Case):
    def setUp(self):
        super().setUp()
        self.install("openrc/uidpoold", "etc/init.d/uidpoold")
        # As its own boot leaves it.
        for name in ("daemons", "exclusive", "failed", "hotplugged", "inactive", "options",
                     "scheduled", "started", "starting", "stopping", "tmp", "wasinactive"):
            os.makedirs(self.path(f"run/openrc/{name}"))
        self.write("run/openrc/softlevel", "default\n")

    def script(self, verb):
        """As PID 1 does, we reap meanwhile: supervise-daemon takes a zombie for alive."""
        with tempfile.TemporaryFile("w+") as words:
            process = subprocess.Popen(["chroot", self.root, "rc-service", "--nodeps", "uidpoold",
                                        verb], stdin=subprocess.DEVNULL, stdout=words,
                                       stderr=words, env=ENVIRONMENT)

            def ended():
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found and found.si_pid != process.pid:
                    os.waitpid(found.si_pid, 0)
                return process.poll() is not None
            support.poll(ended, f"rc-service {verb}")
            words.seek(0)
            self.assertEqual(process.returncode, 0, words.read())
            words.seek(0)
            return words.read()

    def test_life(self):
        self.make_pool()
        self.script("start")
        pid = self.serves_soon()
        self.assertIn("started", self.script("status"))
        self.script("reload")
        self.logs("read the configuration")
        self.end_daemon()
        self.serves_soon(but=pid)
        self.script("stop")
        self.alone(0)

    def test_levels(self):
        self.make_pool()
        self.script("start")

        def restart():
            # Not "restart": after that this version says "stopped" of whatever runs (0.45.2).
            self.script("stop")
            self.script("start")
            self.serves_soon()
        self.check_levels(restart)

    def test_one_that_knows_readiness(self):
        """Version 0.62 and later, as far as the script goes: it is told of the descriptor."""
        os.mkdir(self.path("run/bin"))
        self.write("run/bin/supervise-daemon", "#!/bin/sh\necho '  -X, --notify <arg>'\n")
        os.chmod(self.path("run/bin/supervise-daemon"), 0o755)
        run = self.chroot("sh", "-c", """
            PATH=/run/bin:$PATH
            . /etc/init.d/uidpoold
            start_pre
            echo "$notify $command $command_args"
        """)
        self.assertEqual(run.splitlines()[-1], "fd:3 /usr/sbin/uidpoold --ready=fd:3")


class Upstart(Case):
    def test_job(self):
        self.make_pool()
        self.install("upstart/uidpoold.conf", "etc/init/uidpoold.conf")
        with open(self.path("etc/init/uidpoold.conf"), encoding="ascii") as file:
            text = file.read()
        self.assertIn("\nexpect stop\n", text)
        script = re.search(r"^script\n(.*)^end script$", text, re.M | re.S)[1]
        process = subprocess.Popen(["chroot", self.root, "/bin/sh", "-e", "-c", script],
                                   stdin=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL,
                                   env={**ENVIRONMENT, "UPSTART_JOB": "uidpoold",
                                        "UPSTART_INSTANCE": "", "UPSTART_EVENTS": "runlevel"})
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status), status)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(self.serves(), process.pid)
        with self.client() as client, self.assertRaises(Refused):
            client.call("Release", domid=7)
        process.terminate()
        self.assertEqual(process.wait(timeout=support.LIMIT), 0)


if __name__ == "__main__":
    support.main()
