# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of uidpoold share: the daemon over a ledger of its own, and a Varlink client."""
import json
import os
import select
import signal
import socket
import subprocess

import support

PROGRAM = os.path.join(support.BUILD, "allocator", "daemon", "uidpoold")
ERROR = "io.uidpool."


class Refused(Exception):
    """An error message of the service."""

    def __init__(self, error, parameters):
        super().__init__(f"{error}: {json.dumps(parameters)}")
        self.error = error
        self.parameters = parameters


def is_sanitized():
    with open(PROGRAM, "rb") as file:
        return b"__asan_init" in file.read()


def encode(method, parameters, **flags):
    """A call of io.uidpool, or of the interface that stands before the method, as bytes."""
    if "." not in method:
        method = f"io.uidpool.{method}"
    return json.dumps({"method": method, "parameters": parameters, **flags}).encode() + b"\0"


class Client:
    """One connection."""

    def __init__(self, path, limit=support.LIMIT):
        self.socket = socket.socket(socket.AF_UNIX)
        self.buffer = bytearray()
        try:
            # With a limit it would not wait for a place in a queue that others keep full.
            self.socket.connect(path)
            self.socket.settimeout(limit)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, method, flags=None, **parameters):
        self.socket.sendall(encode(method, parameters, **(flags or {})))

    def receive(self):
        """The next message whatever it says, or None at the end."""
        while b"\0" not in self.buffer:
            piece = self.socket.recv(65536)
            if not piece:
                return None
            self.buffer += piece
        end = self.buffer.index(0)
        text = self.buffer[:end]
        del self.buffer[:end + 1]
        return json.loads(text)

    def answer(self):
        """The next message, which must be one; an error is raised."""
        message = self.receive()
        if message is None:
            raise ConnectionError("closed without an answer")
        if "error" in message:
            raise Refused(message["error"], message.get("parameters", {}))
        return message

    def call(self, method, **parameters):
        self.send(method, **parameters)
        return self.answer()["parameters"]

    def stream(self, method, **parameters):
        """Call with `more`; the parameters of each answer."""
        self.send(method, {"more": True}, **parameters)
        while True:
            message = self.answer()
            yield message["parameters"]
            if not message.get("continues"):
                return


class Daemon:
    """uidpoold over the ledger of a support.Uidpool."""

    def __init__(self, u, folder, *options):
        self.u = u
        self.runtime = os.path.join(folder, "run")
        self.userdb = os.path.join(folder, "userdb")
        self.log = os.path.join(folder, "uidpoold.log")
        self.options = options
        self.process = None

    @property
    def socket(self):
        return os.path.join(self.runtime, "io.uidpool")

    def command(self, *options):
        return [PROGRAM, f"--ledger={self.u.ledger}", f"--config={self.u.config}",
                f"--runtime-dir={self.runtime}", f"--userdb-dir={self.userdb}", *self.options,
                *options]

    def said(self):
        """What it wrote to standard error since the first start."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def start(self, **options):
        """Returns when it says that it is ready."""
        ready, write = os.pipe()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(f"--ready=fd:{write}"),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            pass_fds=[write], **options)
        os.close(write)
        with os.fdopen(ready, "rb") as file:
            if not select.select([file], [], [], support.LIMIT)[0] or file.read() != b"\n":
                self.kill()
                raise AssertionError(f"not ready: {self.said()[-2000:]}")
        return self

    def kill(self):
        """SIGKILL, if it runs."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """SIGTERM. Returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=support.LIMIT)

    def client(self, **options):
        return Client(self.socket, **options)

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) << 10
        raise AssertionError("it has gone")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
