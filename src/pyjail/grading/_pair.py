"""Two jails and the two pipes between them: the candidate's, and the checker's, which alone can report."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import pyjail
from pyjail import Jail, Limits, Result, SpecError
from pyjail.grading.inside.encoding import Malformed, Unsupported, decode, encode
from pyjail.grading.inside.frames import NONCE

DIRECTORY = "pyjail_grading"  # of the sources of `pyjail.grading.inside`, in both jails
JOB = f"{DIRECTORY}/job"
MOST_SOURCE = 4 << 20  # bytes of one file of a submission, or of the tests
CHECKER_MORE = 10.0  # s that the checker has longer than the candidate, to notice how that one ended


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

    def of_candidate(self) -> Limits:
        """The given limits, and not more time than ``timeout``."""
        given = (self.limits or Limits(processes=32, output="1M", disk="16M")).to_dict()
        for name in ("cpu_time", "wall_time"):
            given[name] = self.timeout if given[name] is None else min(given[name], self.timeout)
        return Limits(**given)

    def of_checker(self) -> Limits:
        """Enough to outlive the candidate."""
        seconds = self.timeout + CHECKER_MORE
        return self.checker_limits or Limits(cpu_time=seconds, wall_time=seconds, memory="512M")

    def interpreter(self, jail: Jail | None) -> str:
        """This Python, which every jail without a root of its own sees; else the root's own."""
        return self.python or (sys.executable if jail is None or jail.rootfs is None else "python3")


def setting(
    timeout: Any, limits: Any, jail: Any, checker_limits: Any, checker_jail: Any, python: Any, packages: Any
) -> Setting:  # fmt: skip
    """Checked as far as `pyjail.run` will not do it better."""
    Limits(wall_time=timeout)
    if timeout is None:
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
    return Setting(float(timeout), limits, jail, checker_limits, theirs, python, packages)


def source(field: str, value: object) -> bytes:
    """Source text as bytes. A lone surrogate, which no source can hold, becomes a SyntaxError of the submission."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise SpecError(field, value, "source text is needed")
    if len(value) > MOST_SOURCE:
        raise SpecError(field, f"{len(value)} bytes", f"more than {MOST_SOURCE} bytes")
    return value


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
    """What the two jails came to, and what the checker reported, in order."""

    candidate: Result
    checker: Result
    reports: tuple[tuple[Any, ...], ...]


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
) -> Pair:
    """Run both jails until both have ended. ``site``: the checker sees installed packages, whatever ``where`` says."""
    fds = Fds()
    found: list[Result | BaseException] = []

    def candidate() -> None:
        try:
            r = pyjail.run(
                [where.interpreter(where.jail), *start("candidate", "", where.packages)],
                where.of_candidate(), jail=where.jail, files={**submission, **drivers()},
                stdin=fds.requests[0], stdout=fds.answers[1],
            )  # fmt: skip
            found.append(r)
        except BaseException as e:
            found.append(e)
        finally:  # all its processes are gone: with our copies closed the checker learns of it
            fds.close(fds.requests[0], fds.answers[1])

    thread = threading.Thread(target=candidate, name="pyjail-candidate", daemon=True)
    try:
        thread.start()
    except RuntimeError as e:
        fds.close(*fds.requests, *fds.answers)
        raise OSError(errno.EAGAIN, f"{e}: raise RLIMIT_NPROC or the cgroup's pids.max") from None
    try:
        checker = pyjail.run(
            [where.interpreter(where.checker_jail), *start("checker", f"'/box/{JOB}'", where.packages or site)],
            where.of_checker(), jail=where.checker_jail, files={**(tests or {}), **drivers(), JOB: task},
            stdin=fds.answers[0], stdout=fds.requests[1],
        )  # fmt: skip
    finally:  # the candidate's driver ends when nobody can ask any more
        fds.close(fds.requests[1], fds.answers[0])
        thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return Pair(found[0], checker, parse(checker.stderr))


class Fds:
    """Two pipes. Each end is closed by the thread that gave it to its jail, when that jail is gone."""

    def __init__(self) -> None:
        self.requests = os.pipe()
        try:
            self.answers = os.pipe()
        except OSError:
            self.close(*self.requests)
            raise

    @staticmethod
    def close(*fds: int) -> None:
        for fd in fds:
            os.close(fd)


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
