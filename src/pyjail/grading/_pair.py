"""Two jails and the two pipes between them: the candidate's, and the checker's, which alone can report."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import io
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import chain, starmap
from typing import Any

import pyjail
from pyjail import Jail, Limits, Result, SetupError, SpecError, Verdict, languages
from pyjail.grading.inside.encoding import Malformed, Unsupported, decode, encode
from pyjail.grading.inside.frames import NONCE

DIRECTORY = "pyjail_grading"  # of the sources of `pyjail.grading.inside`, in both jails
JOB = f"{DIRECTORY}/job"
MOST_SOURCE = 4 << 20  # bytes of one file of a submission, or of the tests
CHECKER_MORE = 10.0  # s that the checker has longer than the candidate, to notice how that one ended
WALL = 3.0  # times the timeout, and 1 s: what is in the way of a candidate that waits for ever, on a machine with room


@dataclass(frozen=True)
class Setting:
    """Where a check runs: what all three kinds of checks take."""

    timeout: float
    limits: Limits | None
    jail: Jail | None
    checker_limits: Limits | None
    checker_jail: Jail | None
    python: str | None
    packages: bool

    def of_candidate(self, patience: float = 1.0) -> Limits:
        """The given limits, ``timeout`` s of CPU time at most, and a wall time that ends who waits for ever."""
        given = (self.limits or Limits(processes=32, output="1M", disk="16M")).to_dict()
        given["cpu_time"] = self.timeout if given["cpu_time"] is None else min(given["cpu_time"], self.timeout)
        share = given["cpus"] if isinstance(given["cpus"], float) else 1.0
        wall = WALL * self.timeout / min(1.0, share) + 1.0
        given["wall_time"] = patience * (wall if given["wall_time"] is None else min(given["wall_time"], wall))
        return Limits(**given)

    def of_checker(self, patience: float = 1.0) -> Limits:
        """Enough to outlive the candidate."""
        if self.checker_limits is None:
            wall = self.of_candidate(patience).wall_time or 0.0
            return Limits(cpu_time=self.timeout + CHECKER_MORE, wall_time=wall + CHECKER_MORE, memory="512M")
        given = self.checker_limits.to_dict()
        given["wall_time"] = None if given["wall_time"] is None else patience * given["wall_time"]
        return Limits(**given)

    def interpreter(self, jail: Jail | None) -> str:
        """The jail's own choice, or this Python, which every jail without a root of its own sees; else the root's."""
        chosen = self.python or (jail.python if jail is not None else None)
        return str(chosen or (sys.executable if jail is None or jail.rootfs is jail.image is None else "python3"))

    def furnished(self, jail: Jail | None, packages: bool) -> Jail | None:
        """The jail, with what is installed for its interpreter when that is asked for."""
        python = self.interpreter(jail)
        given = Jail() if jail is None else jail
        if not packages or not given.rootfs is given.image is given.python is None or not os.path.isabs(python):
            return jail
        return replace(given, python=python)


def setting(
    timeout: Any, limits: Any, jail: Any, checker_limits: Any, checker_jail: Any, python: Any, packages: Any
) -> Setting:  # fmt: skip
    """Checked as far as `pyjail.run` will not do it better."""
    try:
        seconds = Limits(cpu_time=timeout).cpu_time
    except SpecError as e:
        raise SpecError("timeout", timeout, e.reason) from None
    if seconds is None:
        raise SpecError("timeout", timeout, "seconds are needed: a check without an end proves nothing")
    for name, value in (("limits", limits), ("checker_limits", checker_limits)):
        if value is not None and not isinstance(value, Limits):
            raise SpecError(name, value, "a pyjail.Limits is needed")
    for name, value in (("jail", jail), ("checker_jail", checker_jail)):
        if value is not None and not isinstance(value, Jail):
            raise SpecError(name, value, "a pyjail.Jail is needed")
    if python is not None and not isinstance(python, str):
        raise SpecError("python", python, "a path inside the jails is needed")
    if not isinstance(packages, bool):
        raise SpecError("packages", packages, "True or False is needed")
    theirs = jail if checker_jail is None else checker_jail
    return Setting(seconds, limits, jail, checker_limits, theirs, python, packages)


def source(field: str, value: object) -> bytes:
    """Source text as bytes. A lone surrogate, which no source can hold, becomes a SyntaxError of the submission."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise SpecError(field, value, "source text is needed")
    if len(value) > MOST_SOURCE:
        raise SpecError(field, f"{len(value)} bytes", f"more than {MOST_SOURCE} bytes")
    return value


def submitted(field: str, value: object) -> bytes:
    """`source` of a submission: one that is too large is no error of the caller's, but a program that says so."""
    try:
        return source(field, value)
    except SpecError:
        if not isinstance(value, (str, bytes)):
            raise
    return b"raise MemoryError('a source of more than %d bytes')\n" % MOST_SOURCE


@cache
def drivers() -> dict[str, bytes]:
    """The sources of `pyjail.grading.inside`, as files of a jail."""
    where = resources.files("pyjail.grading.inside")
    return {f"{DIRECTORY}/{f.name}": f.read_bytes() for f in where.iterdir() if f.name.endswith(".py")}


def job(values: Mapping[str, Any], field: str) -> bytes:
    """The checker's task; SpecError when it holds what is no plain data."""
    try:
        return encode(dict(values))
    except Unsupported as e:
        raise SpecError(field, "...", f"holds {e}; plain data is needed") from None


@dataclass(frozen=True)
class Pair:
    """What the two jails came to, and what the checker reported, in order.

    ``held``: why a jail that did not end by itself says nothing of its program; "" when it does. ``refused``: why the
    files of the submission could not even be written; else "".
    """

    candidate: Result
    checker: Result
    reports: tuple[tuple[Any, ...], ...]
    held: str = ""
    refused: str = ""


def start(driver: str, argument: str, packages: bool) -> list[str]:
    """Python's arguments. /box is on the path for the driver only: a file there must not replace a module."""
    load = f"from {DIRECTORY}.{driver} import main; sys.path.remove('/box'); main({argument})"
    return [*(["-I"] if packages else ["-I", "-S"]), "-B", "-c", f"import sys; sys.path.insert(0, '/box'); {load}"]


def run(
    where: Setting,
    submission: Mapping[str, Any],
    task: bytes,
    tests: Mapping[str, Any] | None = None,
    site: bool = False,
    patience: float = 1.0,
) -> Pair:
    """Run both jails until both have ended. ``site``: the checker sees installed packages, whatever ``where`` says.

    ``patience``: how many times longer than usual they may take on the clock.
    """
    site = site or where.packages
    ends = Ends()
    found: list[Result | BaseException] = []
    files = {**drivers(), **{name: data for name, data in submission.items() if name not in drivers()}}

    def candidate() -> None:
        requests, answers = ends.candidate
        try:
            r = pyjail.run(
                [where.interpreter(where.jail), *start("candidate", "", where.packages)],
                where.of_candidate(patience), jail=where.furnished(where.jail, where.packages),
                files=files, stdin=requests, stdout=answers,
            )  # fmt: skip
            found.append(r)
        except BaseException as e:
            found.append(e)
        finally:  # all its processes are gone: with our copies closed the checker learns of it
            close(ends.candidate)

    watch = languages.Watch()
    context = contextvars.copy_context()  # whoever cancels this ends both jails
    thread = threading.Thread(target=context.run, args=(candidate,), name="pyjail-candidate", daemon=True)
    try:
        thread.start()
        answers, requests = ends.checker
        checker = pyjail.run(
            [where.interpreter(where.checker_jail), *start("checker", f"'/box/{JOB}'", site)],
            where.of_checker(patience), jail=where.furnished(where.checker_jail, site),
            files={**(tests or {}), **drivers(), JOB: task}, stdin=answers, stdout=requests,
        )  # fmt: skip
    except RuntimeError as e:
        if thread.ident is not None:
            raise
        close(ends.candidate)
        raise OSError(errno.EAGAIN, f"{e}: raise RLIMIT_NPROC or the cgroup's pids.max") from None
    finally:  # the candidate's driver ends when nobody can ask any more
        close(ends.checker)
        if thread.ident is not None:
            thread.join()
    if isinstance(found[0], BaseException):
        why = unwritable(found[0])
        if not why:
            raise found[0]
        never: Result = Result([], 1, Verdict.JAIL_ERROR, b"", b"", error=f"nothing was started: {why}")
        return Pair(never, checker, (), refused=why)
    return Pair(found[0], checker, parse(checker.stderr), held(found[0], checker, where.timeout, watch.free()))


def unwritable(e: BaseException) -> str:
    """What is wrong with the files of a submission, when it is that; else "". Ours are written before them."""
    if isinstance(e, SpecError) and e.field == "files" and e.value != "...":
        return str(e)
    full = isinstance(e, SetupError) and e.step == "open" and e.errno in (errno.ENOSPC, errno.EFBIG)
    return str(e) if full and f"files['{DIRECTORY}/" not in str(e) else ""


def held(candidate: Result, checker: Result, timeout: float, free: float | None) -> str:
    """Why these two jails say nothing of what ran in them: one failed, or the machine had no time for it. Else "".

    ``free``: for how many s at least a CPU was to be had meanwhile. A candidate that had ``timeout`` s of them has met
    its wall limit by waiting, and so has a checker that had most of its own.
    """
    for name, r, enough in (("candidate", candidate, timeout), ("checker", checker, float("inf"))):
        if r.verdict is Verdict.JAIL_ERROR:
            return f"the {name}'s jail failed: {r.error}"
        if r.verdict is Verdict.WALL_TIME:
            # who asks may have come late
            had = None if free is None else min(free, checker.usage.wall_time or 0.0)
            if why := languages.held_up(f"the {name}", r, had, enough):
                return why
    return ""


class Ends:
    """The ends of two pipes, each closed by the thread that gave it to its jail, when that jail is gone.

    They are owned from the instant at which they exist, for a signal handler may raise at any step of Python code:
    only C code moves their numbers.
    """

    def __init__(self) -> None:
        self.candidate: list[int] = []  # it reads requests, and writes answers
        self.checker: list[int] = []  # it reads answers, and writes requests
        weakref.finalize(self, _close_both, self.candidate, self.checker)
        self.candidate.extend(chain.from_iterable(starmap(os.pipe, ((), ()))))
        self.checker.extend(map(self.candidate.pop, (2, 1)))


def close(held: list[int]) -> None:
    """Close these, once."""
    with contextlib.suppress(IndexError):
        for _ in map(os.close, iter(held.pop, None)):
            pass


def _close_both(*ends: list[int]) -> None:
    for held in ends:
        close(held)


def parse(raw: bytes) -> tuple[tuple[Any, ...], ...]:
    """The checker's reports. What is cut off at its end, because the checker was killed, is left out."""
    reports = []
    stream = io.BytesIO(raw)
    with contextlib.suppress(Malformed):
        while header := stream.read(4 + NONCE):
            report = decode(stream.read(int.from_bytes(header[:4], "big")))
            if isinstance(report, tuple) and report:
                reports.append(report)
    return tuple(reports)
