"""The parties of an interaction with all their pipes: made, started, and gone again whatever happens."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyjail._core.native import lib

from pyjail._base.fds import Fd, pair
from pyjail._interact.parties import (
    PIPES,
    Edge,
    Party,
    is_named,
    with_pipes,
)
from pyjail._interact.relay import Relay
from pyjail._keeper import files
from pyjail._keeper.store import Idle
from pyjail._keeper.talk import Gone
from pyjail._live import process as live_process
from pyjail._live import streams
from pyjail._result.result import Result
from pyjail._run import run
from pyjail._run.attempts import killed
from pyjail._run.turn import Turn
from pyjail._spec import commands
from pyjail._spec.commands import Command


class Player:
    """A party at work. ``sent``: time.monotonic() before it was started."""

    def __init__(self, name: str, party: Party) -> None:
        self.name, self.party = name, party
        self.streams = streams.Streams(None, None, None, False)
        self.pipes: list[str] = []  # names of its named ones
        self.keepers: Idle | None = None  # its own, if it has named pipes: they are nobody else's
        self.ready: Turn | None = None  # that has made them
        self.command: Command | None = None
        self.turn: Turn | None = None
        self.process: live_process.Process | None = None
        self.sent = 0.0

    def lend(self, stream: str, fd: Fd) -> None:
        """This fd is what the program gets as that stream."""
        self.streams.lend(("stdin", "stdout", "stderr").index(stream), fd)

    def _make(self, stdin: object, stdout: object, stderr: object) -> Command:
        p = self.party
        return commands.make(
            p.args, p.limits, with_pipes(p.jail, self.pipes), input=p.input, stdin=stdin, stdout=stdout, stderr=stderr,
            env=p.env, cwd=p.cwd, files=p.files, collect=p.collect,
        )  # fmt: skip

    def arm(self) -> None:
        """Have its jail made, and its named pipes in it."""
        with noted(self.name):
            self.keepers = keepers = Idle(1)
            weakref.finalize(self, keepers.close)  # when `Scene.close` was interrupted
            self.ready = Turn(self._make(None, None, None), keepers)
            self.ready.make_ready()

    def open(self, name: str, write: bool) -> Fd:
        """A named pipe of its jail. Only to read, or when somebody has it open to read: ENXIO."""
        assert self.ready is not None
        with noted(self.name):
            try:
                path = f"{PIPES}/{name}".encode()[1:]
                return files.ask(self.ready.keeper, lib.OP_PIPE, path, os.O_WRONLY if write else os.O_RDONLY)
            except Gone:
                raise killed() from None

    def prepare(self) -> None:
        """Check all that can be checked before anything runs."""
        with noted(self.name):
            self.command = self._make(*self.streams.theirs)

    def start(self) -> None:
        assert self.command is not None
        keepers = self.keepers or run.idle
        if self.ready is not None:
            self.ready.rest()
            keepers.closed = killed()  # another one's named pipes would lead nowhere
        self.sent = time.monotonic()
        with noted(self.name):
            self.turn = Turn(self.command, keepers)
            self.process = live_process.launch(self.turn, self.streams)
        if self.ready is not None:
            keepers.closed = None

    def result(self) -> Result:
        assert self.process is not None and self.process.result is not None
        return self.process.result


@contextmanager
def noted(name: str) -> Iterator[None]:
    """Notes on an exception of this block which party it is of."""
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

    def start(self) -> None:
        """Make all pipes, then start all parties, in their order."""
        for end in (end for edge in self.edges for end in (edge.source, edge.target) if is_named(end)):
            name, stream = end.split(".")
            self.players[name].pipes.append(stream)
        for player in self.players.values():
            if player.pipes:
                player.arm()
        for edge in self.edges:
            self._join(edge)
        for player in self.players.values():
            player.prepare()
        for player in self.players.values():
            player.start()

    def _join(self, edge: Edge) -> None:
        source, target = self._source(edge.source), self._target(edge.target)
        self.relays.append(Relay(edge, source, target, (is_named(edge.source), is_named(edge.target)), self.cap))

    def _source(self, end: str) -> Fd:
        """What a party writes there, for us to read."""
        name, stream = end.split(".")
        if is_named(end):
            return self.players[name].open(stream, write=False)
        ours, theirs = pair(os.pipe)
        self.players[name].lend(stream, theirs)
        return ours

    def _target(self, end: str) -> Fd:
        """What we write there, for a party to read."""
        name, stream = end.split(".")
        if is_named(end):
            with self.players[name].open(stream, write=False):  # nobody can open to write before there is one
                return self.players[name].open(stream, write=True)
        theirs, ours = pair(os.pipe)
        self.players[name].lend(stream, theirs)
        return ours

    def close(self) -> None:
        """End all parties that still run, wait until they are gone, close all pipes."""
        running = [p.process for p in self.players.values() if p.process is not None and not p.process.ended]
        try:
            for process in running:
                process.kill()
            for process in running:
                live_process.reap(process)
        finally:
            for player in self.players.values():
                if player.keepers is not None:  # one may have been started just when an interrupt came
                    player.keepers.close()
                player.streams.close()
            for relay in self.relays:
                relay.close()
