#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The zoo: processes that are hard to kill, to see or to count. A release proves each of them dead,
or says exit 6 and names it; nobody gets the uid meanwhile. A neighbour of the same pool and a
process of no pool's uid live through every one of it."""
import collections
import contextlib
import fcntl
import glob
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys

import support
from support import BUILD, LIMIT, LedgerCase, poll

ANIMAL = os.path.join(BUILD, "tests", "animal")
MENAGERIE = "/mnt"  # a file system of our own, where a setuid copy of the animal can stand

# Every test has uids of its own: the kernel would count the zombies of another one.
BASES = iter(range(2114618368, 2114648064, 64))
STRANGERS = iter(range(2114648064, 2114650112))
SIZE = 64
TARGET, NEIGHBOUR = 3, 5  # domids

Task = collections.namedtuple("Task", "pid tid state uids")


def read(path):
    """The text of a file of /proc, "" if what it tells of is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def tasks():
    """Every task that /proc shows."""
    for path in glob.glob("/proc/[0-9]*/task/[0-9]*/status"):
        fields = dict(line.split(":\t", 1) for line in read(path).splitlines() if ":\t" in line)
        if "Uid" in fields:
            parts = path.split("/")
            yield Task(int(parts[2]), int(parts[4]), fields["State"][0],
                       tuple(map(int, fields["Uid"].split())))


def tasks_of(uid):
    return sorted(task for task in tasks() if uid in task.uids)


def living(uid):
    return [task for task in tasks_of(uid) if task.state not in "ZX"]


def started(pid):
    """When a process began, in ticks since boot; None if there is none, or only a zombie of it."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in "ZX" else None


def signal_quietly(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Animal:
    """A running animal: `pid` and `tid` are the task that it is about, `keeper` the process that
    it began with. An orphan, so that the first process of our namespace reaps what nobody keeps."""

    def __init__(self, kind, uid, *args):
        self.uid = uid
        with subprocess.Popen(["setsid", "--fork", ANIMAL, kind, f"--uid={uid}", *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            ready, _, _ = select.select([process.stdout], [], [], LIMIT)
            line = os.read(process.stdout.fileno(), 100).decode() if ready else ""
        if not line.startswith("ready "):
            raise AssertionError(f"no {kind} came")
        self.pid, self.tid, self.keeper = map(int, line.split()[1:])
        self.began, self.keeper_began = started(self.pid), started(self.keeper)

    def lives(self):
        return self.began is not None and started(self.pid) == self.began

    def end(self):
        """Whatever is left of it, to the last child."""
        if self.keeper_began and started(self.keeper) == self.keeper_began:
            signal_quietly(self.keeper)

        def gone():
            # One by one a fork bomb wins; this kills all but the euid-only ones, and spares others.
            subprocess.run(["setpriv", f"--reuid={self.uid}", "--clear-groups", "sh", "-c",
                            "kill -s KILL -- -1"], stdin=subprocess.DEVNULL, check=False)
            for task in living(self.uid):
                signal_quietly(task.pid)
            return not tasks_of(self.uid)
        if tasks_of(self.uid):
            poll(gone, f"the end of uid {self.uid}")


class Zoo(LedgerCase):
    def setUp(self):
        super().setUp()
        base = next(BASES)
        self.run_ok("pool", "add", "zoo", f"--base={base}", f"--size={SIZE}", "--policy=domid",
                    "--quarantine=0")
        self.uid = self.lease(TARGET)
        self.assertEqual(self.uid, base + TARGET)
        self.neighbour = self.animal("plain", self.lease(NEIGHBOUR))
        self.stranger = self.animal("plain", next(STRANGERS))
        self.bystanders = [self.neighbour, self.stranger]

    def animal(self, kind, uid=None, *args):
        animal = Animal(kind, self.uid if uid is None else uid, *args)
        self.addCleanup(animal.end)
        return animal

    def bystanders_live(self):
        for animal in self.bystanders:
            self.assertTrue(animal.lives(), f"uid {animal.uid} was none of the release's business")

    def states(self):
        return {lease["domid"]: lease["state"] for lease in self.u.leases()}

    def proofs(self, what):
        return [event for event in self.u.events(f"--domid={TARGET}") if event["what"] == what]

    def release(self, *args, status=0, before=()):
        """Release the target's lease, with a command before it where that matters."""
        command = [*before, *self.u.command("release", f"--domid={TARGET}", *args)]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=120, check=False)
        self.assertEqual(run.returncode, status, f"{command}: {run.stdout}{run.stderr}")
        return run

    def proven_dead(self, *args, zombies=None):
        """It is dead, we see it too, and the ledger has the evidence."""
        self.release(*args)
        self.assertEqual(living(self.uid), [])
        proofs = self.proofs("proven")
        self.assertEqual(len(proofs), 1)
        self.assertRegex(proofs[0]["detail"],
                         r"\Ascan says EMPTY of \d+ tasks, census says EMPTY, \d+ killed, "
                         rf"{zombies or r'[0-9]+'} unreaped, residue 0")
        self.assertNotIn(self.states().get(TARGET), ("leased", "revoking", "held"))
        self.assertEqual(self.states()[NEIGHBOUR], "leased")
        self.bystanders_live()
        if zombies is None:
            poll(lambda: not tasks_of(self.uid), "the last one to be reaped")
            self.assertEqual(self.lease(TARGET), self.uid)

    def unreaped(self, animal):
        """Proven dead, and free for the next, though the kernel still counts a task of it."""
        self.proven_dead(zombies=1)
        self.assertEqual([task.state for task in tasks_of(self.uid)], ["Z"])
        self.assertEqual(self.lease(TARGET), self.uid)
        animal.end()

    def not_proven(self, *args, before=()):
        """Exit 6; the lease and its uid stay. Returns what was said."""
        run = self.release("--timeout=3", *args, status=6, before=before)
        self.assertIn(str(self.uid), run.stderr)
        self.assertEqual(self.states()[TARGET], "revoking")
        self.assertEqual(self.proofs("proven"), [])
        self.assertEqual(len(self.proofs("not-proven")), 1)
        self.bystanders_live()
        return run.stderr

    def nobody_gets_it(self, before=()):
        for args in ([], ["--uuid=01234567-89ab-cdef-0123-456789abcdef"]):
            command = [*before, *self.u.command("lease", f"--domid={TARGET}", "--timeout=1", *args)]
            run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 timeout=120, check=False)
            self.assertIn(run.returncode, (4, 6), run.stdout + run.stderr)
            self.assertEqual(run.stdout, "")
        self.assertEqual(self.states()[TARGET], "revoking")

    def survives(self, animal):
        """It is named and not proven dead, the uid goes to nobody."""
        text = self.not_proven()
        self.assertRegex(text, rf"pid {animal.pid}, tid {animal.tid}, command 'animal'")
        self.nobody_gets_it()

    def spared(self, animal):
        """What may be a server for many is named, not killed."""
        self.survives(animal)
        self.assertTrue(animal.lives(), "a root process was killed")
        animal.end()
        self.proven_dead()

    def test_an_ordinary_one(self):
        animal = self.animal("plain")
        self.proven_dead()
        self.assertFalse(animal.lives())

    def test_none_at_all(self):
        self.proven_dead()

    def test_a_stranger_on_the_first_reaper_uid(self):
        """There are others to kill with, and the stranger is none of the target's."""
        with contextlib.closing(sqlite3.connect(self.u.ledger)) as ledger:
            (first,) = ledger.execute("SELECT reaper_first FROM ledger").fetchone()
        self.bystanders.append(self.animal("plain", first))
        self.animal("plain")
        self.proven_dead()

    def test_forkbomb(self):
        self.animal("forkbomb")
        self.assertGreater(len(tasks_of(self.uid)), 400)
        self.proven_dead("--timeout=60")

    def test_one_that_kills_the_reaper(self):
        self.animal("killer")
        self.proven_dead()

    def test_dead_leader_with_live_threads(self):
        animal = self.animal("dead-leader")
        self.assertNotEqual(animal.pid, animal.tid)
        self.assertEqual([(task.tid, task.state == "Z") for task in tasks_of(self.uid)],
                         [(animal.pid, True), (animal.tid, False)])
        self.proven_dead()

    def test_nondumpable(self):
        self.animal("nondumpable")
        self.proven_dead()

    def test_in_namespaces_of_its_own(self):
        trial = subprocess.run(["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}",
                                "--clear-groups", "unshare", "--user", "--pid", "--fork", "--mount",
                                "true"], capture_output=True, text=True, check=False)
        if trial.returncode:
            self.skipTest(f"no user namespaces for ordinary users: {trial.stderr.strip()}")
        self.animal("namespaces")
        self.assertEqual(len(living(self.uid)), 3)
        self.proven_dead()

    def test_stopped(self):
        animal = self.animal("stopped")
        poll(lambda: [task.state for task in tasks_of(self.uid)] == ["T"], "its stop")
        self.proven_dead()
        self.assertFalse(animal.lives())

    def test_ptraced_by_root(self):
        animal = self.animal("ptraced")
        self.assertEqual([task.state for task in tasks_of(self.uid)], ["t"])
        self.unreaped(animal)

    def test_ptraced_up_to_its_exit(self):
        """Stopped again on its way out, which only its tracer can end."""
        animal = self.animal("ptraced-exit")
        self.survives(animal)
        animal.end()
        self.proven_dead()

    def test_frozen(self):
        freezer = os.path.join(self.dir, "freezer")
        os.mkdir(freezer)
        trial = subprocess.run(["mount", "-t", "cgroup", "-o", "freezer", "freezer", freezer],
                               capture_output=True, text=True, check=False)
        if trial.returncode:
            self.skipTest(f"no cgroup v1 freezer: {trial.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", freezer], check=False)
        cage = os.path.join(freezer, f"uidpool-zoo-{self.uid}")
        os.mkdir(cage)
        self.addCleanup(os.rmdir, cage)
        self.addCleanup(poll, lambda: not read(f"{cage}/tasks"), "an empty cage")
        animal = self.animal("plain")
        self.addCleanup(self.freezer, cage, "THAWED")
        with open(f"{cage}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(animal.pid))
        self.freezer(cage, "FROZEN")
        self.survives(animal)
        self.assertTrue(animal.lives())
        self.freezer(cage, "THAWED")
        self.proven_dead()

    @staticmethod
    def freezer(cage, state):
        with open(f"{cage}/freezer.state", "w", encoding="ascii") as file:
            file.write(state)
        poll(lambda: read(f"{cage}/freezer.state").strip() == state, state)

    def test_foreign_run_of_a_setuid_program(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", MENAGERIE], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", MENAGERIE], check=False)
        program = shutil.copy(ANIMAL, MENAGERIE)
        os.chown(program, self.uid, 0)
        os.chmod(program, 0o4755)
        other = next(STRANGERS)
        animal = self.animal("setuid-foreign", None, f"--other={other}", f"--self={program}")
        self.assertEqual([task.uids for task in tasks_of(self.uid)],
                         [(other, self.uid, other, self.uid)])
        self.proven_dead()
        self.assertFalse(animal.lives())

    def test_root_with_the_effective_uid(self):
        animal = self.animal("root-euid")
        self.spared(animal)

    def test_root_with_one_thread_of_the_uid(self):
        animal = self.animal("root-thread")
        self.assertNotEqual(animal.pid, animal.tid)
        self.spared(animal)

    def test_root_with_the_file_system_uid(self):
        animal = self.animal("root-fsuid")
        self.assertEqual([task.uids for task in tasks_of(self.uid)], [(0, 0, 0, self.uid)])
        self.spared(animal)

    def test_zombie(self):
        animal = self.animal("zombie", None, f"--other={next(STRANGERS)}")
        self.assertEqual([task.state for task in tasks_of(self.uid)], ["Z"])
        self.unreaped(animal)

    def test_one_that_nobody_will_reap(self):
        animal = self.animal("never-reaped", None, f"--other={next(STRANGERS)}")
        poll(lambda: [task.state for task in tasks_of(self.uid)] == ["S"], "its sleep")
        self.unreaped(animal)

    def test_hidden_by_hidepid(self):
        """A scan that is shown less than everything does not say EMPTY."""
        animal = self.animal("plain")
        blindfold = ["unshare", "--mount", "--propagation=private", "sh", "-c",
                     # Root's group 0 is exempt, unless another one is.
                     "mount -t proc -o hidepid=2,gid=2114650111 proc /proc && "
                     "exec setpriv --inh-caps=-sys_ptrace --bounding-set=-sys_ptrace \"$@\"", "sh"]
        count = subprocess.run([*blindfold, "sh", "-c", f"ls -d /proc/{animal.pid}"],
                               capture_output=True, text=True, check=False)
        self.assertNotEqual(count.returncode, 0, f"not hidden: {count.stdout}")
        text = self.not_proven(before=blindfold)
        self.assertRegex(text, "cannot see|hide|hidden|CAP_SYS_PTRACE")
        self.assertIn("scan says UNKNOWN", self.proofs("not-proven")[0]["detail"])
        self.nobody_gets_it(before=blindfold)
        self.proven_dead()

    def test_outside_of_the_pid_namespace(self):
        """Only the census sees it, and nothing here can signal it."""
        animal = self.animal("plain")
        inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        text = self.not_proven(before=inside)
        self.assertRegex(text, "census counts a task .*the scan cannot see")
        detail = self.proofs("not-proven")[0]["detail"]
        self.assertIn("census says BUSY", detail)
        self.assertTrue(animal.lives())
        self.nobody_gets_it(before=inside)
        self.assertTrue(animal.lives())
        self.proven_dead()
        self.assertFalse(animal.lives())


def main():
    """In namespaces of its own, under a first process that reaps what is orphaned there, and never
    two zoos at once: they would count each other's uids."""
    if support.INSIDE not in os.environ:
        support.main()
    if os.getpid() == 1:
        child = os.fork()
        if child:
            while True:
                pid, status = os.wait()
                if pid == child:
                    os._exit(os.waitstatus_to_exitcode(status) & 0xff)
    with open(__file__, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.access(ANIMAL, os.X_OK):
            print(f"SKIP: {ANIMAL} is not built")
            sys.exit(77)
        support.main()


if __name__ == "__main__":
    main()
