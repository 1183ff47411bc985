#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a toolstack does around a domain's life, over uidpoold's socket; needs nothing but Python.

    ./lease.py [SOCKET [DOMID]]

If the connection breaks before the answer, connect and ask again: the same request gives the same
lease, and a release of what is released already does no harm.
"""
import json
import socket
import sys


def call(peer, method, **parameters):
    """A call and its answer: each a JSON object with a NUL behind it."""
    peer.write(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
    peer.flush()
    text = bytearray()
    while (byte := peer.read(1)) not in (b"\0", b""):
        text += byte
    answer = json.loads(text or b'{"error": "the connection was closed"}')
    if "error" in answer:
        sys.exit(f"{method}: {answer['error']}: {json.dumps(answer.get('parameters'))}")
    return answer["parameters"]


def main(path="/run/uidpool/io.uidpool", domid="5"):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        peer = connection.makefile("rwb")
        lease = call(peer, "io.uidpool.Lease", domid=int(domid))["lease"]
        print(f"-runas {lease['uid']}:{lease['gid']}")  # here a toolstack starts QEMU
        for lease in call(peer, "io.uidpool.Release", domid=int(domid), timeout=60)["released"]:
            print(f"released uid {lease['uid']}: now {lease['state']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
