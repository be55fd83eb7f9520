"""The parties of an interaction with all their pipes: made, started, and gone again whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyjail import _process, _request, _run, _streams
from pyjail._fds import Fd, pair
from pyjail._fifos import Fifos
from pyjail._idle import Idle
from pyjail._parties import Edge, Party, is_named, with_pipes
from pyjail._relay import Relay
from pyjail._request import Request
from pyjail._result import Result

CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK


class Player:
    """A party at work. ``sent``: time.monotonic() before it was started."""

    def __init__(self, name: str, party: Party) -> None:
        self.name, self.party = name, party
        self.streams = _streams.Streams(None, None, None, False)
        self.pipes: dict[str, str] = {}  # named ones: their paths here
        self.keepers: Idle | None = None  # its own: a jail with named pipes is nobody else's
        self.request: Request | None = None
        self.process: _process.Process | None = None
        self.sent = 0.0

    def lend(self, stream: str, fd: Fd) -> None:
        """This fd is what the program gets as that stream."""
        self.streams.lend(("stdin", "stdout", "stderr").index(stream), fd)

    def prepare(self) -> None:
        """Check all that can be checked before anything runs."""
        p = self.party
        with told(self.name):
            self.request = _request.make(
                p.args, p.limits, with_pipes(p.jail, self.pipes), p.input, *self.streams.theirs, p.env, p.cwd, p.files,
                p.collect, False, None, None, None,
            )  # fmt: skip

    def start(self) -> None:
        assert self.request is not None
        if self.pipes:
            self.keepers = Idle(0)
        self.sent = time.monotonic()
        with told(self.name):
            self.process = _process.launch(self.request, self.streams, self.keepers or _run.idle)

    def result(self) -> Result:
        assert self.process is not None and self.process.result is not None
        return self.process.result


@contextmanager
def told(name: str) -> Iterator[None]:
    """An exception says whose it is."""
    try:
        yield
    except Exception as e:
        e.add_note(f"(party {name!r} of pyjail.interact)")
        raise


class Scene:
    """Everything that an interaction holds. `close` it."""

    def __init__(self, parties: Mapping[str, Party], edges: tuple[Edge, ...], cap: int | None, began: float) -> None:
        self.players = {name: Player(name, party) for name, party in parties.items()}
        self.relays: list[Relay] = []
        self.edges, self.cap, self.began = edges, cap, began
        self.fifos = Fifos()

    def start(self) -> None:
        """Make all pipes, then start all parties, in their order."""
        try:
            for edge in self.edges:
                self._join(edge)
            for player in self.players.values():
                player.prepare()
            for player in self.players.values():
                player.start()
        finally:
            self.fifos.remove()

    def _join(self, edge: Edge) -> None:
        source, target = self._source(edge.source), self._target(edge.target)
        self.relays.append(Relay(edge, source, target, (is_named(edge.source), is_named(edge.target)), self.cap))

    def _source(self, end: str) -> Fd:
        """What a party writes there, for us to read."""
        name, stream = end.split(".")
        if is_named(end):
            return Fd(os.open, self._fifo(name, stream), os.O_RDONLY | CLOEXEC_NONBLOCK)
        ours, theirs = pair(os.pipe)
        self.players[name].lend(stream, theirs)
        return ours

    def _target(self, end: str) -> Fd:
        """What we write there, for a party to read."""
        name, stream = end.split(".")
        if is_named(end):
            path = self._fifo(name, stream)
            with Fd(os.open, path, os.O_RDONLY | CLOEXEC_NONBLOCK):  # nobody can open to write before there is one
                return Fd(os.open, path, os.O_WRONLY | CLOEXEC_NONBLOCK)
        theirs, ours = pair(os.pipe)
        self.players[name].lend(stream, theirs)
        return ours

    def _fifo(self, party: str, stream: str) -> str:
        path = self.fifos.make(f"{party}.{stream}")
        self.players[party].pipes[stream] = path
        return path

    def close(self) -> None:
        """End all parties that still run, wait until they are gone, close all pipes."""
        running = [p.process for p in self.players.values() if p.process is not None and not p.process.ended]
        try:
            for process in running:
                process.kill()
            for process in running:
                process._reap()
        finally:
            for player in self.players.values():
                if player.keepers is not None:  # one may have been started just when an interrupt came
                    player.keepers.close()
                player.streams.close()
            for relay in self.relays:
                relay.close()
            self.fifos.remove()
