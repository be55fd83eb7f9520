"""What the rows are made from: the host as it is now, attempts in a process of their own, and jails that are run.

Each is looked at once, when the first row asks; an error is kept and raised again for every row that needs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pyjail._base.errors import HostError, SetupError
from pyjail._doctor.finding import NO, Finding
from pyjail._host import seldom
from pyjail._host.machine import Host
from pyjail._plan import prepare
from pyjail._plan.compile import RunLimits, Template
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict
from pyjail._run import run as run_module
from pyjail._spec.jail import Jail, Limits

PATIENCE_S = 120.0
T = TypeVar("T")


class Once(Generic[T]):
    """A method that runs once per object and gives the same value, or raises the same error, ever after."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, obj: Any, owner: type) -> T:
        if self.name not in obj.__dict__:
            try:
                obj.__dict__[self.name] = (self.make(obj), None)
            except Exception as e:
                obj.__dict__[self.name] = (None, e)
        value: T
        value, error = obj.__dict__[self.name]
        if error is not None:
            raise error
        return value


class Examination:
    """One look at this machine. ``found``: the rows so far."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        prepare.look_again()

    @Once
    def host(self) -> Host:
        """This machine with the cgroups that were found to work, as a run sees it."""
        return seldom.with_switches(prepare.usable_host(os.getpid(), cpuset=True))

    @Once
    def attempts(self) -> dict[str, tuple[str, int] | None]:
        """(call, errno) of each of attempts.py that failed, None of those that worked."""
        here = Path(__file__).resolve().parent
        done = subprocess.run(
            [sys.executable, "-I", str(here / "attempts.py"), str(here.parent / "_core" / "keeper")]
            + ["privileged"] * self.host.privileged,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"the probe {sys.executable} -I attempts.py ended with {done.returncode}: {said}")
        return {name: None if r is None else (r[0], r[1]) for name, r in json.loads(done.stdout).items()}

    def plan(self, limits: Limits) -> tuple[Template, RunLimits]:
        """What a run with these limits would be, missing controls and all."""
        found = prepare.compiled(Jail(strict=False), limits, (), os.getpid())
        return found.template, found.run

    @Once
    def default(self) -> tuple[Template, RunLimits]:
        """The plan of the default limits."""
        return self.plan(Limits())

    @Once
    def loose(self) -> tuple[Result, Jail]:
        """A run that takes what it can get: its receipt says what the kernel gave. And the jail that it was."""
        jail = Jail(strict=False, fresh=True)
        try:
            return run(jail), jail
        except HostError as e:
            if e.control != "proc":
                raise
        jail = replace(jail, proc=False)
        return run(jail), jail

    @Once
    def strict(self) -> Result:
        """The proof: `pyjail.run` as everybody calls it."""
        return run(Jail(strict=True))

    @property
    def is_strict(self) -> bool:
        """Whether the proof succeeded."""
        try:
            return self.strict.ok
        except Exception:
            return False


def run(jail: Jail, limits: Limits | None = None, args: tuple[str, ...] = ("true",)) -> Result:
    """Run a program that does nothing; raises unless it ended well."""
    result = run_module.run(args, limits, jail=jail)
    if result.verdict is not Verdict.OK:
        raise RuntimeError(
            f"a jail that should have ended well ended with {result.verdict.value}: {result.error or ''}"
        )
    return result


def failed(layer: str, error: Exception) -> Finding:
    """The row of something that raised."""
    if isinstance(error, HostError):
        return Finding(layer, NO, f"{error.control}: {error.cause}", error.hint)
    if isinstance(error, SetupError):
        return Finding(layer, NO, str(error).removesuffix(f". {error.hint}"), error.hint)
    return Finding(layer, NO, f"{type(error).__name__}: {error}")
