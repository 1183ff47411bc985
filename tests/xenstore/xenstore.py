# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of following xenstore share: a real xenstore daemon under a stand-in for the
hypervisor (xenstored-test), what a toolstack does to it, and the helper uidpool-xenwatch."""
import ctypes
import glob
import os
import signal
import socket
import subprocess

import support

HERE = os.path.dirname(os.path.abspath(__file__))
SHIM = os.path.join(support.BUILD, "tests", "xenstore", "fake-xen.so")
XENWATCH = os.path.join(support.BUILD, "allocator", "helpers", "uidpool-xenwatch")
DAEMONS = {"c": "xenstored", "ocaml": "oxenstored"}
MARKER = "/tool/uidpool/since"


def program(name):
    found = sorted(glob.glob(f"/usr/lib/xen-*/bin/{name}"))
    return found[-1] if found else None


def why_not():
    """Why there can be no such tests here, or None."""
    if not os.path.exists(XENWATCH):
        return "uidpool-xenwatch is not built: no libxenstore"
    if not os.path.exists(SHIM):
        return "no headers of Xen to build the stand-in for a hypervisor with"
    for name in (*DAEMONS.values(), "xenstore-control"):
        if not program(name):
            return f"no {name}"
    return None


def load():
    lib = ctypes.CDLL("libxenstore.so.4", use_errno=True)
    handle, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
            ("xs_open", handle, [ctypes.c_ulong]),
            ("xs_close", None, [handle]),
            ("xs_read", handle, [handle, ctypes.c_uint32, text, ctypes.POINTER(ctypes.c_uint)]),
            ("xs_write", ctypes.c_bool, [handle, ctypes.c_uint32, text, text, ctypes.c_uint]),
            ("xs_rm", ctypes.c_bool, [handle, ctypes.c_uint32, text]),
            ("xs_introduce_domain", ctypes.c_bool,
             [handle, ctypes.c_uint, ctypes.c_ulong, ctypes.c_uint]),
            ("xs_is_domain_introduced", ctypes.c_bool, [handle, ctypes.c_uint])):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


class Store:
    """One daemon, "c" or "ocaml", in a directory of its own. It is not running yet."""
    lib = None
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]

    def __init__(self, flavour, folder):
        Store.lib = Store.lib or load()
        self.flavour = flavour
        self.folder = folder
        self.socket = os.path.join(folder, "socket")
        self.domains = os.path.join(folder, "domains")
        self.handle = None
        self.domids = set()

    def tool(self, *args):
        env = {**os.environ, "FAKE_XEN_SO": SHIM}
        env.pop("XENSTORED_PATH", None)
        run = subprocess.run([os.path.join(HERE, "xenstored-test"), *args], text=True, check=False,
                             env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             timeout=60)
        if run.returncode:
            raise AssertionError(f"xenstored-test {args}: exit {run.returncode}")
        return run.stdout

    # The daemon.

    def start(self):
        self.tool("start", self.flavour, self.folder)
        return self

    def crash(self):
        """SIGKILL: all that it knew is lost."""
        self.disconnect()
        self.tool("crash", self.folder)

    def stop(self):
        self.disconnect()
        self.tool("stop", self.folder)

    @property
    def pid(self):
        with open(os.path.join(self.folder, "daemon.pid"), encoding="ascii") as file:
            return int(file.read())

    def freeze(self):
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def live_update(self):
        """The daemon executes itself anew, and keeps its state and its connections."""
        def arguments():
            with open(f"/proc/{self.pid}/cmdline", "rb") as file:
                return file.read().split(b"\0")
        env = {**os.environ, "XENSTORED_PATH": self.socket, "XENSTORED_RUNDIR": self.folder}
        run = subprocess.run([program("xenstore-control"), "live-update",
                              program(DAEMONS[self.flavour])], env=env, text=True,
                             capture_output=True, check=False, timeout=60)
        if run.returncode:
            raise AssertionError(f"live-update: {run.stdout}{run.stderr}")
        support.poll(lambda: {b"-U", b"--live"} & set(arguments()), "the daemon's new life")

    # A client.

    def connect(self):
        if not self.handle:
            os.environ["XENSTORED_PATH"] = self.socket
            self.handle = self.lib.xs_open(0)
            assert self.handle, "no connection"
        return self.handle

    def disconnect(self):
        if self.handle:
            self.lib.xs_close(self.handle)
            self.handle = None

    def write(self, path, value):
        value = str(value).encode()
        assert self.lib.xs_write(self.connect(), 0, path.encode(), value, len(value)), path

    def read(self, path):
        """The value, or None."""
        length = ctypes.c_uint()
        found = self.lib.xs_read(self.connect(), 0, path.encode(), ctypes.byref(length))
        if not found:
            return None
        value = ctypes.string_at(found, length.value).decode()
        self.libc.free(found)
        return value

    def remove(self, path):
        self.lib.xs_rm(self.connect(), 0, path.encode())

    # The hypervisor, and what libxl does in this order.

    def create(self, domid, uuid=None, name=None, introduce=True):
        with open(os.path.join(self.domains, str(domid)), "w", encoding="ascii"):
            pass
        home = f"/local/domain/{domid}"
        self.write(f"{home}/domid", domid)
        if uuid:
            self.write(f"{home}/vm", f"/vm/{uuid}")
        if name:
            self.write(f"{home}/name", name)
        self.domids.add(domid)
        if introduce:
            self.introduce(domid)

    def introduce(self, domid):
        assert self.lib.xs_introduce_domain(self.connect(), domid, 1, 1), domid

    def is_introduced(self, domid):
        return self.lib.xs_is_domain_introduced(self.connect(), domid)

    def shut_down(self, domid):
        with open(os.path.join(self.domains, str(domid)), "w", encoding="ascii") as file:
            file.write("shutdown\n")

    def kill(self, domid):
        """As Xen does it: the toolstack has not done its part."""
        os.unlink(os.path.join(self.domains, str(domid)))
        self.domids.discard(domid)

    def destroy(self, domid):
        """As libxl: the domain's directory goes first."""
        self.remove(f"/local/domain/{domid}")
        self.kill(domid)

    def kill_uid_path(self, domid):
        return f"/local/domain/{domid}/image/device-model-kill-uid"


class Watch:
    """The helper, as the daemon has it."""

    def __init__(self, *args, log=None):
        self.socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(support.LIMIT)
        self.connection = 0
        with its:
            fd = its.fileno()

            def arrange():
                os.dup2(fd, 3) if fd != 3 else os.set_inheritable(3, True)
            self.process = subprocess.Popen([XENWATCH, *args], stdin=subprocess.DEVNULL, env={},
                                            close_fds=False, preexec_fn=arrange, stderr=log)

    def say(self, text, *fds):
        socket.send_fds(self.socket, [text.encode()], fds)

    def hear(self):
        """The next message but signs of life; None at the end."""
        while True:
            text = self.socket.recv(2048).decode()
            if text != "alive":
                return text or None

    def scan(self):
        """The next whole scan, as the lines between; connections that fail are passed over."""
        lines = None
        while True:
            text = self.hear()
            assert text is not None, "the helper has ended"
            if text.startswith("scan "):
                self.connection = int(text.split()[1])
                lines = []
            elif text.startswith("down"):
                lines = None
            elif text == "end" and lines is not None:
                return lines
            elif lines is not None:
                lines.append(text)

    def until(self, condition, what):
        """Scans until one is as wanted; its lines."""
        for _ in range(1000):
            lines = self.scan()
            if condition(lines):
                return lines
        raise AssertionError(f"a thousand scans without {what}")

    def ask(self, domid, uuid="-"):
        """The answer, "" if there is none."""
        read, write = os.pipe()
        with os.fdopen(read, "rb") as file:
            self.say(f"ask {self.connection} {domid} {uuid}", write)
            os.close(write)
            return file.read().decode()

    def end(self):
        self.socket.close()
        return self.process.wait(timeout=support.LIMIT)
