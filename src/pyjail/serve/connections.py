"""How many connections there are, and how long each may take: `Connections`."""

from __future__ import annotations

import asyncio
import fcntl
import resource
import sys
import termios
import time
from collections import Counter
from typing import Any, Protocol

from pyjail.serve import client
from pyjail.serve.config import Edge

_OTHERS = 1024  # fds that jails, files and answers need besides
_JOINED = 64 << 10  # bytes that are copied to be sent with a head
_OFTEN = 1.0  # seconds between two looks at all of them, at most


def bounded(connections: int) -> int:
    """So many connections, or fewer where half of the fds that this process may have would not do.

    The soft limit is raised as far as it goes: programs in jails have their own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else min(connections, max(soft // 2, soft - _OTHERS))


class Speaker(Protocol):
    """What speaks on a connection."""

    def data_received(self, data: bytes) -> None:
        """This came from the client."""

    def overdue(self, now: float) -> None:
        """Called every now and then: end the connection if its client takes too long."""


class Line:
    """A transport, and what went out on it. ``refused``: why it may not stay; "" for nothing.

    The head of an answer is sent with what comes next: a packet of its own would wake its client for nothing.
    """

    def __init__(self, transport: asyncio.Transport, kept: Connections, speaker: Speaker) -> None:
        self._transport, self._kept, self.speaker = transport, kept, speaker
        self._loop, self._head = asyncio.get_running_loop(), b""
        self._written = self._taken = 0
        self._since = self._began = time.monotonic()
        self._before = 0  # bytes that were taken when something began to wait
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) and peer else client.LOCAL
        self.refused = kept.add(self)

    def write(self, data: Any) -> None:
        self._written += len(data)
        if self._head and len(data) <= _JOINED:
            data, self._head = self._head + data, b""
        elif data[:5] == b"HTTP/" and not self._head:
            self._head = bytes(data)
            self._loop.call_soon(self._flush)  # if nothing comes next
            return
        self._flush()
        self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._head = b""
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def look(self, now: float, patience: float, rate: int) -> None:
        """End it if its reader has taken nothing for that long, or fewer bytes a second while there were some."""
        if self._taken == self._written:  # all that there was
            self._since, self._began, self._before = now, now, self._taken
            return
        waiting = self._transport.get_write_buffer_size()
        taken = self._written - waiting - self._on_the_way()
        if not waiting:
            self._began, self._before = now, taken
        if not waiting or taken > self._taken:
            self._taken, self._since = taken, now
        if now - self._since > patience or now - self._began > patience + (taken - self._before) / rate:
            self._transport.abort()

    def _on_the_way(self) -> int:
        """Bytes that the kernel has and the other end has not: it says nothing of them before a third is gone."""
        sock = self._transport.get_extra_info("socket")
        try:
            return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

    def gone(self) -> None:
        """It is closed."""
        self._kept.remove(self)


class Connections:
    """All of one service. They are looked at together: a timer for each would cost every request."""

    def __init__(self, edge: Edge) -> None:
        self.edge, self._most = edge, bounded(edge.connections)
        self._proxies = client.Proxies(edge.proxies)
        self._lines: dict[int, Line] = {}
        self._of: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        shortest = min(edge.head_time, edge.body_time, edge.stall)
        self.often = max(0.01, min(_OFTEN, shortest / 4))

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: Line) -> str:
        """Why there is no room for it; "" if there is."""
        self._lines[id(line)] = line
        who = self._who(line)
        self._of[who] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.often, self._look)
        if len(self._lines) > self._most:
            return "all"
        if self._of[who] > self.edge.connections_per_client and not self._proxies.trusts(line.peer):
            return "client"
        return ""

    def remove(self, line: Line) -> None:
        """It does not count any more."""
        if self._lines.pop(id(line), None) is None:
            return
        who = self._who(line)
        self._of[who] -= 1
        if not self._of[who]:
            del self._of[who]

    def _who(self, line: Line) -> str:
        return client.tenant(line.peer)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        for line in list(self._lines.values()):
            line.look(now, self.edge.stall, self.edge.rate)
            line.speaker.overdue(now)
        if self._lines and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.often, self._look)
