"""What a machine must show before a service starts: strict jails, and each limit by a program that exceeds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyjail
from pyjail import Finding, HostError, Jail, JailError, Limits, ProgramNotFoundError, Result, Verdict
from pyjail.serve.config import Config

_NO = "no"
_AT_ONCE = 4
_FILL = f"while echo {'x' * 60}; do :; done >/box/f"


class Refused(Exception):
    """The service does not start. ``why``: for people; ``fix``: what to do about it, "" for nothing known."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why, self.fix = why, fix


@dataclass(frozen=True)
class _Trial:
    """``shell`` exceeds the limit of this name, which is ``limits`` then; ``held``: whether it was enforced."""

    shell: str
    limits: dict[str, Any]
    held: Callable[[Result], bool]


def _hit(name: str) -> Callable[[Result], bool]:
    return lambda result: name in result.limits_hit


_TRIALS = {
    "cpu_time": _Trial("while :; do :; done", {"cpu_time": 0.05}, _hit("cpu_time")),
    "wall_time": _Trial("while :; do :; done", {"wall_time": 0.05}, _hit("wall_time")),
    # Not without an end: where the limit does not hold, nothing else would be one.
    "memory": _Trial("x=aaaaaaaa; while [ ${#x} -lt 67108864 ]; do x=$x$x; done", {"memory": "16M"}, _hit("memory")),
    "processes": _Trial("for i in 1 2 3 4; do (while :; do :; done) & done; wait", {"processes": 3}, _hit("processes")),
    "output": _Trial(f"while :; do echo {'x' * 60}; done", {"output": 1000}, _hit("output")),
    "disk": _Trial(_FILL, {"disk": "64K"}, _hit("disk")),
    "inodes": _Trial("i=0; while : >/box/$i; do i=$((i+1)); done", {"inodes": 20}, _hit("inodes")),
    "file_size": _Trial(_FILL, {"file_size": "4K"}, lambda result: not result.ok),
    "open_files": _Trial(
        "exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null 9</dev/null",
        {"open_files": 6},
        lambda result: not result.ok,
    ),
}


def strict() -> None:
    """Nothing, when strict jails run here, which is what decides for `pyjail.doctor`, too; else `Refused` with the row
    of it that is in the way. All its rows would take longer than a service should to start."""
    try:
        pyjail.run(["true"], jail=Jail(strict=True, fresh=True))
    except JailError as e:
        raise _explained(pyjail.doctor(), e) from None


def _explained(found: tuple[Finding, ...], e: JailError) -> Refused:
    # rows are in the order in which layers build on each other: the first has to be seen to first
    row = next((row for row in found if row.status == _NO and row.required), None)
    if row is None:
        return Refused(f"strict jails do not run here: {e}")
    return Refused(f"strict jails do not run here: {row.layer}: {row.why}", row.fix)


def of(config: Config) -> list[str]:
    """What is not held or could not be tried, for people; everything else holds. Raises `Refused` for a limit that does
    not, unless the jail of the configuration is not strict."""
    lacking = {
        name
        for said, limits in (("limits", config.limits), ("serve.maxima", config.maxima))
        for name in _lacking(config, said, limits)
    }
    names = [name for name in _TRIALS if _wanted(config, name) and name not in lacking]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        tried = [said for found in threads.map(lambda name: [*_try(config, name)], names) for said in found]
    return [f"limits.{name} is not enforced here, and jail.strict is false" for name in sorted(lacking)] + tried


def _wanted(config: Config, name: str) -> bool:
    return getattr(config.limits, name) is not None or getattr(config.maxima, name) is not None


def _lacking(config: Config, said: str, limits: Limits) -> list[str]:
    """Those of these limits that the receipt of a run lacks; none, where the jail is strict."""
    try:
        result = pyjail.run(["/bin/sh", "-c", ":"], jail=config.jail, limits=limits)
    except ProgramNotFoundError:
        return []  # a root without a shell; it was built as asked
    except HostError as e:
        raise Refused(f"[{said}] {e.control} cannot be enforced here: {e.cause}", e.hint) from None
    except JailError as e:
        raise Refused(f"a jail with [{said}] does not run here: {e}") from None
    lacking = [row.name for row in result.receipt.not_enforced if getattr(limits, row.name, None) is not None]
    if config.jail.strict and lacking:
        raise Refused(f"a jail with [{said}] runs without {', '.join(lacking)}")
    return lacking


def _try(config: Config, name: str) -> Iterator[str]:
    """Exceeds this limit."""
    trial = _TRIALS[name]
    limits = replace(Limits(cpu_time=5, wall_time=5), **trial.limits)
    try:
        result = pyjail.run(["/bin/sh", "-c", trial.shell], jail=config.jail, limits=limits)
    except ProgramNotFoundError:
        yield f"limits.{name} was not tried: there is no /bin/sh in the jail"
        return
    except JailError as e:
        if config.jail.strict:
            raise Refused(f"limits.{name} could not be tried: {e}") from None
        yield f"limits.{name} could not be tried: {e}"
        return
    if trial.held(result):
        return
    if result.verdict is Verdict.SECURITY:
        yield f"limits.{name} was not tried: the filter of the jail ends what would exceed it"
        return
    if config.jail.strict:
        raise Refused(f"limits.{name} does not hold here: a program that exceeds it ended {result.verdict.value}")
    yield f"limits.{name} does not hold here, and jail.strict is false"
