"""`timings`: where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pyjail._base import lazy
from pyjail._base.records import dataclass, hash_of
from pyjail._base.shown import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from pyjail._result.result import Result
    from pyjail._spec.jail import Jail, Limits
    from pyjail._spec.parameters import Args, Timed


@dataclass(frozen=True, repr=False)
class Timings(Shown):
    """Where the time of a run went: ns for each phase, whose names docs/timings.md has, in their order.

    Attributes:
        result: the `Result` of the run. first: its phases.
        cold: medians of runs of ``true`` in the same jail under the same limits, each on a new keeper. armed: of such
            runs on a warm keeper. Empty where there is no ``true``.
    """

    result: Result
    first: dict[str, int]
    cold: dict[str, int]
    armed: dict[str, int]

    __hash__ = hash_of

    def _words(self) -> Iterator[str]:
        yield self.result.verdict.value
        for name in ("first", "cold", "armed"):
            phases = getattr(self, name)
            if phases:
                yield f"{name} {sum(ns for phase, ns in phases.items() if phase != 'next') / 1e6:.1f} ms"

    def lines(self) -> list[str]:
        """The table that ``pyjail run --timings`` prints, in µs."""
        with lazy.lock:
            from pyjail._run import timings as run_timings

        return run_timings.table(run_timings.Profile(self.result, self.first, self.cold, self.armed))


def timings(args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Timed]) -> Timings:
    """Run a program once, as `run` does, and say where the time went; then ``true`` in the same jail, several times.

    Args:
        args, limits, jail, input, stdin, stdout, stderr, env, cwd, files, collect: as of `run`.

    Returns:
        `Timings`, with the `Result` in it. Takes about two seconds longer than the run.

    Raises:
        What `run` raises.

    >>> import pyjail
    >>> found = pyjail.timings(["echo", "hi"])
    >>> found.result.stdout, found.first["program"] > 0
    (b'hi\\n', True)
    """
    started = time.monotonic_ns()
    with lazy.lock:
        from pyjail._run import timings as run_timings
        from pyjail._spec import commands, parameters

    parameters.only(options, parameters.Timed)

    def ask() -> commands.Command:
        return commands.make(args, limits, jail, **options)

    return Timings(*run_timings.profile(ask, started))
