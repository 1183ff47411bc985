#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of uidpool-provision: what it refuses and how, its help, --root and --config,
what happens to output that cannot be written, that systemd-sysusers takes its lines; and that
manual and completions keep up."""
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

import provision
import support
from provision import ENVIRONMENT, FILES, PROGRAM, Tree, TreeCase

POOLS = os.path.join(support.TOP, "data", "pools.d")
COMPLETION = os.path.join(support.TOP, "data", "completions", "bash", "uidpool-provision")
MANUAL = os.path.join(support.TOP, "docs", "uidpool-provision.8")
VERBS = ["plan", "apply", "check", "sysusers", "user add", "user remove", "retire"]
NOBODY = 2114715648  # as whom the program is to be refused


def run(*args, **options):
    options = {"stdout": subprocess.PIPE, "env": ENVIRONMENT, **options}
    return subprocess.run([PROGRAM, *map(str, args)], stdin=subprocess.DEVNULL, text=True,
                          stderr=subprocess.PIPE, timeout=60, check=False, **options)


class Help(unittest.TestCase):
    def helps(self, *args):
        answer = run(*args)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""), args)
        return answer.stdout

    def test_general_help_lists_every_verb_and_no_other(self):
        text = self.helps("help")
        self.assertEqual(re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", text, re.M), VERBS)
        self.assertEqual(self.helps("--help"), text)
        self.assertIn("uidpool-provision(8)", text)

    def test_every_verb_has_help(self):
        for verb in VERBS:
            with self.subTest(verb):
                text = self.helps("help", *verb.split())
                self.assertTrue(text.startswith(f"usage: uidpool-provision [OPTION...] {verb}"),
                                text)
                self.assertEqual(self.helps(*verb.split(), "--help"), text)
                usage = text.splitlines()[0]
                for option in re.findall(r"--[a-z]+", usage):
                    self.assertRegex(text, rf"(?m)^ {{6}}{option}\b", "is not explained")

    def test_half_a_verb(self):
        self.assertEqual(self.helps("help", "user").count("usage: "), 2)

    def test_version(self):
        self.assertRegex(self.helps("--version"), r"\Auidpool-provision \d+\.\d+\.\d+\n\Z")


# Arguments, and what the message must say: the culprit, and what would be right.
WRONG = [
    ([], "usage", "VERB"),
    (["nonsense"], "nonsense", "uidpool-provision help"),
    (["user"], "one more word", "user remove"),
    (["user", "frob"], "user frob", "uidpool-provision help"),
    (["help", "plan", "x"], "'x'", "too many"),
    (["plan", "x"], "'x'", "too many"),
    (["plan", "--nonsense"], "--nonsense", "unknown"),
    (["plan", "-x"], "plan: unknown option '-x'", "uidpool-provision help"),
    (["-x", "plan"], "uidpool-provision: unknown option '-x'", "uidpool-provision help"),
    (["--root", "plan"], "verb is missing", "usage"),
    (["plan", "--js"], "--json", "in full"),
    (["plan", "--json", "--json"], "--json", "twice"),
    (["--root=/", "plan", "--root=/"], "--root", "twice"),
    (["plan", "--json=yes"], "--json", "no value"),
    (["plan", "-q", "-v"], "--quiet", "--verbose"),
    (["plan", "--root="], "--root", "a path"),
    (["plan", "--root"], "--root", "value"),
    (["plan", "--config="], "--config", "a path"),
    (["plan", "--files=tmp"], "--files", "absolute"),
    (["plan", "--files="], "--files", "absolute"),
    (["plan", *["--files=/tmp"] * 33], "--files", "32"),
    (["--files=/tmp", "plan"], "--files", "behind the verb"),
    (["plan", "--timeout=-1"], "--timeout", "seconds"),
    (["plan", "--timeout=1y"], "--timeout", "seconds"),
    (["plan", "--pool=x"], "--pool", "takes no"),
    (["plan", "--ledger=x"], "--ledger", "unknown"),
    (["sysusers", "--json"], "sysusers", "--json"),
    (["user", "add"], "argument", "NAME"),
    (["user", "add", "a", "b"], "'b'", "too many"),
    (["user", "add", ""], "''", "31"),
    (["user", "add", "Alice"], "'Alice'", "lower-case"),
    (["user", "add", "a" * 32], "account name", "31"),
    (["user", "add", "a:b"], "a:b", "31"),
    (["user", "add", "a\nb"], "a?b", "31"),
    (["user", "add", "-a"], "-a", "unknown"),
    (["user", "add", "a", "--uid=0"], "--uid", "2147483647"),
    (["user", "add", "a", "--uid=4294967295"], "--uid", "2147483647"),
    (["user", "add", "a", "--pool=a b"], "--pool", "63"),
    (["user", "remove", "a", "--uid=5"], "--uid", "takes no"),
    (["retire"], "argument", "POOL"),
    (["retire", "a b"], "pool name", "63"),
    (["retire", "a", "--timeout=5"], "--timeout", "takes no"),
]


class Refusals(TreeCase):
    def test_wrong_usage(self):
        tree = Tree(os.path.join(self.dir, "root"))
        tree.copy_from(provision.BASE)
        before = tree.digest()
        for args, *words in WRONG:
            given = args if any(a.startswith("--root") for a in args) or not args else \
                [f"--root={tree.path}", *args]
            answer = run(*given)
            with self.subTest(args=[a[:40] for a in args][:4]):
                self.assertEqual((answer.returncode, answer.stdout), (2, ""), answer.stderr)
                for word in words:
                    self.assertIn(word, answer.stderr)
                self.assertLess(len(answer.stderr), 2000, "echoes too much of what was wrong")
        self.assertEqual(tree.digest(), before)


class Root(TreeCase):
    def setUp(self):
        super().setUp()
        self.tree = Tree(os.path.join(self.dir, "root"))
        self.tree.copy_from(provision.BASE)

    def fails(self, status, *args):
        answer = run(*args)
        self.assertEqual((answer.returncode, answer.stdout), (status, ""), answer.stderr)
        self.assertEqual(len(answer.stderr.splitlines()), 1, answer.stderr)
        self.assertTrue(answer.stderr.startswith("uidpool-provision: "), answer.stderr)
        return answer.stderr

    def profile(self, *names, folder=None):
        folder = folder or os.path.join(self.dir, "config")
        os.makedirs(os.path.join(folder, "uidpool.conf.d"), exist_ok=True)
        for name in names:
            shutil.copy(os.path.join(POOLS, name), os.path.join(folder, "uidpool.conf.d"))
        return folder

    def test_no_such_root(self):
        for path, why in ((f"{self.dir}/nowhere", "No such file"),
                          (self.tree.etc("passwd"), "Not a directory")):
            message = self.fails(1, f"--root={path}", "plan")
            self.assertIn(path, message)
            self.assertIn(why, message)

    def test_no_such_config(self):
        message = self.fails(1, f"--root={self.tree.path}", f"--config={self.dir}/nowhere", "plan")
        self.assertIn(f"{self.dir}/nowhere", message)

    def test_root_may_be_relative(self):
        config = self.profile("vmm.conf")
        answer = run("--root=root", "--config=config", "plan", cwd=self.dir)
        self.assertEqual(answer.returncode, 10, answer.stderr)
        self.assertEqual(answer.stdout,
                         self.tree.run(f"--config={config}", "plan").stdout)

    def test_nothing_is_mounted_for_the_boot_id(self):
        """It is asked before the root directory changes, so that this may be all one has."""
        if not shutil.which("setpriv"):
            self.skipTest("setpriv is not installed")
        config = self.profile("vmm.conf")
        answer = subprocess.run(["setpriv", "--bounding-set=-sys_admin",
                                 *self.tree.command(f"--config={config}", "apply")],
                                env=ENVIRONMENT, capture_output=True, text=True, check=False)
        self.assertEqual(answer.returncode, 0, answer.stderr)

    def test_root_implies_offline(self):
        """The processes that are seen there are this system's."""
        base = NOBODY + 65536
        stranger = subprocess.Popen(["setpriv", f"--reuid={base + 5}", "--clear-groups", "cat"],
                                    stdin=subprocess.PIPE)
        self.addCleanup(stranger.communicate)
        support.poll(lambda: os.stat(f"/proc/{stranger.pid}").st_uid == base + 5, "the stranger")
        os.mkdir(os.path.join(self.tree.path, "proc"))
        subprocess.run(["mount", "-t", "proc", "proc", f"{self.tree.path}/proc"], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", f"{self.tree.path}/proc"], check=True)
        config = self.profile()
        with open(os.path.join(config, "uidpool.conf"), "w", encoding="ascii") as file:
            file.write(f"[pool p]\nBase={base}\nSize=10\n")
        self.exits(10, self.tree.run(f"--config={config}", "plan"))

    def test_who_holds_a_lock_is_named(self):
        """Though there is no /proc below the root to ask for his command."""
        config = self.profile("vmm.conf")
        sleeper = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        self.addCleanup(sleeper.communicate)
        self.tree.write("group.lock", f"{sleeper.pid}\0")
        answer = self.exits(1, self.tree.run(f"--config={config}", "apply", "--timeout=0"))
        self.assertIn(f"process {sleeper.pid} (cat) holds /etc/group.lock", answer.stderr)

    def test_leftovers_alone(self):
        """plan says what apply removes, also where nobody has ever locked."""
        config = self.profile()
        self.tree.write("passwd.lock", "")
        planned = self.exits(10, self.tree.run(f"--config={config}", "plan"))
        self.assertRegex(planned.stdout, r"\A- /etc/passwd\.lock \(.*\)\n\Z")
        self.assertEqual(self.exits(0, self.tree.run(f"--config={config}", "apply")).stdout,
                         planned.stdout)
        self.exits(0, self.tree.run(f"--config={config}", "check"))

    def test_config_is_the_caller_s_and_the_layers_are_the_root_s(self):
        config = self.profile("libxl.conf")
        self.profile("vmm.conf", folder=os.path.join(self.tree.path, "etc", "uidpool"))
        self.assertIn("+pool xen-qemuuser:", self.tree.run(f"--config={config}", "plan").stdout)
        answer = self.tree.run("plan")
        self.assertIn("+pool vmm:", answer.stdout)
        self.assertNotIn("xen-qemuuser", answer.stdout)

    def test_a_boolean_for_cron(self):
        config = self.profile("libxl.conf")
        self.exits(10, self.tree.run(f"--config={config}", "-q", "plan"))
        self.exits(10, self.tree.run(f"--config={config}", "-q", "check"))
        applied = self.exits(0, self.tree.run(f"--config={config}", "-q", "apply"))
        self.assertEqual((applied.stdout, applied.stderr), ("", ""))
        for verb in ("plan", "check"):
            looked = self.exits(0, self.tree.run(f"--config={config}", verb))
            self.assertEqual((looked.stdout, looked.stderr), ("", ""))

    def test_no_pool_at_all(self):
        """No error, for a package's script; but somebody may have forgotten a link."""
        for args in (["plan"], ["apply"], ["check"]):
            quiet = self.exits(0, self.tree.run(*args))
            self.assertEqual((quiet.stdout, quiet.stderr), ("", ""))
            loud = self.exits(0, self.tree.run("-v", *args))
            self.assertIn("no section [pool NAME]; see uidpool.conf(5)", loud.stderr)

    def test_apply_prints_what_plan_did(self):
        config = self.profile("libxl.conf")
        planned = self.exits(10, self.tree.run(f"--config={config}", "plan"))
        applied = self.exits(0, self.tree.run(f"--config={config}", "apply"))
        self.assertEqual(applied.stdout, planned.stdout)
        again = self.exits(0, self.tree.run(f"--config={config}", "apply"))
        self.assertEqual((again.stdout, again.stderr), ("", ""))
        loud = self.exits(0, self.tree.run(f"--config={config}", "-v", "apply"))
        self.assertEqual((loud.stdout, len(loud.stderr.splitlines())), ("", 1))

    def test_json(self):
        config = self.profile("libxl.conf")
        for verb, status, changed in (("plan", 10, True), ("check", 10, True), ("apply", 0, True),
                                      ("apply", 0, False), ("check", 0, False)):
            answer = self.exits(status, self.tree.run(f"--config={config}", "--json", verb))
            told = json.loads(answer.stdout)
            self.assertEqual((told["verb"], told["changed"], answer.stdout.count("\n")),
                             (verb, changed, 1))
            self.assertEqual(set(told), {"verb", "changed", "files", "ledger", "leftovers", "pools",
                                         "conflicts", "drifts", "warnings"})
            self.assertEqual(sorted(os.path.basename(file["file"]) for file in told["files"]),
                             sorted(FILES) if changed else [])
        with open(self.tree.etc("group"), "a", encoding="ascii") as file:
            file.write("mallory:*:2113929217:\n")
        answer = self.exits(10, self.tree.run(f"--config={config}", "--json", "check"))
        told = json.loads(answer.stdout)
        self.assertIn("mallory", told["drifts"][0])
        self.assertFalse(told["changed"])

    def test_conflicts_in_json_change_nothing(self):
        config = self.profile("libxl.conf")
        with open(self.tree.etc("group"), "a", encoding="ascii") as file:
            file.write("xen-qemuuser-range-base:x:77:\n")
        before = self.tree.digest()
        planned = self.exits(4, self.tree.run(f"--config={config}", "--json", "plan"))
        self.assertTrue(json.loads(planned.stdout)["changed"])
        applied = self.exits(4, self.tree.run(f"--config={config}", "--json", "apply"))
        told = json.loads(applied.stdout)
        self.assertEqual((told["changed"], told["files"], told["ledger"]), (False, [], []))
        self.assertEqual(told["conflicts"], json.loads(planned.stdout)["conflicts"])
        self.assertIn("gid 77", told["conflicts"][0])
        self.assertIn("nothing was changed", applied.stderr)
        after = self.tree.digest()
        after.pop(".pwd.lock", None)
        self.assertEqual(after, before)

    def test_user(self):
        config = f"--config={self.profile('vmm.conf')}"
        # Its pool is made as well.
        added = self.exits(0, self.tree.run(config, "user", "add", "swtpm"))
        self.assertRegex(added.stdout, r"\A(\d+):\1\n\Z")
        uid = int(added.stdout.split(":")[0])
        self.assertIn(f"swtpm:x:{uid}:{uid}:".encode(), self.tree.read("passwd"))
        self.assertEqual(self.exits(0, self.tree.run(config, "plan")).stdout, "")
        again = self.exits(0, self.tree.run(config, "--json", "user", "add", "swtpm"))
        self.assertEqual(json.loads(again.stdout), {"name": "swtpm", "uid": uid, "gid": uid,
                                                    "pool": "vmm", "removed": False})
        removed = self.exits(0, self.tree.run(config, "--json", "user", "remove", "swtpm"))
        self.assertTrue(json.loads(removed.stdout)["removed"])
        taken = self.exits(4, self.tree.run(config, "user", "add", "alice"))
        self.assertIn("another name", taken.stderr)
        self.assertNotIn("userdel", taken.stderr)
        # So it is with the uid; and what was removed beside is not printed in place of one.
        self.tree.write("passwd.lock", "")
        taken = self.exits(4, self.tree.run(config, "user", "add", "tpm2", f"--uid={uid}"))
        self.assertIn("take another with --uid", taken.stderr)
        self.assertEqual(taken.stdout, "")

    def test_retire(self):
        config = f"--config={self.profile('vmm.conf')}"
        self.exits(3, self.tree.run(config, "retire", "vmm"))
        self.exits(0, self.tree.run(config, "-q", "apply"))
        self.exits(3, self.tree.run(config, "retire", "other"))
        before = self.tree.digest()
        self.assertIn("stay", self.exits(0, self.tree.run(config, "retire", "vmm")).stdout)
        again = self.exits(0, self.tree.run(config, "--json", "retire", "vmm"))
        self.assertEqual(json.loads(again.stdout), {"retired": "vmm"})
        self.assertEqual(self.tree.digest(), before)
        # A section for a retired pool does nothing, and says so.
        applied = self.exits(0, self.tree.run(config, "apply"))
        self.assertEqual(applied.stdout, "")
        self.assertIn("vmm is retired", applied.stderr)
        with open(f"{self.dir}/config/uidpool.conf", "w", encoding="ascii") as file:
            file.write("[pool xen]\nSize=50\nBase=2114060288\n")
        self.exits(0, self.tree.run(config, "-q", "apply"))
        self.exits(0, self.tree.run(config, "-q", "retire", "xen"))
        with open(f"{self.dir}/config/uidpool.conf", "w", encoding="ascii") as file:
            file.write("[pool xen]\nSize=60\n")
        pools = json.loads(self.exits(0, self.tree.run(config, "--json", "plan")).stdout)["pools"]
        self.assertIn({"name": "xen", "base": 2114060288, "size": 50, "gid": 2114060288,
                       "state": "retired"}, pools)

    def test_what_was_begun_is_not_retired(self):
        config = f"--config={self.profile('vmm.conf')}"
        self.exits(0, self.tree.run(config, "-q", "apply"))
        with sqlite3.connect(os.path.join(self.tree.path, provision.LEDGER)) as ledger:
            ledger.create_function("uidpool_boot_id", 0, lambda: "0" * 32)
            ledger.execute("INSERT INTO pool (base, size, name, policy, quarantine, follow, resolve, "
                           "retired, next, created_at, provisioning) VALUES (2113994752, 5, "
                           "'begun', 'next', 0, 0, 0, 1, 2113994752, 0, 1)")
        ledger.close()
        answer = self.exits(4, self.tree.run(config, "retire", "begun"))
        self.assertIn("uidpool-provision apply", answer.stderr)

    def test_files_below_which_nobody_may_have_the_ids(self):
        config = f"--config={self.profile('vmm.conf')}"
        os.mkdir(os.path.join(self.tree.path, "srv"))
        os.chown(os.path.join(self.tree.path, "srv"), 2113929220, 0)
        with_base = os.path.join(self.dir, "config", "uidpool.conf.d", "zz.conf")
        with open(with_base, "w", encoding="ascii") as file:
            file.write("[pool vmm]\nBase=2113929216\n")
        answer = self.exits(4, self.tree.run(config, "plan", "--files=/srv"))
        self.assertIn("/srv", answer.stderr)
        self.exits(10, self.tree.run(config, "plan", "--files=/var"))
        self.exits(4, self.tree.run(config, "plan", "--files=/var", "--files=/srv"))


class NotRoot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Where everybody may execute it, wherever it was built.
        cls.folder = tempfile.mkdtemp(prefix="uidpool-test-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        os.chmod(cls.folder, 0o755)
        cls.copy = os.path.join(cls.folder, "uidpool-provision")
        shutil.copy(PROGRAM, cls.copy)

    def run_as(self, *args):
        return subprocess.run([self.copy, *args], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, user=NOBODY, group=NOBODY, extra_groups=[])

    def test_verbs_need_root(self):
        for args in (["plan"], [f"--root={self.folder}", "plan"], ["apply"], ["check"],
                     ["sysusers"], ["user", "add", "x"], ["user", "remove", "x"],
                     ["retire", "x"]):
            answer = self.run_as(*args)
            self.assertEqual((answer.returncode, answer.stdout), (9, ""), args)
            self.assertIn("root", answer.stderr)

    def test_help_does_not(self):
        for args in (["help"], ["--version"], ["user", "add", "--help"]):
            answer = self.run_as(*args)
            self.assertEqual((answer.returncode, answer.stderr), (0, ""), args)

    def test_set_user_id_is_refused(self):
        os.chmod(self.copy, 0o4755)
        self.addCleanup(os.chmod, self.copy, 0o755)
        answer = self.run_as("plan")
        self.assertEqual((answer.returncode, answer.stdout), (9, ""))


class Output(TreeCase):
    """Output that could not be written is a failure, but what was to be done is done."""

    def setUp(self):
        super().setUp()
        self.tree = Tree(os.path.join(self.dir, "root"))
        self.tree.copy_from(provision.BASE)
        self.config = os.path.join(self.dir, "config")
        os.mkdir(self.config)
        shutil.copy(os.path.join(POOLS, "libxl.conf"), f"{self.config}/uidpool.conf")

    def to(self, stdout, *args):
        return subprocess.run(self.tree.command(f"--config={self.config}", *args),
                              stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                              text=True, env=ENVIRONMENT, timeout=60, check=False)

    def test_full(self):
        for args in (["plan"], ["check", "--json"], ["sysusers"], ["help"], ["--version"],
                     ["apply"]):
            with open("/dev/full", "wb") as full:
                answer = self.to(full, *args)
            self.assertEqual(answer.returncode, 1, args)
            self.assertIn("standard output", answer.stderr)
            self.assertEqual("'apply' is done" in answer.stderr, "apply" in args, answer.stderr)
        self.assertIn(b"xen-qemuuser-range-base", self.tree.read("passwd"))
        with open("/dev/full", "wb") as full:
            self.assertEqual(self.to(full, "plan").returncode, 0, "nothing was to be printed")

    def test_closed_pipe(self):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as pipe:
            answer = self.to(pipe, "apply")
        self.assertEqual(answer.returncode, 1, "died of a signal" if answer.returncode < 0 else "")
        self.assertIn(b"xen-qemuuser-range-base", self.tree.read("shadow"))

    def test_closed_descriptors(self):
        """No account file must become descriptor 1."""
        for fd in (0, 1, 2):
            tree = Tree(os.path.join(self.dir, f"root{fd}"))
            tree.copy_from(provision.BASE)
            answer = subprocess.run(
                ["sh", "-c", f'exec "$@" {fd}>&-', "sh",
                 *tree.command(f"--config={self.config}", "apply")],
                env=ENVIRONMENT, capture_output=True, text=True, check=False)
            self.assertEqual(answer.returncode, 1 if fd == 1 else 0, answer.stderr)
            for name in FILES:
                self.assertNotIn(b"@@", tree.read(name))
            self.exits(0, tree.run(f"--config={self.config}", "check"))


class Sysusers(TreeCase):
    """What systemd-sysusers makes of the lines is what apply would have made."""

    def setUp(self):
        super().setUp()
        if not shutil.which("systemd-sysusers"):
            self.skipTest("systemd-sysusers is not installed")

    def trees(self, config):
        """One by systemd-sysusers and one by apply; their lines without dates."""
        for name in ("sysusers", "apply"):
            tree = Tree(os.path.join(self.dir, name))
            tree.copy_from(provision.BASE)
            if name == "apply":
                self.exits(0, tree.run(config, "-q", "apply"))
            else:
                lines = self.exits(0, tree.run(config, "sysusers")).stdout
                run = subprocess.run(["systemd-sysusers", f"--root={tree.path}", "-"], input=lines,
                                     capture_output=True, text=True, check=False)
                self.assertEqual(run.returncode, 0, run.stderr)
            yield tree, {file: re.sub(rb"(?m)^([^:]*:!\*:)\d*:", rb"\1:", tree.read(file))
                         for file in ("passwd", "shadow", "group", "gshadow")}

    def write(self, text):
        folder = os.path.join(self.dir, "config")
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/uidpool.conf", "w", encoding="ascii") as file:
            file.write(text)
        return f"--config={folder}"

    def same(self, config):
        (tree, made), (_, wanted) = self.trees(config)
        for file in wanted:
            self.assertEqual(sorted(made[file].splitlines()), sorted(wanted[file].splitlines()),
                             file)
        # All that is left to do is what the format has no words for.
        plan = self.exits(10, tree.run(config, "plan")).stdout
        self.assertEqual(set(re.findall(r"(?m)^--- (.*)", plan)),
                         {"/etc/subuid", "/etc/subgid", "ledger"})

    def test_range_base(self):
        self.same(self.write("[pool xen]\nSize=32752\nAccounts=range-base shared reaper\n"))

    def test_own_groups(self):
        self.same(self.write("[pool xapi]\nSize=100\nGroup=per-uid\nAccounts=range-base\n"
                             "RangeBase=qemu_base\n"))

    def test_per_domid(self):
        self.same(self.write("[pool old]\nBase=2113929216\nSize=50\nAccounts=per-domid\n"))
        shutil.rmtree(os.path.join(self.dir, "sysusers"))
        shutil.rmtree(os.path.join(self.dir, "apply"))
        self.same(self.write("[pool old]\nBase=2113929216\nSize=50\nGroup=per-uid\n"
                             "Accounts=per-domid\n"))


class Papers(unittest.TestCase):
    """Manual and completions keep up with the program."""

    def test_manual_is_clean(self):
        if not shutil.which("mandoc"):
            self.skipTest("mandoc is not installed")
        lint = subprocess.run(["mandoc", "-Tlint", MANUAL], capture_output=True, text=True,
                              check=False)
        # Which other manuals this machine has is not the manual's fault.
        found = [line for line in (lint.stdout + lint.stderr).splitlines()
                 if "referenced manual not found" not in line and "mandoc.db" not in line]
        self.assertEqual(found, [])

    def test_manual_has_every_verb_option_and_status(self):
        with open(MANUAL, encoding="utf-8") as file:
            manual = file.read()
        for verb in VERBS:
            self.assertRegex(manual, rf"(?m)^\.It (Xo\n\.)?Cm {verb}\b", verb)
            for option in re.findall(r"^ {2}.{4}--([a-z]+)", run("help", *verb.split()).stdout,
                                     re.M):
                self.assertRegex(manual, rf"Fl (\w , )?-{option}\b", verb)
        status = manual[manual.index(".Sh EXIT STATUS"):manual.index(".Sh EXAMPLES")]
        self.assertEqual(re.findall(r"(?m)^\.It (\d+)$", status),
                         ["0", "1", "2", "3", "4", "5", "7", "9", "10"])

    def complete(self, *words):
        script = ('source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); '
                  'COMP_CWORD=$(($# - 1)); _uidpool_provision "$PROGRAM"; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        answer = subprocess.run(["bash", "-c", script, "bash", COMPLETION, "uidpool-provision",
                                 *words], env={**os.environ, "PROGRAM": PROGRAM},
                                capture_output=True, text=True, check=True)
        self.assertEqual(answer.stderr, "")
        return answer.stdout.split()

    def test_bash_completion(self):
        self.assertEqual(set(self.complete("")), {verb.split()[0] for verb in VERBS} | {"help"})
        self.assertEqual(self.complete("--json", "user", ""), ["add", "remove"])
        self.assertEqual(self.complete("help", "user", "r"), ["remove"])
        self.assertEqual(self.complete("plan", "--ti"), ["--timeout="])
        self.assertEqual(self.complete("plan", "--pool"), [])
        self.assertEqual(self.complete("--root", "=", "/et"), ["/etc"])
        self.assertEqual(self.complete("--config", "/et"), ["/etc"])
        self.assertEqual(self.complete("$(touch x)", ""), [])
        for verb in VERBS:
            usage = run("help", *verb.split()).stdout.splitlines()[0]
            offered = {word.rstrip("=") for word in self.complete(*verb.split(), "--")}
            self.assertLessEqual(set(re.findall(r"--[a-z]+", usage)), offered, verb)

    def test_zsh_completion_parses(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        path = os.path.join(support.TOP, "data", "completions", "zsh", "_uidpool-provision")
        parsed = subprocess.run(["zsh", "-n", path], capture_output=True, text=True, check=False)
        self.assertEqual((parsed.returncode, parsed.stderr), (0, ""))


if __name__ == "__main__":
    sys.exit(provision.main())
