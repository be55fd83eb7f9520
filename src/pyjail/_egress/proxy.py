"""The proxy: all runs of one embedder, each with its listening socket, its rules, its connections and its bounds."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

from pyjail._egress.addresses import Resolver, own
from pyjail._egress.connection import Connection
from pyjail._egress.doors import Doors
from pyjail._egress.pump import CutError
from pyjail._result.contact import MOST_ROWS, OPEN, Contact, Contacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._spec.egress import Address, Egress

LOOKUPS = 4  # at once, of one run: the threads for them are everybody's
NEVER = "the egress proxy never had this run's socket"
_LACK = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LACK_S = 0.2
_NEVER = (errno.EINVAL, errno.EOPNOTSUPP)  # nothing listens there: asked again, it would say the same at once


class Run:
    """One run: its listening socket, its rules, and what it has used of its bounds."""

    def __init__(self, proxy: Proxy, listening: socket.socket, egress: Egress) -> None:
        self.proxy, self.listening, self.egress = proxy, listening, egress
        self.connections: set[Connection] = set()
        self.used_in = self.used_out = 0
        self.rows: list[Contact] = []
        self.omitted = 0
        self.lookups = asyncio.Semaphore(LOOKUPS)
        self.accepts = self.ended = False
        listening.setblocking(False)
        self.look()

    def look(self) -> None:
        """Accept, or let wait, as there is place."""
        place = not self.ended and len(self.connections) < self.egress.connections and self.proxy.has_place(self)
        if place and not self.accepts:
            try:
                self.proxy.doors.watch(self.listening, self._accept)
            except OSError:  # the kernel lacks memory
                place = False
                self.proxy.loop.call_later(_LACK_S, self.look)
        elif self.accepts and not place:
            self.proxy.doors.ignore(self.listening)
        self.accepts = place

    def _accept(self) -> None:
        if not self.proxy.has_place(self):  # others were quicker
            self.look()
            return
        try:
            client, _ = self.listening.accept()
        except OSError as e:
            if e.errno in _LACK + _NEVER:
                self.proxy.doors.ignore(self.listening)
                self.accepts = False
            if e.errno in _LACK:
                self.proxy.loop.call_later(_LACK_S, self.look)
            return
        connection = Connection(self, client)
        self.connections.add(connection)
        self.proxy.count += 1
        self.look()

    def over(self, connection: Connection, row: Contact) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self.proxy.count -= 1
        if len(self.rows) < MOST_ROWS:
            self.rows.append(row)
        else:
            self.omitted += 1
        self.look()
        self.proxy.freed()

    def end(self) -> Contacts:
        """Close all, and tell."""
        self.ended = True
        self.look()
        self.listening.close()
        for connection in list(self.connections):
            connection.close("" if connection.pump is not None else "the run ended")
        return Contacts(tuple(self.rows), self.omitted)

    def so_far(self) -> Contacts:
        """What came of it until now: after the connections that have ended, those that are open."""
        open_ = [connection.row(OPEN) for connection in self.connections if connection.host]
        rows = [*self.rows, *open_][:MOST_ROWS]
        return Contacts(tuple(rows), self.omitted + len(self.rows) + len(open_) - len(rows))

    def tend(self, now: float) -> None:
        """Reset what has been idle for too long."""
        for connection in self.connections:
            pump = connection.pump
            if pump is not None and now - pump.last > self.egress.idle:
                pump.end(CutError(f"idle for {self.egress.idle:g} s"))

    def spend(self, bytes_in: int, bytes_out: int) -> str:
        """Why these bytes are too many, or ""."""
        self.used_in += bytes_in
        self.used_out += bytes_out
        if max(self.used_in, self.used_out) <= self.egress.size:
            return ""
        return f"more than {self.egress.size} bytes {'in' if self.used_in > self.egress.size else 'out'}"


class Proxy:
    """All runs of one embedder. ``places``: connections of all together."""

    def __init__(
        self,
        places: int = 4096,
        resolve: Callable[[str], Awaitable[list[Address]]] | None = None,
        own: Callable[[Address], bool] = own,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.places, self.own = places, own
        self.doors = Doors(self.loop)
        self.resolve = resolve or Resolver()
        self.runs: dict[int, Run] = {}
        self.count = 0
        self.loop.call_later(1, self._tend)

    def has_place(self, run: Run) -> bool:
        """For one more connection of this run. The last quarter of all places is for those that have less than their
        share of it: who takes all that there is leaves others one."""
        kept = self.places // 4
        if self.count < self.places - kept:
            return True
        return self.count < self.places and len(run.connections) < max(1, kept // max(1, len(self.runs)))

    def freed(self) -> None:
        """A place is free: who waits for one may have it."""
        if self.count in (self.places - 1, self.places - self.places // 4 - 1):
            for run in self.runs.values():
                run.look()

    def serve(self, number: int, listening: socket.socket, egress: Egress) -> None:
        """Accept what the program of this run connects. The socket is the proxy's from now on."""
        self.runs[number] = Run(self, listening, egress)

    def end(self, number: int) -> Contacts:
        """Close all of a run, and tell of it."""
        run = self.runs.pop(number, None)
        return Contacts.gone(NEVER) if run is None else run.end()

    def look(self, number: int) -> Contacts:
        """What came of a run that goes on, until now."""
        run = self.runs.get(number)
        return Contacts.gone(NEVER) if run is None else run.so_far()

    def close(self) -> None:
        """End all."""
        for number in list(self.runs):
            self.end(number)
        self.doors.close()

    def _tend(self) -> None:
        now = self.loop.time()
        for run in self.runs.values():
            run.tend(now)
        self.loop.call_later(1, self._tend)
