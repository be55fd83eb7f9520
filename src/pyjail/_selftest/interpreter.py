"""Which Python runs the attempts inside: the running one, the jail's own, or, for a rootfs without any, the running one
brought along with the libraries that it needs."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyjail
from pyjail import (
    ExecError,
    Jail,
    Limits,
    Mount,
    Result,
    SpecError,
    Verdict,
)

BROUGHT = "/pyjail-python"
TRIAL = ("-I", "-S", "-c", "import ctypes, json, sys; sys.stdout.write('here')")
USUAL_START_S = 0.15


@dataclass(frozen=True)
class Interpreter:
    """A Python that runs in ``jail``, the user's, perhaps with mounts more.

    Attributes:
        command: what to put before its arguments. program: its file inside.
        start: seconds that it takes to start and end. first: the result of a run that did nothing else.
    """

    command: tuple[str, ...]
    program: str
    jail: Jail
    start: float
    first: Result

    @property
    def slowness(self) -> float:
        """By how much this machine is slower than a usual one; at least 1. Time limits are multiplied by it."""
        return max(1.0, self.start / USUAL_START_S)


def find(jail: Jail, limits: Limits) -> Interpreter:
    """The first that runs. Raises SpecError when none does, and what `run` raises when no jail can be built."""
    failures = []
    for command, program, where in _candidates(jail):
        try:
            pyjail.run([*command, *TRIAL], limits, jail=where)
            result = pyjail.run([*command, *TRIAL], limits, jail=where)  # the second one finds everything warm
        except ExecError as e:
            failures.append(f"{command[0]}: {e}")
            continue
        if result.stdout == b"here" and result.verdict is Verdict.OK:
            return Interpreter(command, program, where, result.usage.wall_time or 0.0, result)
        said = (result.stderr or b"").decode("utf-8", "replace").strip().rpartition("\n")[2]
        failures.append(f"{command[0]}: {result.verdict.value} {result.syscall or ''} {said}")
    reason = f"the attempts are Python programs, and no Python with ctypes runs in this jail ({'; '.join(failures)})"
    raise SpecError("jail", jail, reason)


def _candidates(jail: Jail) -> Iterator[tuple[tuple[str, ...], str, Jail]]:
    for path in dict.fromkeys((sys.executable, "/usr/local/bin/python3", "/usr/bin/python3")):
        yield (path,), path, jail
    if not jail.rootfs is jail.image is None:
        found = brought(jail)
        if found is not None:
            yield found


def brought(jail: Jail) -> tuple[tuple[str, ...], str, Jail] | None:
    """The running interpreter below `BROUGHT`, started by its own dynamic loader; None when it is linked statically, or
    is a program that embeds Python."""
    program, prefix = os.path.realpath(sys.executable or ""), os.path.realpath(sys.base_prefix)
    standard = os.path.realpath(sysconfig.get_path("stdlib"))
    loader, libraries = _loaded(prefix, standard)
    if not loader or not all(os.path.exists(p) and p.startswith(prefix + "/") for p in (program, standard)):
        return None
    inner, shown = f"{BROUGHT}/prefix", (program, standard)
    places = {path: inner + path[len(prefix) :] for path in shown}
    for i, directory in enumerate(sorted({os.path.dirname(p) for p in (*libraries, loader)})):
        places.setdefault(directory, f"{BROUGHT}/lib{i}")
    mounts = tuple(Mount.bind(source, inside) for source, inside in places.items())
    inside = places[program]
    search = ":".join([*(p for p in places.values() if p.startswith(f"{BROUGHT}/lib")), f"{inner}/lib"])
    start = f"{places[os.path.dirname(loader)]}/{os.path.basename(loader)}"
    return (start, "--library-path", search, inside), inside, replace(jail, mounts=(*jail.mounts, *mounts))


def _loaded(prefix: str, standard: str) -> tuple[str, list[str]]:
    """The dynamic loader and the libraries of the system and of the installation that this process has mapped."""
    found = []
    try:
        with open("/proc/self/maps") as f:
            found = [
                os.path.realpath("/" + line.rstrip("\n").partition("/")[2])
                for line in f
                if ".so" in line and "/" in line
            ]
    except OSError:
        pass
    loader = next((p for p in found if os.path.basename(p).startswith("ld")), "")
    known = ("/lib", "/usr", f"{prefix}/lib/", f"{prefix}/lib64/")
    libraries = [p for p in dict.fromkeys(found) if p.startswith(known) and not p.startswith(standard + "/")]
    return loader, [p for p in libraries if os.path.exists(p)]
