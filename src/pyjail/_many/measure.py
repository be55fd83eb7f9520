"""`measure`: one program several times, noisy runs again; medians and spreads."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

from pyjail._base.errors import SpecError
from pyjail._base.shown import Document, Shown
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict
from pyjail._run import run
from pyjail._spec.jail import Jail, Limits
from pyjail._spec.parameters import Args, Repeated, only

NUMBERS = ("wall_time", "cpu_time", "user_time", "system_time", "memory_peak", "processes_peak")
MOST = 10_000


@dataclass(frozen=True, repr=False)
class Repeat(Shown):
    """How often `measure` runs a program.

    Attributes:
        times: runs that are wanted. Default 5.
        most: runs at most, the noisy ones included. Default 15.
        quiet: run again what was noisy (`Usage.quiet` is False). Default True; with False all runs count.

    Raises SpecError unless 1 <= times <= most <= 10000.

    >>> Repeat(times=3).most
    15
    """

    times: int = 5
    most: int = 15
    quiet: bool = True

    def __post_init__(self) -> None:
        for name in ("times", "most"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
                raise SpecError(f"repeat.{name}", value, f"a number of runs from 1 to {MOST} is needed")
        if self.times > self.most:
            raise SpecError("repeat.times", self.times, f"are more runs than most={self.most}")
        if not isinstance(self.quiet, bool):
            raise SpecError("repeat.quiet", self.quiet, "True or False is needed")


class Spread(NamedTuple):
    """One number over several runs, in the unit of its field of `Usage`."""

    median: float
    least: float
    most: float

    @property
    def relative(self) -> float:
        """(most - least) / median; 0.0 when the median is 0."""
        return (self.most - self.least) / self.median if self.median else 0.0

    def to_dict(self) -> dict[str, float]:
        """In types that `json.dumps` takes."""
        return {**self._asdict(), "relative": self.relative}

    def _repr_html_(self) -> str:
        from pyjail._base import brief

        return brief.html(self, self._table())

    def _table(self) -> tuple[tuple[str, float], ...]:
        return tuple(self.to_dict().items())


@dataclass(frozen=True, repr=False)
class Measurement(Document):
    """What `measure` found. Frozen, picklable, hashable; `to_dict` and `from_dict` are inverse and JSON-able.

    ``m["cpu_time"]`` is the `Spread` of that number over the runs that count.

    Attributes:
        runs: every `Result`, in order.
        repeat: the policy.
    """

    runs: tuple[Result, ...]
    repeat: Repeat

    def _words(self) -> Iterator[str]:
        from pyjail._base.brief import seconds, size

        yield self.verdict.value
        yield f"{len(self.counted)} of {len(self.runs)} runs count"
        for name in ("cpu_time", "wall_time", "memory_peak"):
            if found := self.spreads.get(name):
                shown = size(int(found.median)) if name == "memory_peak" else seconds(found.median)
                yield f"{name}={shown} (spread {found.relative:.1%})"

    @property
    def verdict(self) -> Verdict:
        """OK, or that of the run that ended the measurement."""
        return self.runs[-1].verdict

    @property
    def counted(self) -> tuple[Result, ...]:
        """The runs whose numbers count: the quiet ones when they are ``repeat.times``, else all that are OK."""
        fine = tuple(r for r in self.runs if r.ok)
        still = tuple(r for r in fine if r.usage.quiet is not False)
        return still if self.repeat.quiet and len(still) >= self.repeat.times else fine

    @property
    def quiet(self) -> bool | None:
        """Whether all runs that count were quiet; None when the kernel cannot tell."""
        found = {r.usage.quiet for r in self.counted}
        return False if False in found or not found else None if None in found else True

    @property
    def noisy(self) -> int:
        """How many runs were noisy, counted or not."""
        return sum(r.usage.quiet is False for r in self.runs)

    @property
    def noise(self) -> dict[str, int]:
        """How many runs were noisy, by reason: {its first words: runs}."""
        return dict(Counter(why.partition(":")[0] for r in self.runs for why in r.usage.noise))

    def __getitem__(self, name: str) -> Spread:
        """The `Spread` of a numeric field of `Usage`. KeyError when no run that counts has told one."""
        if name not in NUMBERS:
            raise KeyError(name)
        values = [v for r in self.counted if (v := getattr(r.usage, name)) is not None]
        if not values:
            raise KeyError(name)
        return Spread(statistics.median(values), min(values), max(values))

    @property
    def spreads(self) -> dict[str, Spread]:
        """All numbers that the runs have told."""
        found = {}
        for name in NUMBERS:
            try:
                found[name] = self[name]
            except KeyError:
                continue
        return found

    @property
    def median(self) -> dict[str, float]:
        """The median of each number."""
        return {name: s.median for name, s in self.spreads.items()}

    @property
    def spread(self) -> dict[str, float]:
        """(most - least) / median of each number."""
        return {name: s.relative for name, s in self.spreads.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: a "measurement" of docs/data.md."""
        from pyjail._base.plain import head, plain

        return {
            **head("measurement"),
            "verdict": self.verdict.value,
            "repeat": self.repeat.to_dict(),
            "counted": len(self.counted),
            "quiet": self.quiet,
            "noisy": self.noisy,
            "noise": plain(self.noise),
            "spreads": {name: s.to_dict() for name, s in self.spreads.items()},
            "runs": [r.to_dict() for r in self.runs],
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Measurement:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail._base.documents import check, reading

        d = check(d, "measurement")
        with reading("measurement"):
            repeat = Repeat(**{name: d["repeat"][name] for name in ("times", "most", "quiet")})
            return cls(tuple(Result.from_dict(r) for r in d["runs"]), repeat)


def measure(
    args: Args,
    limits: Limits | None = None,
    *,
    repeat: Repeat | None = None,
    jail: Jail | None = None,
    **options: Unpack[Repeated],
) -> Measurement:
    """Run a program several times, one run after the other, and tell medians and spreads.

    Args:
        args, limits, jail, input, env, cwd, files, text: as of `run`; every run has the same input and files.
        repeat: default `Repeat()`: until there are 5 quiet runs, but 15 in all.
        timeout: s, of each run.

    Returns:
        A `Measurement`. A run whose verdict is not OK is the last one: what a program uses on its way to a limit is no
        measure of it.

    Raises: what `run` raises.

    >>> import pyjail
    >>> m = pyjail.measure(["true"], repeat=pyjail.Repeat(times=3, quiet=False))
    >>> len(m.runs), m.verdict.value, m["cpu_time"].least <= m.median["cpu_time"]
    (3, 'ok', True)
    """
    only(options, Repeated)
    if repeat is None:
        repeat = Repeat()
    elif not isinstance(repeat, Repeat):
        raise SpecError("repeat", repeat, "a pyjail.Repeat is needed")
    runs: list[Result] = []
    still = 0
    while len(runs) < repeat.most and still < repeat.times:
        result = run.run(args, limits, jail=jail, **options)
        runs.append(result)
        if not result.ok:
            break
        still += not repeat.quiet or result.usage.quiet is not False
    return Measurement(tuple(runs), repeat)
