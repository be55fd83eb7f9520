"""What came out of `pyjail.interact`, as frozen, picklable, JSON-able data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyjail._base import records
from pyjail._base.shown import Document, Shown
from pyjail._interact.parties import Edge
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict


@dataclass(frozen=True, repr=False)
class Flow(Shown):
    """What went through one edge.

    Attributes:
        edge: the `Edge`.
        transcript: (s since the start, bytes) of each piece, as the writer wrote it, until the cap.
        truncated: the writer wrote more than the transcript has.
        written: bytes that the writer wrote. delivered: bytes of them that reached the reader's pipe.
        closed_by: the party that closed its end first, or None when all were killed before. closed_at: s, when.
    """

    edge: Edge
    transcript: tuple[tuple[float, bytes], ...]
    truncated: bool
    written: int
    delivered: int
    closed_by: str | None
    closed_at: float | None

    def _words(self) -> Iterator[str]:
        yield str(self.edge)
        yield f"{self.written} bytes written, {self.delivered} delivered"
        if self.closed_by is not None:
            yield f"closed by {self.closed_by} after {self.closed_at:.3f} s"

    @property
    def data(self) -> bytes:
        """The transcript without its times."""
        return b"".join(piece for _, piece in self.transcript)

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes; the edge as its text."""
        return {**super().to_dict(), "edge": str(self.edge), "sigpipe": self.edge.sigpipe}


@dataclass(frozen=True, repr=False)
class Happening(Shown):
    """Something that a party did.

    Attributes:
        time: s since the start. party: its name.
        what: "closed" (its end of an edge, while it went on), "ended" (by itself or by its limits; all that was open
            with it), "killed" (by `interact`, at the wall limit or a deadlock).
        stream: with "closed", which: "stdin", "stdout", ... verdict: with "ended", its `Verdict`; else None.
    """

    time: float
    party: str
    what: str
    stream: str | None = None
    verdict: Verdict | None = None

    def _words(self) -> Iterator[str]:
        yield f"{self.party} {self.what} {self.stream or ''}".rstrip()
        if self.verdict is not None:
            yield self.verdict.value
        yield f"after {self.time:.3f} s"


@dataclass(frozen=True, repr=False)
class Interaction(Document):
    """One finished interaction. Frozen, picklable, hashable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        verdict: "ok": every party ended with `Verdict.OK`. "fault": ``fault`` did not. "deadlock", "wall_time": those
            that still ran were killed for that.
        fault: the party whose own end was bad first, or None. When SIGPIPE alone ended parties, it is the one that
            closed that pipe; no exit code counts as that signal. (Python ignores SIGPIPE, and fails by an exception of
            its own: see ``first``.)
        results: {party: `Result`}, in the order of the parties.
        flows: one `Flow` for each edge, in their order.
        happenings: what the parties did, in the order of time. first: the first of them, or None.
        deadlock: {party: what it waited for}, empty unless the verdict is "deadlock".
        wall_time: s from the start of the first party to the end of the last.
    """

    verdict: str
    fault: str | None
    results: Mapping[str, Result]
    flows: tuple[Flow, ...]
    happenings: tuple[Happening, ...]
    deadlock: Mapping[str, tuple[str, ...]]
    wall_time: float

    __hash__ = records.hash_of

    def _words(self) -> Iterator[str]:
        yield self.verdict if self.fault is None else f"{self.verdict} of {self.fault}"
        for name, result in self.results.items():
            yield f"{name}: {result.verdict.value}"
        yield f"{len(self.flows)} flows in {self.wall_time:.3f} s"

    @property
    def ok(self) -> bool:
        """Whether the verdict is "ok"."""
        return self.verdict == "ok"

    @property
    def first(self) -> Happening | None:
        """Which party ended, closed or failed first, and how."""
        return self.happenings[0] if self.happenings else None

    def flow(self, edge: str) -> Flow:
        """The flow of an edge, by its text ("a.stdout -> b.stdin") or one of its ends ("a.stdout"). KeyError: none."""
        for flow in self.flows:
            if edge in (str(flow.edge), flow.edge.source, flow.edge.target):
                return flow
        raise KeyError(edge)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: an "interaction" of docs/data.md."""
        from pyjail._base.plain import head

        return {
            **head("interaction"),
            "verdict": self.verdict,
            "fault": self.fault,
            "results": {name: result.to_dict() for name, result in self.results.items()},
            "flows": [f.to_dict() for f in self.flows],
            "happenings": [h.to_dict() for h in self.happenings],
            "deadlock": {party: list(waits) for party, waits in self.deadlock.items()},
            "wall_time": self.wall_time,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Interaction:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail._base.documents import check, reading

        d = check(d, "interaction")
        with reading("interaction"):
            return cls(
                d["verdict"],
                d["fault"],
                {name: Result.from_dict(result) for name, result in d["results"].items()},
                tuple(_flow(f) for f in d["flows"]),
                tuple(_happening(h) for h in d["happenings"]),
                {party: tuple(waits) for party, waits in d["deadlock"].items()},
                d["wall_time"],
            )


def _flow(d: Mapping[str, Any]) -> Flow:
    from pyjail._base.documents import unpack

    source, _, target = d["edge"].partition(" -> ")
    given = {name: d[name] for name in ("truncated", "written", "delivered", "closed_by", "closed_at")}
    transcript = tuple((at, unpack(piece)) for at, piece in d["transcript"])
    return Flow(Edge(source, target, d["sigpipe"]), transcript, **given)


def _happening(d: Mapping[str, Any]) -> Happening:
    verdict = None if d["verdict"] is None else Verdict(d["verdict"])
    return Happening(d["time"], d["party"], d["what"], d["stream"], verdict)
