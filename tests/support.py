# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the integration tests share: namespaces of their own, and a ledger to play with."""
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("UIDPOOL_BUILD", os.path.join(TOP, "build", "gcc"))
UIDPOOL = os.path.join(BUILD, "allocator", "cli", "uidpool")
LIMIT = 30  # seconds after which waiting for a condition has failed
INSIDE = "UIDPOOL_TEST_NAMESPACE"
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount",
           "--propagation", "private", "--ipc"]


def why_not():
    """Why these tests cannot run here, or None."""
    if os.getuid() != 0:
        return "needs root"
    if not os.access(UIDPOOL, os.X_OK):
        return f"{UIDPOOL} is not built"
    run = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return None if run.returncode == 0 else f"no namespaces: {run.stderr.strip()}"


def main():
    """unittest.main() in namespaces of its own, so that nothing kills this machine's processes."""
    if INSIDE not in os.environ:
        reason = why_not()
        if reason:
            print(f"SKIP: {reason}")
            sys.exit(77)
        os.environ[INSIDE] = "1"
        os.execvp("unshare", [*UNSHARE, sys.executable, *sys.argv])
    os.umask(0o022)
    unittest.main(verbosity=2)


def poll(condition, what):
    """Wait until it is true."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {LIMIT} s for {what}")


class Uidpool:
    """The uidpool command over a ledger and a configuration of its own."""

    def __init__(self, folder, name="ledger.db"):
        self.ledger = os.path.join(folder, name)
        self.config = os.path.join(folder, "config")
        os.makedirs(self.config, exist_ok=True)

    def command(self, *args):
        return [UIDPOOL, f"--ledger={self.ledger}", f"--config={self.config}", *map(str, args)]

    def start(self, *args, **options):
        return subprocess.Popen(self.command(*args), stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def run(self, *args, timeout=120, **options):
        return subprocess.run(self.command(*args), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, check=False, **options)

    def json(self, *args, **options):
        run = self.run("--json", *args, **options)
        if run.returncode:
            raise AssertionError(f"{args}: exit {run.returncode}: {run.stderr}")
        return json.loads(run.stdout)

    def leases(self):
        return self.json("list")["leases"]

    def events(self, *args):
        return self.json("history", *args)["events"]


class LedgerCase(unittest.TestCase):
    """A test with a fresh ledger in a directory of its own, on a file system of its own."""
    tmpfs = "size=64m"

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="uidpool-test-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{self.tmpfs},mode=0700", "tmpfs", self.dir],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.dir], check=False)
        self.u = Uidpool(self.dir)

    def run_ok(self, *args, **options):
        return self.run_exit(0, *args, **options)

    def run_exit(self, status, *args, **options):
        run = self.u.run(*args, **options)
        self.assertEqual(run.returncode, status,
                         f"uidpool {' '.join(map(str, args))}: {run.stdout}{run.stderr}")
        if status:
            self.assertNotEqual(run.stderr.strip(), "", "failed without a word")
        return run

    def add_pool(self, base, size=40, name="p", policy="next", quarantine=0):
        self.run_ok("pool", "add", name, f"--base={base}", f"--size={size}", f"--policy={policy}",
                    f"--quarantine={quarantine}")

    def lease(self, domid, *args):
        """The uid that the domid got."""
        run = self.run_ok("lease", f"--domid={domid}", *args)
        self.assertRegex(run.stdout, r"\A\d+:\d+\n\Z")
        return int(run.stdout.split(":")[0])


def check_holders(case, events):
    """By the history no uid was ever held twice at once, and in the end none is."""
    holder = {}
    for event in events:
        uid = event["uid"]
        if event["what"] == "leased":
            case.assertNotIn(uid, holder, f"{event}: still held")
            holder[uid] = event["lease"]
        elif event["what"] in ("revoking", "proven", "quarantined"):
            case.assertEqual(holder.get(uid), event["lease"], event)
        elif event["what"] == "freed":
            case.assertEqual(holder.pop(uid, None), event["lease"], event)
    case.assertFalse(holder)


def write_ledger(path, *statements):
    """Write SQL as the program does, with the two functions that the ledger's rules ask for."""
    def boot_id():
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip().replace("-", "")
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.create_function("uidpool_boot_id", 0, boot_id)
        db.create_function("uidpool_boot_usec", 0,
                           lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
        for statement in statements:
            db.executescript(statement)
    finally:
        db.close()


def digest(*paths):
    """What the files hold; None for one that is not there, empty or no file."""
    def one(path):
        if not os.path.isfile(path) or os.stat(path).st_size == 0:
            return None
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    return [one(path) for path in paths]
