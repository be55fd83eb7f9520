"""The proxy's process: ``python -m pyjail._egress CONTROL EMBEDDER``, two numbers of fds. docs/adr/0024: the messages.

It ends with its embedder, however that ends: the control socket says so, and should a forked child hold a copy of
that, the embedder's pidfd does.
"""

from __future__ import annotations

import array  # noqa: F401 (of recv_fds, which loads it late)
import asyncio
import contextlib
import json
import os
import resource
import socket
import sys
import threading
from collections import deque
from typing import Any

from pyjail._egress import contact
from pyjail._egress.proxy import Proxy
from pyjail._spec.egress import Egress

MOST_MESSAGE = 1 << 18
_MEMORY = 1 << 30
_NOBODY = 65534
_OURS = 64  # fds that are neither listening nor connected, and some more


class Control:
    """What the embedder says, and what it is told."""

    def __init__(self, proxy: Proxy, sock: socket.socket, ended: asyncio.Event) -> None:
        self.proxy, self.sock, self.ended = proxy, sock, ended
        self.policies: dict[int, Egress] = {}
        self.queue: deque[bytes] = deque()
        sock.setblocking(False)
        proxy.loop.add_reader(sock, self._read)

    def say(self, message: dict[str, Any]) -> None:
        """One packet, as soon as there is room for it."""
        self.queue.append(json.dumps(message).encode())
        self._write()

    def _write(self) -> None:
        try:
            while self.queue:
                self.sock.send(self.queue[0])
                self.queue.popleft()
        except BlockingIOError:
            self.proxy.loop.add_writer(self.sock, self._write)
            return
        except OSError:
            self.ended.set()
        self.proxy.loop.remove_writer(self.sock)

    def _read(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self.sock, MOST_MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self.ended.set()
            return
        self._obey(json.loads(data), fds)

    def _obey(self, message: dict[str, Any], fds: list[int]) -> None:
        if "end" in message:
            for part in contact.messages(message["end"], self.proxy.end(message["end"])):
                self.say(part)
            return
        if "egress" in message:
            if message["policy"] == 0:  # numbers begin anew
                self.policies.clear()
            self.policies[message["policy"]] = Egress(**message["egress"])
        if fds:  # else there was no room for it here: the run's end tells
            listening = socket.socket(fileno=fds[0])
            self.proxy.serve(message["run"], listening, self.policies[message["policy"]])


async def _serve(control: socket.socket, embedder: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    places = _bound()  # now that the loop has loaded what it needs
    proxy = Proxy(places)
    said = Control(proxy, control, ended)
    loop.add_reader(embedder, ended.set)
    said.say({"ready": os.getpid(), "uid": os.getuid(), "places": places})
    await ended.wait()


def _bound() -> int:
    """Give away what is not needed; how many connections there may be."""
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
    # A quarter stays for listening sockets: connections of some runs must not keep others from having one.
    return max(1, min(16384, (most - most // 4 - _OURS) // 2))


def main(argv: list[str]) -> int:
    """Serve until the embedder ends. 0."""
    threading.stack_size(1 << 19)  # of lookups: sixteen of the usual ones are 128 MiB of address space
    control = socket.socket(fileno=int(argv[0]))
    asyncio.run(_serve(control, int(argv[1])))
    os._exit(0)  # a lookup may take its time yet


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
