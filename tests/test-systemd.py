#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""uidpoold under a real systemd as PID 1, of Debian 12 (systemd 252) and Debian 13 (257): installed
as a package would, booted with and without the userdb socket, and asked from within
(systemd-inside.py)."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import daemon
import support
from support import TOP

TESTS = os.path.join(TOP, "tests")
sys.path.append(os.path.join(TESTS, "xenstore"))
import xenstore  # noqa: E402 pylint: disable=wrong-import-position
SUITES = ("bookworm", "trixie")
PACKAGES = """dbus init-system-helpers libcap-ng0 libeconf0 libjansson4 libnss-systemd libsmartcols1
              libsqlite3-0 libxenstore4 passwd procps python3 systemd systemd-sysv util-linux""".split()
# A boot takes 1 to 3 s here; one look-up that is not answered adds 45 s.
BOOT_LIMIT = 20

CONFIG = """[pool named]
Base=2113929216
Size=64
Policy=next
Group=per-uid
Quarantine=0
Resolve=yes
Accounts=none

[pool plain]
Base=2113929280
Size=64
Policy=domid
Quarantine=0
Accounts=none

[pool followed]
Base=2113929344
Size=64
Policy=domid
Quarantine=0
Follow=yes
Accounts=none
"""

# What looks users up at boot: a service that knows no dependency on ours, and one that runs as
# somebody, which asks for his groups.
LOOK_UP = """[Unit]
Before=multi-user.target
{unit}
[Service]
Type=oneshot
User=daemon
TimeoutStartSec=240
ExecStart=-/usr/bin/getent passwd 2113929216
ExecStart=-/usr/bin/getent group no-such-group
[Install]
WantedBy={target}
"""

PREPARE = """#!/bin/sh
set -e
systemd-sysusers
uidpool-provision --offline apply
systemctl preset uidpoold.service uidpoold.socket uidpool-userdb.socket
systemctl enable look-up.service look-up-early.service
[ "$(cat /payload/machine)" = preset ] || systemctl enable uidpool-userdb.socket
"""

RUN = """#!/bin/sh
exec python3 -B /payload/systemd-inside.py "$(cat /payload/machine)"
"""


class Unfit(Exception):
    """It cannot be done here, and why."""


def command(*args, **options):
    return subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                          **options)


def checked(*args, **options):
    run = command(*args, **options)
    if run.returncode:
        raise AssertionError(f"{' '.join(args)}: {run.stdout[-8000:]}")


class Lab:
    """Where it all is, on a file system of its own."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="uidpool-test-")
        checked("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", self.dir)
        self.programs = self.path("installed")
        self.machines = {suite: Machines(self, suite) for suite in SUITES}

    def path(self, name):
        return os.path.join(self.dir, name)

    def install(self):
        """Built as it is shipped: the helpers are looked for where they are installed. Kept in the
        build directory, so that only the first time is long."""
        build = os.path.join(support.BUILD, "installed")
        if not os.path.exists(os.path.join(build, "build.ninja")):
            shutil.rmtree(build, ignore_errors=True)
            checked("meson", "setup", build, TOP, "-Duninstalled=false", "-Dtests=false",
                    env={**os.environ, "CC": "gcc"})
        checked("ninja", "-C", build)
        checked("meson", "install", "-C", build, "--no-rebuild",
                env={**os.environ, "DESTDIR": self.programs})

    def run(self):
        """Trees are made beside the build, and machines run beside each other."""
        for machines in self.machines.values():
            machines.tree.start()
        try:
            self.install()
        finally:
            for machines in self.machines.values():
                machines.tree.join()
        for machines in self.machines.values():
            machines.boots.start()

    def end(self):
        for machines in self.machines.values():
            if machines.boots.ident:
                machines.boots.join()
        checked("umount", "-l", self.dir)
        os.rmdir(self.dir)


class Machines:
    """What is done with a suite, in threads of its own: the root tree, then one boot after the
    other."""
    lock = threading.Lock()

    def __init__(self, lab, suite):
        self.lab = lab
        self.suite = suite
        self.tree = threading.Thread(target=self.keep, args=(self.make_tree,))
        self.boots = threading.Thread(target=self.keep, args=(self.boot_all,))
        self.problem = None
        self.said = ""
        self.milliseconds = {}

    def keep(self, function):
        """The test asks for it later."""
        try:
            if not self.problem:
                function()
        except Exception as problem:  # pylint: disable=broad-exception-caught
            self.problem = problem

    def make_tree(self):
        os.mkdir(self.lab.path(self.suite))
        run = command(os.path.join(TESTS, "debian-tree"), self.suite, self.lab.path(self.suite),
                      *PACKAGES)
        if run.returncode == 77:
            raise Unfit(run.stdout.strip().rpartition("SKIP: ")[2])
        if run.returncode:
            raise AssertionError(run.stdout)

    def payload(self, machine):
        """The directory of what is to run in there."""
        payload = self.lab.path(f"{self.suite}-{machine}")
        root = os.path.join(payload, "rootfs")
        shutil.copytree(self.lab.programs, root, symlinks=True)
        for name in ("systemd-inside.py", "daemon.py", "support.py"):
            shutil.copy(os.path.join(TESTS, name), payload)
        files = {"machine": machine, "prepare": PREPARE, "run": RUN,
                 "rootfs/etc/uidpool/uidpool.conf": CONFIG}
        for name, unit, target in (("look-up", "", "multi-user.target"),
                                   ("look-up-early", "DefaultDependencies=no", "sysinit.target")):
            files[f"rootfs/etc/systemd/system/{name}.service"] = LOOK_UP.format(unit=unit,
                                                                                target=target)
        for name, text in files.items():
            path = os.path.join(payload, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        for name in ("prepare", "run"):
            os.chmod(os.path.join(payload, name), 0o755)
        return payload

    def start_store(self, payload):
        """A xenstore daemon of this host, whose socket the machine finds in its payload. Where
        there cannot be one the machine skips what wants it."""
        if xenstore.why_not():
            return None
        with Machines.lock:  # the library takes the socket's path from the environment
            store = xenstore.Store("c", os.path.join(payload, "xen")).start()
            store.connect()
        return store

    def boot(self, machine):
        """All that it said."""
        payload = self.payload(machine)
        store = self.start_store(payload) if machine == "userdb" else None
        said = []
        with subprocess.Popen([os.path.join(TESTS, "with-systemd"), self.lab.path(self.suite),
                               payload], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace") as run:
            for line in run.stdout:
                said.append(line)
                if store and (asked := re.match(r"toolstack: (create|destroy) (\d+)\n", line)):
                    getattr(store, asked[1])(int(asked[2]))
        if store:
            store.stop()
        said = "".join(said)
        self.said += f"--- {self.suite}, {machine}\n{said}"
        if run.returncode == 77:
            raise Unfit(said.strip().rpartition("SKIP: ")[2])
        if "GLIBC_" in said and "not found" in said:
            raise Unfit(f"built for a newer Debian than {self.suite}")
        if run.returncode:
            raise AssertionError(f"{self.suite}, {machine}: exit {run.returncode}")
        return said

    def boot_all(self):
        for machine in ("preset", "userdb"):
            said = self.boot(machine)
            self.milliseconds[machine] = int(re.search(r"boot-msec: (\d+)", said)[1])


lab = None


def setUpModule():
    global lab
    if daemon.is_sanitized():
        raise unittest.SkipTest("the sandbox is for what is shipped")
    for tool in ("meson", "ninja"):
        if not shutil.which(tool):
            raise unittest.SkipTest(f"needs {tool}")
    lab = Lab()
    unittest.addModuleCleanup(lab.end)
    lab.run()


class Systemd(unittest.TestCase):

    def check(self, suite):
        machines = lab.machines[suite]
        machines.boots.join()
        print(f"\n{machines.said}---", file=sys.stderr, flush=True)
        if isinstance(machines.problem, Unfit):
            self.skipTest(str(machines.problem))
        if machines.problem:
            raise machines.problem
        took = machines.milliseconds
        print(f"{suite}: boot in {took['preset']} ms, with the userdb socket in {took['userdb']} "
              "ms", file=sys.stderr, flush=True)
        self.assertLess(took["userdb"], took["preset"] + BOOT_LIMIT * 1000)

    def test_debian_12(self):
        self.check("bookworm")

    def test_debian_13(self):
        self.check("trixie")


if __name__ == "__main__":
    support.main()
