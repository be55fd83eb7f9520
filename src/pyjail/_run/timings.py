"""Where the time of a run goes, phase by phase: `pyjail run --timings`, docs/timings.md.

Python's own phases are timed here, around the parts of the same `Turn` that `run` drives; the keeper's are the four
times of its report. All are of one clock, CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pyjail._base.errors import JailError
from pyjail._base.fds import Fd
from pyjail._keeper.keeper import Keeper
from pyjail._keeper.store import Idle
from pyjail._plan import prepare as plan_prepare
from pyjail._result.result import Result
from pyjail._run import ahead
from pyjail._run.turn import Turn
from pyjail._spec.commands import Command, make
from pyjail._verdict import outcome as verdict_outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._run.turn import Outcome

# In the order in which they happen. {name: (who works meanwhile, at what)}
PHASES = {
    "modules": ("Python", "import what a run needs"),
    "request": ("Python", "check the arguments"),
    "host": ("Python", "look at this machine, try its cgroups; once"),
    "plan": ("Python", "compile the plan; later: pack the request"),
    "keeper_cgroup": ("Python", "the cgroup that the keeper is born in, memfds and socket"),
    "keeper_exec": ("kernel", "clone3 and execveat of the keeper"),
    "namespaces": ("keeper", "unshare, open the sources of the root; Python: pack its plan, its other cgroups"),
    "maps": ("Python", "id maps"),
    "root": ("keeper", "the network namespace, mount the root, pivot into it; Python: pack the request"),
    "send": ("Python", "the request to the keeper, its wake-up; with files: they are written"),
    "setup": ("keeper", "not armed: leaf, tmpfs, a process, filter; armed: fds, rlimits"),
    "program": ("program", "from execve to its end"),
    "teardown": ("keeper", "kill what is left, read the counters"),
    "wake": ("kernel", "the report to Python"),
    "result": ("Python", "verdict, output; usage and receipt only when looked at"),
}
AFTER = "next"  # when the result is there already: not part of the run
Phases = dict[str, int]  # ns
REPEATS_COLD, REPEATS_ARMED, PATIENCE_S = 8, 40, 2.0


class _Marks:
    def __init__(self, start: int) -> None:
        self.phases: Phases = {}
        self.last = start

    def __call__(self, phase: str, now: int | None = None) -> None:
        now = time.monotonic_ns() if now is None else now
        self.phases[phase] = self.phases.get(phase, 0) + now - self.last
        self.last = now


class _TimedKeeper(Keeper):
    """Notes when the parts of its start are over."""

    def __init__(self, marks: _Marks, *args: Any) -> None:
        self.marks = marks
        super().__init__(*args)

    def _spawn(self, fds: list[int]) -> None:
        self.marks("keeper_cgroup")
        super()._spawn(fds)
        self.marks("keeper_exec")

    def _write_maps(self, keeper: Fd) -> None:
        self.marks("namespaces")
        super()._write_maps(keeper)
        self.marks("maps")

    def _ready(self) -> tuple[bytes, bytes]:
        found = super()._ready()
        self.marks("root")
        return found


class _TimedTurn(Turn):
    """Notes when its parts are over. Its keeper goes back to the store that it came from, whatever the jail."""

    __slots__ = ("marks",)

    def __init__(self, command: Command, keepers: Idle, marks: _Marks) -> None:
        super().__init__(command, keepers)
        self.marks = marks

    def prepare(self) -> None:
        plan_prepare.usable_host(os.getpid())
        self.marks("host")
        super().prepare()
        self.marks("plan")

    def start(self) -> None:
        plan, kind = self.plan, partial(_TimedKeeper, self.marks)
        self.keeper = self.keepers.start(plan.template, plan.host, None, kind, lambda: plan.blob, self.lease)

    def _read(self) -> Outcome:
        woken = time.monotonic_ns()
        outcome = super()._read()
        done = time.monotonic_ns()
        facts = verdict_outcome.facts(self.report[0])
        if facts.started and facts.ended:
            for phase, at in (("send", facts.requested), ("setup", facts.started), ("program", facts.ended)):
                self.marks(phase, at)
            self.marks("teardown", facts.reported)
            self.marks("wake", woken)
            self.marks("result", done)
        return outcome

    def put_away(self) -> None:
        self.keeper.let_go()
        self.rest()


class Profile(NamedTuple):
    """Medians by phase, ns. ``first``: of this process; ``cold``: on a new keeper; ``armed``: on a warm one."""

    result: Result
    first: Phases
    cold: Phases
    armed: Phases


def profile(ask: Callable[[], Command], started: int) -> Profile:
    """Run the request that ``ask`` makes, once; then `true` in the same jail under the same limits, several times.

    ``started``: CLOCK_MONOTONIC ns, before this module was imported. The repeats are left out where there is no `true`.
    """
    marks = _Marks(started)
    marks("modules")
    request = ask()
    cold: list[Phases] = []
    armed: list[Phases] = []
    with contextlib.closing(Idle(1)) as keepers:
        result = _run(request, keepers, marks)
        with contextlib.suppress(JailError, OSError):
            _repeat(request, keepers, cold, armed)
    return Profile(result, marks.phases, _medians(cold), _medians(armed))


def _repeat(like: Command, keepers: Idle, cold: list[Phases], armed: list[Phases]) -> None:
    def timed() -> Phases:
        marks = _Marks(time.monotonic_ns())
        _run(make(["true"], like.limits, like.jail), keepers, marks)
        return marks.phases

    end = time.monotonic() + PATIENCE_S
    while len(cold) < REPEATS_COLD and time.monotonic() < end:
        keepers.close()
        cold.append(timed())
    while cold and not like.jail.fresh and len(armed) < REPEATS_ARMED and time.monotonic() < end + 1:
        (armed[-1] if armed else cold[-1])[AFTER] = _armed(like, keepers)
        time.sleep(0.005)  # the process that was started is ready by then, and the kernel done with the one before
        armed.append(timed())


def _armed(like: Command, keepers: Idle) -> int:
    """ns until the next jail is made."""
    start = time.monotonic_ns()
    turn = Turn(make(["true"], like.limits, like.jail), keepers)
    turn.open()
    ahead.arm(turn.keeper, turn.plan)
    turn.rest()
    return time.monotonic_ns() - start


def _run(request: Command, keepers: Idle, marks: _Marks) -> Result:
    """One run as `pyjail.run` does it. Raises what that would; what was tried in vain is time of the same phases."""
    marks("request")
    turn = _TimedTurn(request, keepers, marks)
    return turn.attempted(turn.run)


def _medians(rows: list[Phases]) -> Phases:
    names = [n for n in (*PHASES, AFTER) if any(n in row for row in rows)]
    return {n: int(statistics.median(row[n] for row in rows if n in row)) for n in names}


def table(found: Profile) -> list[str]:
    """Lines of text, µs."""
    columns = {"this run": found.first, "cold": found.cold, "armed": found.armed}
    columns = {name: phases for name, phases in columns.items() if phases}

    def line(name: str, values: list[int | None], who: str = "", what: str = "") -> str:
        cells = "".join(f"{'' if v is None else f'{v / 1000:.0f}':>10}" for v in values)
        return f"{name:14}{cells}  {who}{': ' if who else ''}{what}".rstrip()

    out = [f"{'µs':14}" + "".join(f"{name:>10}" for name in columns)]
    for name, (who, what) in PHASES.items():
        values = [phases.get(name) for phases in columns.values()]
        if any(v is not None for v in values):
            out.append(line(name, values, who, what))
    totals = [sum(v for name, v in phases.items() if name != AFTER) for phases in columns.values()]
    out.append(line("total", [*totals], "", "until the result is there"))
    after = [phases.get(AFTER) for phases in columns.values()]
    if any(v is not None for v in after):
        out.append(line(AFTER, after, "keeper", "after the result: the next one's process is started"))
    if found.cold:
        out.append(
            "this run: the program once, first of its process; cold: true in a new keeper; armed: true in a warm one"
        )
    return out
