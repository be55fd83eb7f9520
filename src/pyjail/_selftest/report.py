"""What a selftest found, as frozen data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pyjail.records import Document, Record


class Status(StrEnum):
    """What became of an attempt."""

    CONTAINED = "contained"
    ESCAPED = "escaped"
    NOT_APPLICABLE = "not applicable"
    ERROR = "error"


@dataclass(frozen=True, repr=False)
class Row(Record):
    """One attempt.

    Attributes:
        name: "group.attempt". group: what it is about. tries: what it tried. stands_for: the incident behind it.
        status: `Status`. detail: the evidence, or why it is not applicable.
    """

    name: str
    group: str
    tries: str
    stands_for: str
    status: Status
    detail: str

    def _words(self) -> Iterator[str]:
        yield f"{self.name}: {self.status.value}"
        yield f"detail={self.detail[:100]!r}"


@dataclass(frozen=True, repr=False)
class Probe(Record):
    """One limit and how exact it is.

    Attributes:
        name: the limit, and what of it. unit: "s", "bytes", "cores" or "" for a count.
        asked: what the limit was, or how much was really used. measured: what the program got, or what was counted.
        status: `Status`; ESCAPED when it got more than the limit. detail: the evidence.
    """

    name: str
    unit: str
    asked: float
    measured: float | None
    status: Status
    detail: str

    def _words(self) -> Iterator[str]:
        yield f"{self.name}: {self.status.value}"
        yield f"asked {self.asked:g} {self.unit}".rstrip()
        if self.measured is not None:
            yield f"measured {self.measured:g} {self.unit}".rstrip()
        yield f"detail={self.detail[:100]!r}"

    @property
    def deviation(self) -> float | None:
        """``measured - asked``."""
        return None if self.measured is None else self.measured - self.asked

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes."""
        return {**super().to_dict(), "deviation": self.deviation}


@dataclass(frozen=True, repr=False)
class Report(Document):
    """The whole of a selftest. Frozen, picklable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        rows: attempts. probes: limits. jail: what was tested, as text. host: kernel, machine and user.
        seconds: how long it took.
    """

    _schema = "Selftest"

    rows: tuple[Row, ...]
    probes: tuple[Probe, ...]
    jail: str
    host: str
    seconds: float

    def _words(self) -> Iterator[str]:
        yield "ok" if self.ok else "not ok"
        yield ", ".join(f"{count} {status.value}" for status in Status if (count := self.count(status)))

    def count(self, status: Status) -> int:
        """How many rows and probes have this status."""
        return sum(r.status is status for r in self._all)

    @property
    def escaped(self) -> tuple[Row | Probe, ...]:
        """What got out, or got more than its limit."""
        return tuple(r for r in self._all if r.status is Status.ESCAPED)

    @property
    def _all(self) -> tuple[Row | Probe, ...]:
        return (*self.rows, *self.probes)

    @property
    def ok(self) -> bool:
        """Nothing escaped, nothing failed to be tried."""
        return not self.count(Status.ESCAPED) and not self.count(Status.ERROR)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: a "selftest" of docs/data.md."""
        from pyjail.records import head, pack

        return {
            **head("selftest"),
            "ok": self.ok,
            "counts": {status.value: self.count(status) for status in Status},
            "jail": pack(self.jail),
            "host": pack(self.host),
            "seconds": self.seconds,
            "attempts": [row.to_dict() for row in self.rows],
            "limits": [probe.to_dict() for probe in self.probes],
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Report:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail.records import check, reading, unpack, unpacked

        d = check(d, "selftest")
        with reading("selftest"):
            rows = tuple(Row(**_fields(unpacked(Row, one))) for one in d["attempts"])
            probes = tuple(Probe(**_fields(unpacked(Probe, one))) for one in d["limits"])
            return cls(rows, probes, unpack(d["jail"]), unpack(d["host"]), d["seconds"])


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "status": Status(given["status"])}
