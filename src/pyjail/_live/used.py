"""What a program uses while it runs, by the kernel's own counts: `Used`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from pyjail._base.records import dataclass
from pyjail._base.shown import Shown


@dataclass(frozen=True, repr=False)
class Used(Shown):
    """What a program has used until now. A field that this kernel cannot give is None.

    Attributes:
        cpu_time: s of the whole tree. memory: bytes that it has now. processes: processes and threads that live now.
    """

    cpu_time: float | None = None
    memory: int | None = None
    processes: int | None = None

    def _words(self) -> Iterator[str]:
        yield ", ".join(f"{name}={value}" for name, value in self.to_dict().items())


def read(homes: Sequence[str]) -> Used:
    """Of what runs in these directories' leaves. A leaf may have served runs before, whose CPU time it still has."""
    found: dict[str, int] = {}
    for home in homes:
        for leaf in _leaves(home):
            for name in ("memory.current", "memory.usage_in_bytes", "pids.current", "cpuacct.usage", "cpu.stat"):
                text = _text(f"{leaf}/{name}").removeprefix("usage_usec ").split("\n")[0]
                if text.isdigit():
                    found[name] = found.get(name, 0) + int(text)
    cpu = None
    for name, unit in (("cpuacct.usage", 1e9), ("cpu.stat", 1e6)):
        cpu = found[name] / unit if name in found else cpu
    return Used(cpu, found.get("memory.current", found.get("memory.usage_in_bytes")), found.get("pids.current"))


def since(before: Used, now: Used) -> Used:
    """``now``, without the CPU time of ``before``."""
    if before.cpu_time is None or now.cpu_time is None:
        return now
    return Used(max(0.0, round(now.cpu_time - before.cpu_time, 6)), now.memory, now.processes)


def _leaves(home: str) -> list[str]:
    try:
        names = os.listdir(home)
    except OSError:
        return []
    return [f"{home}/{name}" for name in names if name[0] == "r" and name[1:].isdigit()]


def _text(path: str) -> str:
    try:
        with open(path) as f:
            return f.read(256)
    except OSError:  # it has just ended, or this hierarchy has no such file
        return ""
