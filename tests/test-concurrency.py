#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""64 processes lease and release at random over a pool of 40 uids, each with a real process behind
most of its leases: no uid twice at once, nobody starves, and the history adds up."""
import collections
import json
import os
import random
import signal
import statistics
import subprocess
import time
import traceback

import support
from support import LedgerCase

SIZE = 40
# Every run begins elsewhere: the kernel counts what runs as a uid in all PID namespaces.
BASE = 2114770944 + SIZE * random.SystemRandom().randrange(256)
WORKERS = 64
SECONDS = int(os.environ.get("SECONDS", "60"))


class Worker:
    """One toolstack: leases for domids that only it uses, at most three at a time."""

    def __init__(self, number, u, folder, seed):
        self.number, self.u, self.folder = number, u, folder
        self.dice = random.Random(f"{seed}/{number}")
        self.held = {}  # domid: (uid, process or None)
        self.waits = {"lease": [], "release": []}
        self.grants = self.exhausted = 0
        self.next_domid = number * 500

    def call(self, *args):
        start = time.monotonic()
        run = self.u.run(*args, timeout=600)
        self.waits[args[0]].append(time.monotonic() - start)
        return run

    def lease(self):
        domid, self.next_domid = self.next_domid, self.next_domid + 1
        run = self.call("lease", f"--domid={domid}")
        if run.returncode == 5:
            self.exhausted += 1
            return
        assert run.returncode == 0, f"lease {domid}: exit {run.returncode}: {run.stderr}"
        uid = int(run.stdout.split(":")[0])
        # Exclusive: two holders of one uid would meet here.
        os.close(os.open(f"{self.folder}/{uid}", os.O_CREAT | os.O_EXCL))
        self.grants += 1
        process = None
        if self.dice.randrange(3):
            process = subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}",
                                        "--clear-groups", "sleep", "1000"])
        self.held[domid] = (uid, process)

    def release(self):
        domid = self.dice.choice(sorted(self.held))
        uid, process = self.held.pop(domid)
        os.unlink(f"{self.folder}/{uid}")
        run = self.call("release", f"--domid={domid}", "--timeout=300")
        assert run.returncode == 0, f"release {domid}: exit {run.returncode}: {run.stderr}"
        if process:
            assert process.wait(timeout=support.LIMIT) == -signal.SIGKILL

    def work(self, end):
        while time.monotonic() < end:
            if self.held and (len(self.held) == 3 or self.dice.randrange(2)):
                self.release()
            else:
                self.lease()
        while self.held:
            self.release()


def start(worker, end):
    """In a process of its own, which leaves what it saw in a file."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        worker.work(end)
        with open(f"{worker.folder}/worker{worker.number}", "w", encoding="ascii") as file:
            json.dump({"waits": worker.waits, "grants": worker.grants,
                       "exhausted": worker.exhausted}, file)
        status = 0
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
    finally:
        os._exit(status)


class Concurrency(LedgerCase):
    def test_64_workers(self):
        seed = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
        print(f"SEED={seed} SECONDS={SECONDS} uids from {BASE}", flush=True)
        self.add_pool(BASE, SIZE, quarantine=0)
        folder = os.path.join(self.dir, "held")
        os.mkdir(folder)
        end = time.monotonic() + SECONDS
        pids = [start(Worker(number, self.u, folder, seed), end) for number in range(WORKERS)]
        failed = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
        self.assertFalse(failed, f"{len(failed)} workers failed, see above")
        results = []
        for number in range(WORKERS):
            with open(f"{folder}/worker{number}", encoding="ascii") as file:
                results.append(json.load(file))
        self.nobody_starved(results)
        self.history_adds_up(sum(result["grants"] for result in results))
        self.run_ok("ledger", "check")
        self.log_stays_small()

    def log_stays_small(self):
        """SQLite begins its log anew only when nobody reads the old one: under this load never, so
        that it would fill the disk."""
        size = os.stat(self.u.ledger + "-wal").st_size
        print(f"write-ahead log: {size >> 10} KiB", flush=True)
        self.assertLess(size, 32 << 20)

    def nobody_starved(self, results):
        for verb in ("lease", "release"):
            waits = sorted(wait for result in results for wait in result["waits"][verb])
            median = statistics.median(waits)
            print(f"{verb}: {len(waits)} calls, median {median * 1e3:.0f} ms, "
                  f"longest {waits[-1] * 1e3:.0f} ms, {waits[-1] / median:.1f} x", flush=True)
            if verb == "lease":
                self.assertLess(waits[-1], 50 * median, "somebody starved")
        grants = [result["grants"] for result in results]
        print(f"{sum(grants)} grants, {min(grants)} to {max(grants)} a worker, "
              f"{sum(result['exhausted'] for result in results)} times exhausted", flush=True)
        self.assertGreater(min(grants), 0, "a worker never got a lease")

    def history_adds_up(self, grants):
        self.run_ok("recover")
        events = self.u.events()
        self.assertEqual([event["id"] for event in events], list(range(1, len(events) + 1)))
        kinds = collections.Counter(event["what"] for event in events)
        live = self.u.leases()
        self.assertEqual(kinds["leased"], grants)
        self.assertEqual(kinds["leased"] - kinds["freed"], len(live), kinds)
        self.assertEqual(live, [])
        support.check_holders(self, events)


if __name__ == "__main__":
    support.main()
