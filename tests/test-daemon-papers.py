#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Manuals, completions and the example of uidpoold keep up with the program. UPDATE=1 writes the
interface's text into io.uidpool(7)."""
import math
import os
import re
import shutil
import subprocess
import sys
import unittest

import daemon
import support
from daemon import Daemon
from support import LedgerCase

DOCS = os.path.join(support.TOP, "docs")
MANUAL = os.path.join(DOCS, "uidpoold.8")
INTERFACE_MANUAL = os.path.join(DOCS, "io.uidpool.7")
ROOM = os.path.join(support.TOP, "allocator", "daemon")
CATALOG = os.path.join(support.TOP, "data", "uidpool.catalog")
COMPLETIONS = os.path.join(support.TOP, "data", "completions")
BASE = 2131230720  # of a pool of two


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def options():
    """Those of the program's help, "=" behind those that want a value."""
    run = subprocess.run([daemon.PROGRAM, "--help"], capture_output=True, text=True, check=True)
    return re.findall(r"^  .{4}(--[a-z-]+=?)", run.stdout, re.M)


def interface():
    """The text that the program has."""
    return read(os.path.join(ROOM, "io.uidpool.varlink")).split("\n", 1)[1].rstrip("\n")


def as_mdoc(text):
    return "\n".join(("\\&" if line.startswith((".", "'")) else "") + line.replace("\\", "\\e")
                     for line in text.split("\n"))


class Manuals(unittest.TestCase):
    def test_they_are_clean(self):
        if not shutil.which("mandoc"):
            self.skipTest("mandoc is not installed")
        for manual in (MANUAL, INTERFACE_MANUAL):
            lint = subprocess.run(["mandoc", "-Tlint", manual], capture_output=True, text=True,
                                  check=False)
            # Which other manuals this machine has is not the manual's fault.
            found = [line for line in (lint.stdout + lint.stderr).splitlines()
                     if "referenced manual not found" not in line and "mandoc.db" not in line]
            self.assertEqual(found, [])

    def test_every_option_status_and_variable(self):
        manual = read(MANUAL)
        for option in options():
            self.assertRegex(manual, rf"(?m)^\.It Fl (\w , )?-{option[2:].rstrip('=')}\b", option)
        self.assertIn(".It Ev UIDPOOLD_LOG", manual)

    def test_every_message_id_is_explained(self):
        manual, catalog = read(MANUAL), read(CATALOG)
        ids = re.findall(r'"([0-9a-f]{32})"', read(os.path.join(ROOM, "journal.c")))
        self.assertGreater(len(ids), 5)
        for message_id in ids:
            self.assertIn(message_id, manual)
            self.assertIn(f"-- {message_id}", catalog)
        self.assertEqual(sorted(re.findall(r"[0-9a-f]{32}", manual)), sorted(ids))

    def test_the_interface_is_the_program_s(self):
        manual = read(INTERFACE_MANUAL)
        parts = re.fullmatch(r"(.*\n\.Sh INTERFACE\n.*?\.Bd -literal\n)(.*?)(\n\.Ed\n.*)", manual,
                             re.S)
        if os.environ.get("UPDATE"):
            with open(INTERFACE_MANUAL, "w", encoding="utf-8") as file:
                file.write(parts[1] + as_mdoc(interface()) + parts[3])
            self.skipTest("SKIP: written")
        self.assertEqual(parts[2], as_mdoc(interface()))

    def test_every_method_and_error_is_explained(self):
        manual = read(INTERFACE_MANUAL)
        for name, parameters in re.findall(r"^method (\w+)\((.*?)\) ->", interface(),
                                           re.M | re.S):
            known = re.findall(r"^ +(\w+): ", parameters, re.M)
            heads = re.findall(rf"^\.It Sy {name} Ns (.*)$", manual, re.M)
            self.assertEqual(len(heads), 1, name)
            self.assertEqual(set(re.findall(r"\b[a-z]+\b", heads[0])), set(known), name)
        for name in re.findall(r"^error (\w+)", interface(), re.M):
            self.assertRegex(manual, rf"(?m)^\.It Li io\.uidpool\.{name}\b", name)


    def test_limits_are_the_server_s(self):
        manual = read(INTERFACE_MANUAL)
        limits = re.search(r"server_limits_default = \{(.*?)\};", read(os.path.join(ROOM, "server.c")),
                           re.S)[1]
        limits = dict(re.findall(r"\.(\w+) = ([0-9 *]+),", limits))
        depth = re.search(r"DECODE_DEPTH_MAX (\d+)", read(os.path.join(ROOM, "decode.h")))[1]
        for number, rest in ((limits["connections"], "connections\nin all"),
                             (limits["connections_each"], "connections\nof one uid"),
                             (limits["calls_each"], "calls\nof one uid"),
                             (limits["message"], "bytes\na message"),
                             (limits["output"], "bytes\nof answers"),
                             (limits["receive_sec"], "seconds\nuntil a message"),
                             (limits["send_sec"], "seconds\nuntil a peer"),
                             (depth, "levels\nof objects")):
            number = math.prod(int(factor) for factor in number.split("*"))
            self.assertIn(f"\n.It {number} {rest}", manual)


class Completions(unittest.TestCase):
    def complete(self, *words):
        script = ('source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); '
                  'COMP_CWORD=$(($# - 1)); _uidpoold "$PROGRAM"; printf "%s\\n" "${COMPREPLY[@]}"')
        answer = subprocess.run(["bash", "-c", script, "bash",
                                 os.path.join(COMPLETIONS, "bash", "uidpoold"), "uidpoold", *words],
                                env={**os.environ, "PROGRAM": daemon.PROGRAM}, capture_output=True,
                                text=True, check=True)
        self.assertEqual(answer.stderr, "")
        return answer.stdout.split()

    def test_bash(self):
        self.assertEqual(self.complete("--"), options())
        self.assertEqual(self.complete("--rea"), ["--ready="])
        self.assertEqual(self.complete("--ready", "=", "s"), ["sigstop"])
        self.assertEqual(self.complete("--ready", "="), ["auto", "notify", "sigstop", "fd:"])
        self.assertEqual(self.complete("--ledger", "=", "/etc/fsta"), ["/etc/fstab"])

    def test_zsh_reads(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        subprocess.run(["zsh", "-n", os.path.join(COMPLETIONS, "zsh", "_uidpoold")], check=True)


class Example(LedgerCase):
    """docs/examples/lease.py, as it stands."""

    def ask(self, *args):
        return subprocess.run([sys.executable, "-B", os.path.join(DOCS, "examples", "lease.py"),
                               *args], capture_output=True, text=True, check=False,
                              timeout=support.LIMIT)

    def test_example(self):
        self.add_pool(BASE, 2, policy="domid")
        d = Daemon(self.u, self.dir)
        self.addCleanup(d.kill)
        d.start()
        run = self.ask(d.socket, "1")
        self.assertEqual(run.stdout, f"-runas {BASE + 1}:{BASE}\n"
                                     f"released uid {BASE + 1}: now quarantined\n", run.stderr)
        self.assertEqual(run.returncode, 0)
        run = self.ask(d.socket, "2")
        self.assertEqual(run.returncode, 1)
        self.assertIn("io.uidpool.Exhausted", run.stderr)
        self.assertEqual(d.stop(), 0)


if __name__ == "__main__":
    support.main()
