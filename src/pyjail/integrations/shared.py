"""What several modules here need: the jail and the limits of an agent's machine, and how a command's end is told."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyjail import HostError, Jail, JailedProcessError, KeeperError, Limits, Mount, Result, SetupError, Verdict

__all__ = [
    "AGENT_LIMITS",
    "OURS",
    "agents_jail",
    "check",
    "configured",
    "ending",
    "exit_code",
    "patience",
    "with_ending",
]

AGENT_LIMITS = Limits(
    cpu_time=None, wall_time=120, memory="1G", processes=256, file_size="256M", open_files=1024, output="10M"
)
"""Of an agent's box where none are given: memory and processes of all its commands together, the rest for each."""

OURS = (HostError, KeeperError, SetupError)
"""What is raised when pyjail or the machine has failed: nothing can be said of the program then."""

BESIDE = "/opt/python-beside"


def agents_jail() -> Jail:
    """A `Jail` with its defaults in which `python` is found, too, as agents type it: many systems have `python3` alone.

    It is the system's Python, without the packages of the one that runs here; `Jail(python=sys.executable)` has those.

    >>> import pyjail
    >>> pyjail.run(["python", "-c", "print(6 * 7)"], jail=agents_jail()).stdout
    b'42\\n'
    """
    jail = Jail()
    path = jail.env["PATH"]
    if _system("python", path):
        return jail
    python = _system("python3", path)
    if python is None:
        return Jail(python=sys.executable)
    env = {**jail.env, "PATH": f"{path}:{BESIDE}"}
    return replace(jail, mounts=(Mount.bind(python, f"{BESIDE}/python"),), env=env)


def configured(fields: Mapping[str, Any] | None) -> Jail:
    """The `Jail` of a configuration's fields, with `python` as in `agents_jail` where root and programs are as usual.

    >>> configured({"hostname": "bench"}).hostname
    'bench'
    """
    jail = agents_jail()
    if not fields:
        return jail
    given = Jail.from_dict(fields)
    if fields.keys() & {"rootfs", "image", "python", "mounts", "env"}:
        return given
    return replace(given, mounts=jail.mounts, env=jail.env)


def _system(name: str, path: str) -> str | None:
    """Where this program really lies, if that is a place that every jail sees."""
    found = shutil.which(name, path=path)
    real = found and os.path.realpath(found)
    return real if real and real.startswith("/usr/") else None


def patience(limits: Limits, timeout: float | None) -> Limits:
    """These limits for a command that may take ``timeout`` seconds: None as they are, 0 as long as it takes."""
    return limits if timeout is None else replace(limits, wall_time=timeout or None)


def check(result: Result[Any]) -> None:
    """Raise `KeeperError` when nothing can be said of the program, because pyjail or the machine failed."""
    if result.verdict is Verdict.JAIL_ERROR:
        raise KeeperError(f"nothing can be said of the program: {result.error}") from JailedProcessError(result)


def exit_code(result: Result[Any]) -> int:
    """As a shell tells it: the program's own, 128+N for signal N, 124 when a limit ended it."""
    if result.verdict in (Verdict.OK, Verdict.RUNTIME_ERROR) and result.exit_code is not None:
        return result.exit_code
    return 128 + result.signal if result.verdict is Verdict.SIGNALED and result.signal else 124


def ending(result: Result[Any]) -> str:
    """A line that says which limit ended the program; empty when none did.

    >>> import pyjail
    >>> ending(pyjail.run(["sleep", "9"], pyjail.Limits(wall_time=0.1)))
    '[killed: more than 0.1 s of wall time]'
    """
    limits = result.limits
    words = {
        Verdict.CPU_TIME: f"more than {limits.cpu_time or 0:g} s of CPU time",
        Verdict.WALL_TIME: f"more than {limits.wall_time or 0:g} s of wall time",
        Verdict.MEMORY: f"out of memory: {(limits.memory or 0) >> 20} MiB are the limit",
        Verdict.OUTPUT: f"more than {limits.output or 0} bytes of output; the rest is cut off",
        Verdict.SECURITY: f"the system call {result.syscall} is not allowed",
    }.get(result.verdict)
    return f"[killed: {words}]" if words else ""


def with_ending(output: str, result: Result[Any]) -> str:
    """The output, and below it the line of `ending` where there is one."""
    line = ending(result)
    if not line:
        return output
    return f"{output}{'' if not output or output.endswith(chr(10)) else chr(10)}{line}\n"
