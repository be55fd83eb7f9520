"""The proxy's process: ``python -m pyjail._egress CONTROL EMBEDDER``, two numbers of fds. docs/adr/0024: the messages.

It ends with its embedder, however that ends: the control socket says so, and should a forked child hold a copy of
that, the embedder's pidfd does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from pyjail._egress import packets
from pyjail._egress.addresses import THREADS
from pyjail._egress.proxy import Proxy
from pyjail._egress.pump import MOST_PIPES
from pyjail._spec.egress import Egress

MOST_MESSAGE = 1 << 18
_MEMORY = 1 << 30
_NOBODY = 65534
_OURS = 2 * MOST_PIPES + THREADS + 64  # fds that are neither listening nor connected, and some more
_AT_ONCE = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_ROOM_FOR_ONE = socket.CMSG_SPACE(4)


class _Said:
    """Packets for one who may be slow to take them; then the socket is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, said: Iterator[bytes]) -> None:
        self.loop, self.sock, self.said = loop, sock, said
        self.next: bytes | None = next(said)
        self.waits = False
        self._write()

    def _write(self) -> None:
        try:
            while self.next is not None:
                self.sock.send(self.next, _AT_ONCE)
                self.next = next(self.said, None)
        except BlockingIOError:
            if not self.waits:
                self.waits = True
                self.loop.add_writer(self.sock, self._write)
            return
        except OSError:  # nobody wants it any more
            pass
        if self.waits:
            self.loop.remove_writer(self.sock)
        self.sock.close()


class Control:
    """What the embedder says."""

    def __init__(self, proxy: Proxy, sock: socket.socket, ended: asyncio.Event) -> None:
        self.proxy, self.sock, self.ended = proxy, sock, ended
        self.policies: dict[int, Egress] = {}
        self.buffer = bytearray(MOST_MESSAGE)
        proxy.loop.add_reader(sock, self._read)

    def _read(self) -> None:
        try:
            count, came, _, _ = self.sock.recvmsg_into([self.buffer], _ROOM_FOR_ONE, _AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            count, came = 0, []
        fds = [int.from_bytes(data[:4], sys.byteorder) for _, _, data in came]
        if not count:
            self.ended.set()
            return
        self._obey(json.loads(self.buffer[:count]), fds)

    def _obey(self, message: dict[str, Any], fds: list[int]) -> None:
        if "run" not in message:
            report = self.proxy.end(message["end"]) if "end" in message else self.proxy.look(message["look"])
            for fd in fds:  # else there was no room for it here
                answered = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)
                _Said(self.proxy.loop, answered, packets.packets(report))
            return
        if "egress" in message:
            if message["policy"] == 0:  # numbers begin anew
                self.policies.clear()
            self.policies[message["policy"]] = Egress(**message["egress"])
        for fd in fds:  # else there was no room for it here: the run's end tells
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
            self.proxy.serve(message["run"], listening, self.policies[message["policy"]])


async def _serve(control: socket.socket, embedder: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    runs, places = _bound()  # now that the loop has loaded what it needs
    Control(Proxy(places), control, ended)
    loop.add_reader(embedder, ended.set)
    gc.collect()
    gc.freeze()  # what is here stays, and need not be looked at again
    control.send(json.dumps({"ready": os.getpid(), "runs": runs, "places": places}).encode())
    await ended.wait()


def _bound() -> tuple[int, int]:
    """Give away what is not needed; how many runs and how many connections there may be."""
    with open("/proc/self/comm", "w") as f:
        f.write("pyjail-egress")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_AS, _MEMORY)):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    os.chdir("/")
    os.umask(0o077)
    with contextlib.suppress(OSError):  # what a lookup loads may not be there for who we are about to be
        socket.getaddrinfo("localhost", None)
    if os.getuid() == 0:
        with contextlib.suppress(OSError):  # a user namespace may not have the number: the rest stands
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    # A quarter is for listening sockets: connections of some runs must not keep others from having one.
    return max(1, most // 4), max(1, min(16384, (most - most // 4 - _OURS) // 2))


def main(argv: list[str]) -> int:
    """Serve until the embedder ends. 0."""
    threading.stack_size(1 << 19)  # of lookups: sixteen of the usual ones are 128 MiB of address space
    control = socket.socket(fileno=int(argv[0]))
    asyncio.run(_serve(control, int(argv[1])))
    os._exit(0)  # a lookup may take its time yet


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
