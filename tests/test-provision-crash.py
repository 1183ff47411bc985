#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Killed, or refused by the kernel, at every system call that changes the disk, and then run once
more: the files and the ledger are byte for byte what they would have been. The same where useradd,
newusers or systemd-sysusers were killed: one apply, and pwck and grpck find nothing.

The system calls are counted in an undisturbed run under strace; each is then a point."""
import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

import provision
from provision import FILES, Tree, TreeCase, parse

BASE = 2113929216
WORKERS = 2
BACKUPS = [name + "-" for name in FILES]
CREATING = re.compile(r"O_CREAT|O_TRUNC")
# What changes the disk. An open that creates nothing is none of them.
CALLS = """open openat creat write pwrite64 writev pwritev copy_file_range sendfile fsync fdatasync
sync_file_range ftruncate fallocate rename renameat renameat2 link linkat symlink symlinkat unlink
unlinkat mkdir mkdirat mknodat chmod fchmod fchmodat chown fchown fchownat lchown fsetxattr setxattr
fremovexattr utimensat""".split()
# What the kernel may answer.
ERRORS = {
    "openat": ("ENOSPC", "EROFS"), "write": ("ENOSPC", "EIO"), "pwrite64": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"), "fdatasync": ("EIO",), "ftruncate": ("EIO",),
    "rename": ("EIO", "EROFS"), "renameat": ("EIO", "EROFS"), "renameat2": ("EIO", "EROFS"),
    "link": ("ENOSPC",), "linkat": ("ENOSPC",), "fchmod": ("EROFS",), "fchown": ("EDQUOT",),
    "mkdir": ("ENOSPC",), "mkdirat": ("ENOSPC",), "fsetxattr": ("ENOSPC",),
}
# A failure behind all changes says that they were made, or that only the answer is lost.
DONE = ("the account files are written", "cannot write to standard output")
LIBXL = "[pool xen-qemuuser]\nSize=32752\nFollow=yes\nAccounts=range-base reaper\n"
DOMIDS = f"[pool small]\nBase={BASE}\nSize=3\nGroup=per-uid\nAccounts=per-domid\nPrefix=xen\n"
VM = "[pool vm]\nSize=8\nPolicy=next\n"
VM_LATER = "[pool vm]\nSize=8\nPolicy=domid\nQuarantine=5m\nGroup=per-uid\n"

# The number-th `call` of the program, and the path it was about.
Point = collections.namedtuple("Point", "call number path what")
debian = None


def tearDownModule():
    if debian:
        debian.end()


def strace(options, command, trace):
    return subprocess.run(["strace", "-f", "-y", "-qq", "-o", trace, *options, *command],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=provision.ENVIRONMENT, timeout=120, check=False)


def calls_of(trace):
    """(call, number, path) of everything that changes the disk."""
    counts = collections.defaultdict(collections.Counter)
    seen = {}
    with open(trace, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = re.match(r"(\d+) +(\w+)\((.*)", line)
            if not match or match[2] not in CALLS:
                continue
            task, call, args = match.groups()
            counts[task][call] += 1
            if "open" in call and not CREATING.search(args):
                continue
            paths = re.findall(r'<(/[^>]*)>|"([^"]*)"', args)
            seen.setdefault((call, counts[task][call]),
                            " ".join(one or other for one, other in paths))
    return seen


def kills(calls):
    return [Point(call, str(n), path, "signal=KILL") for (call, n), path in calls.items()]


def errors(calls):
    """Each call once; and from every fourth on for good, as a full disk is."""
    points = []
    for i, ((call, n), path) in enumerate(calls.items()):
        for error in ERRORS.get(call, ()):
            points.append(Point(call, str(n), path, f"error={error}"))
            if i % 4 == 0:
                points.append(Point(call, f"{n}+", path, f"error={error}"))
    return points


class Sweep(TreeCase):
    """A program is run at each point, on a tree as it was before; each worker has a tree."""

    def inject(self, point, tree, command):
        return strace(["-e", f"trace={point.call}",
                       "-e", f"inject={point.call}:{point.what}:when={point.number}"], command,
                      tree.path + ".trace")

    def at_each(self, points, trees, check):
        """check(point, tree) says what is wrong, or None. All findings are told at once."""
        self.assertGreater(len(points), 5, "there is nothing to sweep over")
        queue = collections.deque(points)
        findings = []

        def work(tree):
            while queue and len(findings) < 8:
                try:
                    point = queue.popleft()
                except IndexError:
                    return
                try:
                    found = check(point, tree)
                except Exception as error:  # pylint: disable=broad-except
                    found = repr(error)
                if found:
                    findings.append(f"{point}: {found}")

        with concurrent.futures.ThreadPoolExecutor(len(trees)) as pool:
            for future in [pool.submit(work, tree) for tree in trees]:
                future.result()
        print(f"{self.id()}: {len(points)} points of {len({p.call for p in points})} calls",
              flush=True)
        if findings:
            self.fail("\n".join(findings))

    @staticmethod
    def leftovers(tree):
        left = set(filter(provision.is_leftover, tree.names()))
        folder = os.path.join(tree.path, os.path.dirname(provision.LEDGER))
        if os.path.isdir(folder):
            left |= {name for name in os.listdir(folder) if not name.startswith("ledger.db")}
        return left


class Apply(Sweep):
    """uidpool-provision itself."""

    def setUp(self):
        super().setUp()
        if provision.is_sanitized():
            self.skipTest("without the sanitizers: their system calls are not ours")
        self.trees = [Tree(os.path.join(self.dir, f"tree{i}")) for i in range(WORKERS)]
        for tree in self.trees:
            tree.copy_from(provision.BASE)

    def config(self, text, name="config"):
        folder = os.path.join(self.dir, name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "uidpool.conf"), "w", encoding="ascii") as file:
            file.write(text)
        return f"--config={folder}"

    def begin(self, *args, before=()):
        """Bring all trees to the state before, and see what the undisturbed run makes of it."""
        self.args = args
        for tree in self.trees:
            for run in before:
                self.exits(0, tree.run(*run))
        self.saved = {tree: tree.save() for tree in self.trees}
        tree = self.trees[0]
        self.before = {name: tree.read(name) for name in FILES}
        names = tree.names()
        self.right = {name: {tree.read(name)} for name in (*FILES, *BACKUPS) if name in names}
        run = strace([], tree.command(*args), tree.path + ".trace")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.calls = calls_of(tree.path + ".trace")
        self.after = {name: tree.read(name) for name in FILES}
        self.looks = {name: tree.look(name)[:4] for name in FILES}
        self.names = tree.names()
        for name in {*FILES, *BACKUPS} & self.names:
            self.right.setdefault(name, {self.before.get(name[:-1])}).add(tree.read(name))
        self.ledger = tree.ledger()
        self.assertFalse(self.leftovers(tree))
        self.assertGreaterEqual(self.names, {n for n in names if not provision.is_leftover(n)})

    def whole(self, tree):
        """At any moment every file, and every backup, is the old or the new one."""
        names = tree.names()
        for name in (*FILES, *BACKUPS):
            if name in self.right and (name in names or name in FILES) and \
                    tree.read(name) not in self.right[name]:
                return f"{name} is torn"
        return None

    def closed(self, tree):
        """At no moment is there an account of ours that a password opens."""
        for names, passwords in (("passwd", "shadow"), ("group", "gshadow")):
            locked = {fields[0] for fields in parse(tree.read(passwords)) if fields[1][:1] in "!*"}
            ours = {fields[0] for fields in parse(tree.read(names))} - \
                {fields[0] for fields in parse(self.before[names])}
            if not ours <= locked:
                return f"{names} has {ours - locked}, which {passwords} does not lock"
        return None

    def mended(self, tree):
        """One more run."""
        run = tree.run(*self.args)
        if run.returncode:
            return f"the next run: exit {run.returncode}: {run.stderr}"
        for name in FILES:
            if tree.read(name) != self.after[name]:
                return f"{name} differs: {tree.read(name).decode()[-600:]}"
            if tree.look(name)[:4] != self.looks[name]:
                return f"owner or mode of {name}"
        if tree.ledger() != self.ledger:
            return "the ledger differs:\n" + "\n".join(
                ["expected", *self.ledger, "found", *tree.ledger()])
        if tree.names() - self.names or self.leftovers(tree):
            return f"left over: {tree.names() - self.names | self.leftovers(tree)}"
        return None

    def check_kill(self, point, tree):
        tree.restore(self.saved[tree])
        run = self.inject(point, tree, tree.command(*self.args))
        if run.returncode != -9:
            return f"was not killed: exit {run.returncode}: {run.stderr}"
        return self.whole(tree) or self.closed(tree) or self.mended(tree)

    def check_error(self, point, tree):
        tree.restore(self.saved[tree])
        run = self.inject(point, tree, tree.command(*self.args))
        found = self.whole(tree)
        if found:
            return found
        now = {name: tree.read(name) for name in FILES}
        # Then it cannot say anything either.
        mute = point.call == "write" and "+" in point.number
        if run.returncode == 0:
            if now != self.after:
                return "it says that all is well"
        elif run.returncode not in (1, 7, 9) or \
                not (mute or run.stderr.startswith("uidpool-provision: ")):
            return f"exit {run.returncode}: {run.stdout}{run.stderr}"
        elif mute:
            pass
        elif now != self.before and "rename" not in point.call and "sync" not in point.call and \
                not any(words in run.stderr for words in DONE):
            return f"{run.stderr}: and it changed something"
        # But for what is taken away, and the door to the files.
        if run.returncode == 0 and "unlink" not in point.call and ".lock" not in point.path and \
                re.search(r"/etc/\.?(passwd|shadow|group|gshadow|sub)", point.path):
            return "nobody noticed"
        return self.mended(tree)

    def sweep(self, kill=True, error=True):
        if kill:
            self.at_each(kills(self.calls), self.trees, self.check_kill)
        if error:
            self.at_each(errors(self.calls), self.trees, self.check_error)

    def test_first_run(self):
        self.begin(self.config(LIBXL), "apply")
        self.sweep()

    def test_account_per_domid(self):
        self.begin(self.config(DOMIDS), "apply")
        self.sweep(error=False)

    def test_passwords_that_wait(self):
        """Of accounts that were there once."""
        for tree in self.trees:
            tree.write("shadow", tree.read("shadow") + b"xen-domid1:$y$secret:19700::::::\n")
            tree.write("gshadow", tree.read("gshadow") + b"xen-domid2:$6$secret::alice\n")
        self.begin(self.config(DOMIDS), "apply")
        self.sweep(error=False)

    def test_settings_change(self):
        self.begin(self.config(VM_LATER, "later"), "apply",
                   before=[(self.config(VM), "apply"), (self.config(VM), "user", "add", "vm-a")])
        self.sweep(error=False)

    def test_user_add(self):
        self.begin(self.config(VM), "user", "add", "vm-web", before=[(self.config(VM), "apply")])
        self.sweep()

    def test_user_add_before_anything(self):
        self.begin(self.config(VM), "user", "add", "vm-web")
        self.sweep(error=False)

    def test_user_remove(self):
        self.begin(self.config(VM), "user", "remove", "vm-web",
                   before=[(self.config(VM), "user", "add", "vm-web")])
        self.sweep(error=False)

    def test_user_add_again(self):
        self.begin(self.config(VM), "user", "add", "vm-web",
                   before=[(self.config(VM), "user", "add", "vm-web"),
                           (self.config(VM), "user", "remove", "vm-web")])
        self.sweep(error=False)

    def test_retire(self):
        self.begin(self.config(VM), "retire", "vm",
                   before=[(self.config(VM), "user", "add", "vm-web")])
        self.sweep(error=False)

    def test_mending(self):
        """It is killed while it mends what others left, and takes away their locks."""
        for tree in self.trees:
            tree.write("passwd", tree.read("passwd") + b"bob:x:1001:1001::/home/bob:/bin/sh\n")
            tree.write("group", tree.read("group") + b"staff:x:50:\n")
            tree.write("passwd.lock", "4194303")
            tree.write("passwd.4194303", "4194303")
            tree.write("group.lock", "")
            tree.write("shadow+", "half a")
            tree.write(".#gshadowAbCdEf", "half a")
        self.begin(self.config(LIBXL), "apply")
        self.sweep(error=False)

    def test_a_read_that_ends_too_early(self):
        """As where somebody writes into a file in place."""
        tree = self.trees[0]
        config = self.config(LIBXL)
        before = {name: tree.read(name) for name in FILES}
        for name in FILES:
            run = strace(["-P", tree.etc(name), "-e", "inject=read:retval=0:when=1"],
                         tree.command(config, "apply"), tree.path + ".trace")
            self.assertEqual(run.returncode, 1, f"{name}: {run.stdout}{run.stderr}")
            self.assertIn(f"/etc/{name}", run.stderr)
            self.assertEqual({name: tree.read(name) for name in FILES}, before)

    def test_it_sees_a_torn_file(self):
        """That the sweep can find something."""
        self.begin(self.config(LIBXL), "apply")
        tree = self.trees[1]
        tree.write("shadow", self.before["shadow"][:-5])
        self.assertEqual(self.whole(tree), "shadow is torn")
        self.assertIsNotNone(self.mended(tree))


FOREIGN = "carol:pass:1001:1001::/home:/bin/sh\ndave:pass:1002:1002::/home:/bin/sh\n"
OWN = "".join(f"xen-domid{i}:pass:{BASE + i}:{BASE + i}::/home:/bin/sh\n" for i in range(3))


class Tools(Sweep):
    """The tools that share the files with us, in a real Debian."""
    tmpfs = "size=1g"

    def setUp(self):
        super().setUp()
        global debian
        if provision.is_sanitized():
            self.skipTest("the sanitizers' runtime needs /proc, which this chroot has not")
        debian = debian or provision.Debian()
        self.trees = [debian.tree(self, f"tree{i}") for i in range(WORKERS)]
        for tree in self.trees:
            os.mkdir(tree.etc("uidpool"))
            with open(tree.etc("uidpool/uidpool.conf"), "w", encoding="ascii") as file:
                file.write(DOMIDS)

    def file(self, name, text):
        for tree in self.trees:
            path = tree.path + name
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as file:
                file.write(text)

    def command(self, tree):
        return ["chroot", tree.path, *self.tool]

    def begin(self, *tool):
        self.tool = tool
        self.saved = {tree: tree.save() for tree in self.trees}
        tree = self.trees[0]
        # As each run finds it: no file comes from the layer below any more.
        tree.restore(self.saved[tree])
        self.before = {name: tree.read(name).splitlines() for name in FILES}
        run = strace([], self.command(tree), tree.path + ".trace")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.calls = calls_of(tree.path + ".trace")
        self.torn = 0
        self.at_each(kills(self.calls), self.trees, self.check)
        print(f"{self.torn} left something behind", flush=True)
        self.assertGreater(self.torn, 3, "no kill left anything to be mended")

    @staticmethod
    def users(tree):
        return {line[0]: line for line in parse(tree.read("passwd"))}

    def ours(self, tree):
        """Are our accounts there, and right?"""
        users = self.users(tree)
        groups = {line[0]: line for line in parse(tree.read("group"))}
        shadow = {line[0]: line for line in parse(tree.read("shadow"))}
        gshadow = {line[0]: line for line in parse(tree.read("gshadow"))}
        for i in range(3):
            name, number = f"xen-domid{i}", str(BASE + i)
            if users[name][1:4] != ["x", number, number] or groups[name][1:3] != ["x", number]:
                return f"{users[name]} {groups[name]}"
            if shadow[name][1][:1] not in ("!", "*") or gshadow[name][1][:1] not in ("!", "*"):
                return f"{name} could log in"
        return None

    def check(self, point, tree):
        tree.restore(self.saved[tree])
        run = self.inject(point, tree, self.command(tree))
        if run.returncode != -9 and run.returncode != 137:
            return f"was not killed: exit {run.returncode}: {run.stderr}"
        self.torn += bool(self.leftovers(tree) or tree.sound())
        run = tree.chroot("uidpool-provision", "--offline", "apply")
        if run.returncode:
            return f"apply: exit {run.returncode}: {run.stderr}"
        wrong = tree.sound() or self.ours(tree) or self.lost(tree)
        if wrong or self.leftovers(tree):
            return wrong or f"left over: {self.leftovers(tree)}"
        run = tree.chroot("uidpool-provision", "--offline", "plan")
        if run.stdout or run.returncode:
            return f"and still a plan: {run.stdout}"
        # It may be told that they exist; but it is not locked out.
        run = tree.chroot(*self.tool)
        if "lock" in run.stderr:
            return f"{self.tool[0]} again: {run.stderr}"
        # Newusers has given them its passwords.
        run = tree.chroot("uidpool-provision", "--offline", "apply")
        if run.returncode:
            return f"apply again: exit {run.returncode}: {run.stderr}"
        return tree.sound() or self.ours(tree)

    def lost(self, tree):
        for name, lines in self.before.items():
            gone = set(lines) - set(tree.read(name).splitlines())
            if gone:
                return f"lost of {name}: {gone}"
        return None

    def test_useradd(self):
        self.begin("useradd", "-M", "carol")

    def test_groupadd_of_ours(self):
        self.begin("groupadd", "-g", str(BASE), "xen-domid0")

    def test_useradd_of_ours(self):
        for tree in self.trees:
            self.exits(0, tree.chroot("groupadd", "-g", BASE, "xen-domid0"))
        self.begin("useradd", "-l", "-r", "-u", str(BASE), "-g", str(BASE), "xen-domid0")

    def test_newusers(self):
        self.file("/tmp/users", FOREIGN)
        self.begin("newusers", "/tmp/users")

    def test_newusers_of_ours(self):
        self.file("/tmp/users", OWN)
        self.begin("newusers", "/tmp/users")

    def test_sysusers(self):
        self.file("/usr/lib/sysusers.d/a.conf", 'u carol 501\nu dave 502\ng staff2 503\n')
        self.begin("systemd-sysusers")

    def test_sysusers_of_ours(self):
        """The range is chosen anew each time: what stands there already says where."""
        self.file("/etc/uidpool/uidpool.conf", DOMIDS.replace(f"Base={BASE}", "Base=auto"))
        lines = self.exits(0, self.trees[0].chroot("uidpool-provision", "--offline", "sysusers"))
        self.file("/usr/lib/sysusers.d/a.conf", lines.stdout)
        self.begin("systemd-sysusers")


if __name__ == "__main__":
    if not shutil.which("strace"):
        print("SKIP: needs strace")
        sys.exit(77)
    provision.main()
