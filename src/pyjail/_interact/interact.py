"""`interact`: several programs, each in a jail of its own, joined by pipes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from signal import SIGPIPE

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._interact.interaction import Flow, Happening, Interaction
from pyjail._interact.parties import (
    Args,
    Edge,
    Party,
    check_edges,
    check_parties,
)
from pyjail._interact.referee import Referee
from pyjail._interact.scene import Scene
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict


def interact(
    *parties: Party | Args,
    edges: Sequence[Edge | tuple[str, str] | str] | None = None,
    wall_time: float | str | None = 60.0,
    transcript: int | str | None = "1M",
    sigpipe: bool = True,
    deadlock_after: float | str | None = 1.0,
) -> Interaction:
    """Run programs that talk to each other through pipes, and tell who did what first.

    Each party has a jail, limits and a result of its own. What goes from one to the other passes through this process,
    which keeps a transcript of it and stops a writer whose reader does not read, as a pipe would.

    Args:
        parties: `Party`, or just its arguments; 1 to 256. Each is started in the order given.
        edges: the pipes: `Edge`, ("a.stdout", "b.stdin") or "a.stdout -> b.stdin". A stream has one edge at most; a
            party with several peers has a named pipe, /pipes/NAME in its jail, for each edge that ends in "PARTY.NAME".
            Default, for two parties: stdout of each to stdin of the other.
        wall_time: s for all together; then all are killed. Default 60, None: none but those of each party.
        transcript: bytes (or "64K") kept of each edge; 0: nothing, None: everything. Default 1 MiB.
        sigpipe: of edges that do not say: see `Edge`.
        deadlock_after: s without a byte moved after which it is looked whether all parties are blocked for good: every
            thread in a call without a time-out, and none of them switched in between. A program that sleeps or
            computes is none. Default 1; None: it is never looked.

    Returns:
        An `Interaction`. Limits, deadlocks and failures of the programs are in it, never exceptions.

    Raises:
        SpecError: parties or edges make no sense; it names the one. Else what `pyjail.run` raises, with a note that
            names the party; all others are gone then. So they are when a KeyboardInterrupt comes out.

    >>> import pyjail
    >>> i = pyjail.interact(["sh", "-c", "echo 20; read x; echo $x >&2"], ["sh", "-c", "read n; echo $((n + 1))"])
    >>> i.verdict, i.flow("b.stdout").data, i.results["a"].stderr
    ('ok', b'21\\n', b'21\\n')
    """
    if not isinstance(sigpipe, bool):
        raise SpecError("sigpipe", sigpipe, "True or False is needed")
    named = check_parties(parties)
    joined = check_edges(edges, named, sigpipe)
    wall = units.seconds("wall_time", wall_time)
    patience = units.seconds("deadlock_after", deadlock_after)
    cap = units.size("transcript", transcript, least=0)
    began = time.monotonic()
    with contextlib.closing(Scene(named, joined, cap, began)) as scene:
        scene.start()
        referee = Referee(scene, began, None if wall is None else began + wall, patience)
        referee.run()
        return _told(scene, referee, time.monotonic() - began)


def _told(scene: Scene, referee: Referee, wall_time: float) -> Interaction:
    happenings = tuple(sorted(referee.happenings, key=lambda h: h.time))
    results = {name: one.result() for name, one in scene.players.items()}
    flows = tuple(relay.flow() for relay in scene.relays)
    fault = _fault(happenings, results, [relay.flow() for relay in scene.relays if relay.cut])
    return Interaction(
        referee.stopped or ("ok" if fault is None else "fault"),
        fault,
        results,
        flows,
        happenings,
        referee.deadlock,
        wall_time,
    )


def _fault(happenings: Sequence[Happening], results: Mapping[str, Result], cut: Sequence[Flow]) -> str | None:
    """``cut``: what was closed to its writer because its reader was gone. Only there SIGPIPE is an excuse; an exit
    code, such as a shell's 141, is whatever its program wants."""
    bad = [h.party for h in happenings if h.what == "ended" and h.verdict is not Verdict.OK]
    writers = {f.edge.writer for f in cut}
    by_itself = [p for p in bad if results[p].signal != SIGPIPE or p not in writers]
    broken = sorted((f for f in cut if f.edge.writer in bad), key=lambda f: f.closed_at or 0.0)
    return next(iter([*by_itself, *(f.edge.reader for f in broken), *bad]), None)
