#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run by test-systemd.py within a booted Debian: uidpoold as a service of systemd's.

The host part has put everything where a package would, made the pools `named` (Resolve=yes) and
`plain`, and enabled the units: as their preset says (machine "preset"), or the userdb socket too
(machine "userdb")."""
import grp
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

from daemon import Client, Refused
from support import LIMIT, poll

SERVICE = "uidpoold.service"
SOCKET = "/run/uidpool/io.uidpool"
USERDB = "/run/systemd/userdb/io.uidpool"
STATE = "/var/lib/uidpool"
XENSTORE = "/payload/xen/socket"
DROPIN = f"/run/systemd/system/{SERVICE}.d"
BASE, SIZE = 2113929216, 64  # of named; plain follows
EXPOSURE = 3.0
# nss-systemd gives up on a provider that does not answer after 45 s.
STALL = 20
# data/uidpool.catalog
LEASED, RELEASED, HELD = ("f0d0af3fc248444f91dda35b35e01f3d", "589f1e3651a04aa0983c1e7da4b07475",
                          "be9d4ab59a484290addc0a3dc500a013")
MACHINE = sys.argv[1]
SOCKETS = ["uidpoold.socket"] + ["uidpool-userdb.socket"] * (MACHINE == "userdb")
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534"]

# Becomes the uid, leaves something of each kind behind, and a family of processes that fork, have
# sessions of their own, and ignore what can be ignored.
TENANT = r"""
import ctypes, os, signal, sys
uid, mess = int(sys.argv[1]), sys.argv[2] == "mess"
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
libc = ctypes.CDLL(None, use_errno=True)
if mess:
    for path in ("/tmp", "/var/tmp", "/dev/shm"):
        os.mkdir(f"{path}/left-{uid}", 0o700)
        open(f"{path}/left-{uid}/file", "w").close()
assert libc.shmget(0, 4096, 0o1600) >= 0
assert libc.msgget(0, 0o1600) >= 0
assert libc.semget(0, 1, 0o1600) >= 0
assert libc.mq_open(b"/tenant-%d" % uid, os.O_RDWR | os.O_CREAT, 0o600, None) >= 0
for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(sig, signal.SIG_IGN)
for i in range(10):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pause()
        while True:
            if os.fork() == 0:
                os._exit(0)
            os.wait()
print("ready", flush=True)
signal.pause()
"""


def run(*args, check=True, **options):
    done = subprocess.run(list(map(str, args)), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=2 * LIMIT, **options)
    if check and done.returncode:
        raise AssertionError(f"{args}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done


def systemctl(*args, **options):
    return run("systemctl", *args, **options)


def show(name, unit=SERVICE):
    """A property of the unit, or with None systemd's own."""
    return systemctl("show", "-P", name, *([unit] if unit else [])).stdout.strip()


def is_active(unit):
    return systemctl("is-active", unit, check=False).stdout.strip()


def wait_for_another(pid):
    """Until systemd has replaced the process, and says that it serves. Its pid."""
    poll(lambda: show("MainPID") not in ("0", pid) and is_active(SERVICE) == "active",
         f"a process after {pid}")
    return show("MainPID")


def call(method, **parameters):
    with Client(SOCKET) as client:
        return client.call(method, **parameters)


def lease(pool, domid, **more):
    return call("Lease", pool=pool, domid=domid, **more)["lease"]


def release(pool, domid):
    return call("Release", pool=pool, domid=domid)["released"][0]


def tasks_of(uid):
    """Those that are not dead."""
    tasks = run("ps", "-o", "stat,pid,args", "-U", uid, check=False).stdout.splitlines()[1:]
    return [task for task in tasks if task[0] != "Z"]


def journal(*matches):
    run("journalctl", "--sync")
    lines = run("journalctl", "-b", "-o", "json", *matches).stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def getent(*args):
    """What it prints, or None. It must not take long, whoever is asked."""
    began = time.monotonic()
    done = run("getent", *args, check=False)
    if time.monotonic() - began > STALL:
        raise AssertionError(f"getent {args} took {time.monotonic() - began:.0f} s")
    return done.stdout.strip() if done.returncode == 0 else None


class Case(unittest.TestCase):

    def setUp(self):
        systemctl("reset-failed")
        # Sockets cannot be started beneath a service that runs.
        if any(is_active(socket) != "active" for socket in SOCKETS):
            systemctl("stop", SERVICE)
            systemctl("start", *SOCKETS)
        systemctl("start", SERVICE)

    def stop(self):
        """So that no look-up of a user starts it again, as some do at any time."""
        systemctl("stop", "uidpoold.socket", "uidpool-userdb.socket", SERVICE)
        self.assertEqual(is_active(SERVICE), "inactive")
        self.assertEqual(show("Result"), "success")

    def tell(self, what):
        """For the record of the test's log."""
        print(f"    {what}", flush=True)

    def configure(self, text):
        """Until the test ends."""
        os.makedirs(DROPIN, exist_ok=True)
        path = os.path.join(DROPIN, "test.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

        def undo():
            os.unlink(path)
            systemctl("daemon-reload")
            systemctl("restart", SERVICE)
        self.addCleanup(undo)
        systemctl("daemon-reload")
        systemctl("restart", SERVICE)

    def tenant(self, uid, mess="clean"):
        process = subprocess.Popen([sys.executable, "-c", TENANT, str(uid), mess],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, LIMIT)
        # Where the daemon did not.
        self.addCleanup(run, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                        "sh", "-c", "kill -9 -1", check=False)
        self.assertEqual(process.stdout.readline(), "ready\n")
        poll(lambda: len(tasks_of(uid)) > 20, "the tenant's family")
        return process


class Boot(Case):

    def test_nothing_failed(self):
        poll(lambda: show("FinishTimestampMonotonic", None) != "0", "the end of the boot")
        with open("/run/boot-msec", "w", encoding="ascii") as file:
            file.write(str((int(show("FinishTimestampMonotonic", None))
                            - int(show("UserspaceTimestampMonotonic", None))) // 1000))
        self.assertEqual(systemctl("is-system-running", check=False).stdout.strip(), "running",
                         systemctl("--failed").stdout)
        self.assertEqual(is_active(SERVICE), "active")
        # Those who looked users up meanwhile, one before most of all else, have not waited.
        for unit in ("look-up-early.service", "look-up.service"):
            self.assertEqual(show("Result", unit), "success")
            took = int(show("InactiveEnterTimestampMonotonic", unit)) - \
                int(show("InactiveExitTimestampMonotonic", unit))
            self.assertLess(took, STALL * 1e6, unit)

    def test_exposure(self):
        for how in ("--offline=true", "--offline=false"):
            done = run("systemd-analyze", "security", "--no-pager", how, SERVICE)
            exposure = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)[1]
            self.tell(f"systemd-analyze security {how}: {exposure}")
            self.assertLessEqual(float(exposure), EXPOSURE, done.stdout)

    def test_units_are_sound(self):
        done = run("systemd-analyze", "verify", "--man=no", SERVICE, "uidpoold.socket", "uidpool-userdb.socket",
                   check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("uidpool", done.stderr)

    def test_ends_of_the_sandbox(self):
        """What a hijacked daemon could not do; whoever else started it would not see that."""
        pid = show("MainPID")
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            status = file.read()
        self.assertRegex(status, r"(?m)^NoNewPrivs:\t1$")
        self.assertRegex(status, r"(?m)^Seccomp:\t2$")
        self.assertRegex(status, r"(?m)^CapEff:\t0000000000a800ec$")
        inside = ["nsenter", f"--target={pid}", "--mount", "--"]
        for path in ("/etc", "/usr/sbin", "/run", "/run/systemd", "/tmp", "/var/lib"):
            done = run(*inside, "touch", f"{path}/uidpool-test", check=False)
            self.assertIn("Read-only", done.stderr, path)
        for path in ("/var/lib/uidpool", "/run/uidpool"):
            run(*inside, "touch", f"{path}/uidpool-test")
            os.unlink(f"{path}/uidpool-test")
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            limits = file.read()
        self.assertRegex(limits, r"Max core file size +0 ")
        self.assertEqual(show("TasksMax"), "infinity")
        self.assertEqual(show("WatchdogUSec"), "30s")


class Life(Case):

    def test_a_call_starts_it(self):
        self.stop()
        systemctl("start", "uidpoold.socket")
        self.assertEqual(is_active(SERVICE), "inactive")
        info = call("org.varlink.service.GetInfo")
        self.assertIn("io.uidpool", info["interfaces"])
        self.assertEqual(is_active(SERVICE), "active")
        self.assertEqual(oct(os.stat(SOCKET).st_mode), "0o140666")

    def test_started_means_serving(self):
        """READY=1 comes when it has a ledger and serves: never, where it has none."""
        self.assertNotEqual(show("StatusText"), "")
        self.tell(f"status: {show('StatusText')}")
        self.stop()
        os.rename(STATE, STATE + ".away")
        os.mkdir(STATE, 0o700)
        with open(f"{STATE}/ledger.db", "wb") as file:
            file.write(b"no ledger" * 1000)
        systemctl("start", *SOCKETS)
        try:
            self.assertNotEqual(systemctl("start", SERVICE, check=False).returncode, 0)
            self.assertEqual(show("ExecMainStatus"), "7")
            self.assertEqual(show("NRestarts"), "0")
            # Its callers are told, and whoever looks up a user does not wait.
            with self.assertRaises(Refused) as refused:
                lease("plain", 3)
            self.assertEqual(refused.exception.error, "io.uidpool.LedgerUnusable")
            self.assertIsNone(getent("passwd", BASE + 2 * SIZE))
            self.assertNotEqual(is_active(SERVICE), "active")
        finally:
            run("rm", "-r", STATE)
            os.rename(STATE + ".away", STATE)
        systemctl("stop", *SOCKETS, SERVICE)
        self.setUp()
        call("org.varlink.service.GetInfo")

    def test_a_second_one(self):
        done = run("uidpoold", "--runtime-dir=/run/uidpool-second",
                   "--userdb-dir=/run/uidpool-second", check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn(show("MainPID"), done.stderr)

    def test_killed(self):
        """By SIGKILL, again and again: it comes back with the leases it had."""
        first = lease("plain", 1)
        pid = show("MainPID")
        for _ in range(3):
            os.kill(int(pid), signal.SIGKILL)
            pid = wait_for_another(pid)
            again = lease("plain", 1)
            self.assertEqual((again["uid"], again["lease"], again["existing"]),
                             (first["uid"], first["lease"], True))
        self.assertEqual(is_active("uidpoold.socket"), "active")
        release("plain", 1)

    def test_killed_in_a_call(self):
        """The caller sees the end of the connection; what it asked for goes on."""
        uid = lease("plain", 2)["uid"]
        # Somebody privileged who acts as the uid is not killed, but is in the way.
        code = f"import os, sys; os.seteuid({uid}); print('ready', flush=True); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as in_the_way, \
                Client(SOCKET) as client:
            self.assertEqual(in_the_way.stdout.readline(), "ready\n")
            client.send("Release", pool="plain", domid=2)
            poll(lambda: call("Describe", uid=uid)["lease"]["state"] == "revoking", "the mark")
            pid = show("MainPID")
            os.kill(int(pid), signal.SIGKILL)
            try:
                self.assertIsNone(client.receive())
            except ConnectionResetError:
                pass
            wait_for_another(pid)
            self.assertEqual(call("Describe", uid=uid)["lease"]["state"], "revoking")
        poll(lambda: (call("Describe", uid=uid)["lease"] or {}).get("state") != "revoking",
             "what the new one does by itself")

    def test_watchdog(self):
        """Stopped, which no signal but one ends: the init sees that it says nothing."""
        first = lease("plain", 3)
        self.configure("[Service]\nWatchdogSec=4s\nTimeoutAbortSec=1s\n")
        pid, restarts = show("MainPID"), int(show("NRestarts"))
        time_alive = 6  # seconds: content as long as it runs
        began = time.monotonic()
        while time.monotonic() - began < time_alive:
            self.assertEqual(show("MainPID"), pid)
            call("org.varlink.service.GetInfo")
        os.kill(int(pid), signal.SIGSTOP)
        wait_for_another(pid)
        self.assertEqual(int(show("NRestarts")), restarts + 1)
        said = run("journalctl", "-b", "-u", SERVICE).stdout
        self.assertIn("Watchdog timeout", said)
        self.assertEqual(lease("plain", 3)["lease"], first["lease"])
        release("plain", 3)

    def test_reload(self):
        """Who is in the group is asked anew; connections and the process stay."""
        pid = show("MainPID")
        gid = grp.getgrnam("uidpool").gr_gid
        code = ("import sys; sys.path.insert(0, '/payload'); from daemon import Client; "
                f"Client('{SOCKET}').call('Lease', pool='plain', domid=4)")
        member = [*NOBODY, f"--groups={gid}", sys.executable, "-c", code]
        other = [*NOBODY, "--groups=4711", sys.executable, "-c", code]
        run(*member)
        self.assertIn("NotPermitted", run(*other, check=False).stderr)
        with Client(SOCKET) as client:
            client.call("org.varlink.service.GetInfo")
            run("groupmod", "--gid", 4711, "uidpool")
            systemctl("reload", SERVICE)
            poll(lambda: run(*other, check=False).returncode == 0, "the reload")
            self.assertIn("NotPermitted", run(*member, check=False).stderr)
            client.call("org.varlink.service.GetInfo")
        self.assertEqual(show("MainPID"), pid)
        self.assertEqual(is_active(SERVICE), "active")
        run("groupmod", "--gid", gid, "uidpool")
        systemctl("reload", SERVICE)
        poll(lambda: run(*member, check=False).returncode == 0, "the reload")
        release("plain", 4)

    def test_environment_files(self):
        for path in ("/etc/default/uidpool", "/etc/sysconfig/uidpool"):
            with self.subTest(path=path):
                had = os.path.exists(path)
                if had:
                    os.rename(path, path + ".away")
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="ascii") as file:
                    file.write("UIDPOOLD_LOG=err\n")
                systemctl("restart", SERVICE)
                with open(f"/proc/{show('MainPID')}/environ", "rb") as file:
                    self.assertIn(b"UIDPOOLD_LOG=err\0", file.read())
                os.unlink(path)
                if had:
                    os.rename(path + ".away", path)
        systemctl("restart", SERVICE)

    def test_stop_leaves_nobody(self):
        lease("plain", 5)
        group = "/sys/fs/cgroup" + show("ControlGroup")
        with open(f"{group}/cgroup.procs", encoding="ascii") as file:
            self.assertIn(show("MainPID"), file.read().split())
        self.stop()
        self.assertFalse(os.path.exists(group))
        self.assertEqual(show("ExecMainStatus"), "0")
        # Sockets that are not served are not left to be found.
        self.assertFalse(os.path.exists(SOCKET) or os.path.exists(USERDB))
        self.setUp()
        release("plain", 5)


class Kill(Case):
    """The main job, from within the sandbox."""

    def test_proven(self):
        given = lease("plain", 6)
        uid = given["uid"]
        tenant = self.tenant(uid)
        # Only effectively the uid: beyond the reaper's reach, and killed by the daemon itself.
        code = f"import os, signal; os.setgroups([]); os.setresuid(65534, {uid}, 65534); " \
            "print('ready', flush=True); signal.pause()"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                              text=True) as stranger:
            self.assertEqual(stranger.stdout.readline(), "ready\n")
            try:
                released = release("plain", 6)
                self.assertEqual(stranger.wait(LIMIT), -signal.SIGKILL)
            finally:
                stranger.kill()
        self.assertIn(released["state"], ("quarantined", "free"))
        self.assertEqual(tasks_of(uid), [])
        self.assertEqual(tenant.wait(LIMIT), -signal.SIGKILL)
        self.assertGreater(released["tasks_killed"], 20)
        events = json.loads(run("uidpool", "--json", "history", f"--uid={uid}").stdout)["events"]
        proven = [event["detail"] for event in events if event["what"] == "proven"][-1]
        self.assertRegex(proven, r"^scan says EMPTY .*census says EMPTY")
        self.check_ipc(uid)

    def check_ipc(self, uid):
        for kind in ("shm", "msg", "sem"):
            with open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
                self.assertNotIn(str(uid), file.read(), kind)
        self.assertEqual(os.listdir("/dev/mqueue"), [])

    def test_residue(self):
        """Objects are removed; what only an administrator may judge is named, and holds the uid."""
        uid = lease("plain", 7)["uid"]
        self.tenant(uid, "mess")
        self.assertEqual(os.listdir("/dev/mqueue"), [f"tenant-{uid}"])
        somebody = "/dev/shm/somebody"
        os.mkdir(somebody, 0o700)
        self.addCleanup(os.rmdir, somebody)
        os.chown(somebody, 65534, 65534)
        os.utime(somebody, (1, 2))
        released = release("plain", 7)
        self.assertEqual(os.stat(somebody).st_atime, 1, "what is looked at must still look unused")
        self.assertEqual(released["state"], "held")
        self.check_ipc(uid)
        for place in ("/tmp", "/var/tmp", "/dev/shm"):
            self.assertIn(f"{place}/left-{uid} (directory)", released["reason"])
            self.assertIn(f"{place}/left-{uid}/file", released["reason"])
            run("rm", "-r", f"{place}/left-{uid}")
        with self.assertRaises(Refused) as refused:
            lease("plain", 7)
        self.assertEqual(refused.exception.error, "io.uidpool.Conflict")
        run("uidpool", "clear", uid)
        self.assertEqual(lease("plain", 7)["uid"], uid)
        release("plain", 7)
        self.assertTrue(journal(f"UIDPOOL_UID={uid}", f"MESSAGE_ID={HELD}"))

    def test_many_at_once(self):
        """More helpers than a service's usual limits would let be."""
        uids = [lease("plain", 10 + i)["uid"] for i in range(30)]
        tenants = [subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}",
                                     "--clear-groups", "sh", "-c", "echo; exec sleep 1000"],
                                    stdout=subprocess.PIPE) for uid in uids]
        for tenant in tenants:
            self.assertEqual(tenant.stdout.read(1), b"\n")
            tenant.stdout.close()
        clients = [Client(SOCKET) for _ in uids]
        for i, client in enumerate(clients):
            client.send("Release", pool="plain", domid=10 + i)
        for client in clients:
            self.assertIn(client.answer()["parameters"]["released"][0]["state"],
                          ("quarantined", "free"))
            client.socket.close()
        for tenant in tenants:
            self.assertEqual(tenant.wait(LIMIT), -signal.SIGKILL)

    def test_hidden_proc(self):
        """With hidepid it is shown all the same."""
        run("mount", "-o", "remount,hidepid=2", "/proc")
        self.addCleanup(run, "mount", "-o", "remount,hidepid=0", "/proc")
        systemctl("restart", SERVICE)
        uid = lease("plain", 8)["uid"]
        tenant = self.tenant(uid)
        release("plain", 8)
        self.assertEqual(tenant.wait(LIMIT), -signal.SIGKILL)


class Names(Case):

    def test_a_leased_uid_has_a_name(self):
        given = lease("named", 9)
        uid, gid = given["uid"], given["gid"]
        entry = getent("passwd", uid)
        self.assertIsNotNone(entry, "no name")
        name = entry.split(":")[0]
        self.assertEqual(name, "named-domid9")
        self.assertEqual(entry.split(":")[2:4], [str(uid), str(gid)])
        self.assertEqual(getent("passwd", name), entry)
        self.assertEqual(getent("group", gid).split(":")[0], name)
        self.assertIn(f"uid={uid}({name})", run("id", name).stdout)
        path = "/root/of-tenant"
        with open(path, "w", encoding="ascii"):
            os.chown(path, uid, gid)
        self.assertIn(f" {name} {name} ", run("ls", "-l", path).stdout)
        os.unlink(path)
        if MACHINE == "userdb":
            self.assertIn(entry, run("getent", "passwd").stdout.splitlines())
        release("named", 9)
        self.assertIsNone(getent("passwd", uid))
        self.assertIsNone(getent("passwd", name))

    def test_others_have_none(self):
        given = lease("plain", 10)
        for key in (given["uid"], BASE + 30, "plain-domid10", "named-domid10", "nobody-such"):
            self.assertIsNone(getent("passwd", key), key)
        self.assertEqual(getent("passwd", "root").split(":")[2], "0")
        release("plain", 10)

    def test_a_look_up_starts_it(self):
        if MACHINE != "userdb":
            self.skipTest("its own socket goes with it")
        given = lease("named", 11)
        systemctl("stop", SERVICE)
        self.assertEqual(getent("passwd", given["uid"]).split(":")[0], "named-domid11")
        self.assertEqual(is_active(SERVICE), "active")
        release("named", 11)


class Enable(Case):
    """The userdb socket: not enabled by the preset, and by a command and a restart."""

    def test_enable_userdb(self):
        for unit, state in (("uidpoold.service", "enabled"), ("uidpoold.socket", "enabled"),
                            ("uidpool-userdb.socket", "disabled")):
            self.assertEqual(systemctl("is-enabled", unit, check=False).stdout.strip(), state, unit)
        self.assertEqual(is_active("uidpool-userdb.socket"), "inactive")
        systemctl("enable", "uidpool-userdb.socket")
        systemctl("restart", SERVICE)
        self.assertEqual(is_active("uidpool-userdb.socket"), "active")
        self.assertEqual(is_active(SERVICE), "active")
        given = lease("named", 12)
        systemctl("stop", SERVICE)
        self.assertEqual(getent("passwd", given["uid"]).split(":")[0], "named-domid12")
        self.assertEqual(is_active(SERVICE), "active")
        release("named", 12)


class Journal(Case):

    def test_fields(self):
        given = lease("plain", 13, uuid="00000000-1111-2222-3333-444444444444")
        entry = journal(f"UIDPOOL_UID={given['uid']}", f"MESSAGE_ID={LEASED}")[-1]
        self.assertEqual((entry["UIDPOOL_DOMID"], entry["UIDPOOL_POOL"], entry["_SYSTEMD_UNIT"]),
                         ("13", "plain", SERVICE))
        self.assertEqual(entry["UIDPOOL_UUID"], "00000000-1111-2222-3333-444444444444")
        release("plain", 13)
        self.assertTrue(journal(f"UIDPOOL_UID={given['uid']}", f"MESSAGE_ID={RELEASED}"))
        run("journalctl", "--update-catalog")
        text = run("journalctl", "-b", "-x", f"MESSAGE_ID={LEASED}").stdout
        self.assertIn(f"Uid {given['uid']} of pool plain was leased", text)


class Xenstore(Case):
    """Followed from within the sandbox. The host has the store, and is the toolstack."""

    def setUp(self):
        super().setUp()
        if not os.path.exists(XENSTORE):
            self.skipTest("the host has no xenstored for tests")

    def ask(self, what, domid):
        print(f"\ntoolstack: {what} {domid}", flush=True)

    def leased(self, domid):
        return call("Describe", uid=BASE + 2 * SIZE + domid)["lease"]

    def test_follow(self):
        self.configure(f"[Service]\nExecStart=\n"
                       f"ExecStart=/usr/sbin/uidpoold --xenstore={XENSTORE}\n")
        self.ask("create", 5)
        given = poll(lambda: self.leased(5), "a lease")
        self.assertEqual((given["pool"], given["state"]), ("followed", "leased"))
        self.assertIn("xenstore: 1 domain", show("StatusText"))
        tenant = self.tenant(given["uid"])
        self.ask("destroy", 5)
        poll(lambda: (self.leased(5) or {}).get("state") != "leased", "the revocation")
        self.assertEqual(tenant.wait(LIMIT), -signal.SIGKILL)
        poll(lambda: (self.leased(5) or {}).get("state") != "revoking", "the proof")


class Varlinkctl(Case):

    def setUp(self):
        super().setUp()
        if not os.path.exists("/usr/bin/varlinkctl"):
            self.skipTest("this systemd has no varlinkctl")

    def varlinkctl(self, *args, **options):
        return run("varlinkctl", *args, **options).stdout

    def objects(self, text):
        """RFC 7464 and plain: one JSON object after the other."""
        decoder, found = json.JSONDecoder(), []
        text = text.replace("\x1e", "").strip()
        while text:
            value, end = decoder.raw_decode(text)
            found.append(value)
            text = text[end:].strip()
        return found

    def test_info_and_introspect(self):
        info = self.varlinkctl("info", SOCKET)
        self.assertIn("io.uidpool", info)
        self.assertIn("io.uidpool", self.varlinkctl("list-interfaces", SOCKET).split())
        text = self.varlinkctl("introspect", SOCKET, "io.uidpool")
        for method in ("Lease", "Release", "Describe", "List", "History", "Subscribe"):
            self.assertRegex(text, rf"method {method}\(")
        # All of them, and none that it would not parse.
        self.assertIn("method GetInfo(", self.varlinkctl("introspect", SOCKET))
        with open("/run/interface", "w", encoding="ascii") as file:
            file.write(text)
        self.varlinkctl("validate-idl", "/run/interface")
        if os.path.exists(USERDB):
            self.assertIn("GetUserRecord", self.varlinkctl("introspect", USERDB,
                                                           "io.systemd.UserDatabase"))

    def test_call(self):
        given = self.objects(self.varlinkctl(
            "call", SOCKET, "io.uidpool.Lease", '{"pool": "plain", "domid": 14}'))[0]["lease"]
        self.assertEqual(given["uid"], BASE + SIZE + 14)
        found = self.objects(self.varlinkctl("call", SOCKET, "io.uidpool.Describe",
                                             json.dumps({"uid": given["uid"]})))[0]
        self.assertEqual(found["lease"]["domid"], 14)
        listed = self.objects(self.varlinkctl("call", "--more", SOCKET, "io.uidpool.List", "{}"))
        self.assertIn(given["uid"], [one["lease"]["uid"] for one in listed])
        # The client checks answers against the interface, and calls too.
        done = run("varlinkctl", "call", SOCKET, "io.uidpool.Lease", '{"pool": "none", "domid": 1}',
                   check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("io.uidpool.NotFound", done.stderr)
        released = self.objects(self.varlinkctl(
            "call", SOCKET, "io.uidpool.Release", '{"domid": 14, "pool": "plain"}'))[0]["released"]
        self.assertEqual(len(released), 1)
        events = self.objects(self.varlinkctl("call", "--more", SOCKET, "io.uidpool.History",
                                              json.dumps({"uid": given["uid"]})))
        self.assertIn("proven", [one["event"]["what"] for one in events])

    def test_subscribe(self):
        with subprocess.Popen(["varlinkctl", "call", "--more", "-j", SOCKET, "io.uidpool.Subscribe",
                               "{}"], stdout=subprocess.PIPE, text=True) as watcher:
            try:
                line = watcher.stdout.readline().lstrip("\x1e")
                self.assertEqual(json.loads(line)["event"]["what"], "subscribed")
                given = lease("plain", 15)
                # Not the command's own change: that of another process.
                run("uidpool", "release", "--pool=plain", "--domid=15")
                seen = []
                while "proven" not in seen:
                    event = json.loads(watcher.stdout.readline().lstrip("\x1e"))["event"]
                    self.assertEqual(event["uid"], given["uid"])
                    seen.append(event["what"])
                self.assertEqual(seen[:2], ["leased", "revoking"])
            finally:
                watcher.kill()


MACHINES = {"preset": (Boot, Names, Enable),
            "userdb": (Boot, Life, Kill, Names, Journal, Xenstore, Varlinkctl)}


def main():
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(map(loader.loadTestsFromTestCase, MACHINES[MACHINE]))
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    if os.path.exists("/run/boot-msec"):
        with open("/run/boot-msec", encoding="ascii") as file:
            print(f"boot-msec: {file.read()}")
    if not result.wasSuccessful():
        print(run("journalctl", "-b", "-u", "uidpool*", "-n", "200").stdout)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
