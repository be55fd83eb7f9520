"""What a program uses while it runs, by the kernel's own counts: `Used`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

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


def read(leaves: Iterable[str]) -> Used:
    """Of what runs in these cgroups. One may have served runs before, whose CPU time it still has."""
    found: dict[str, int] = {}
    for leaf in leaves:
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


def leaves(homes: Sequence[str]) -> Iterator[str]:
    """All leaves in these directories of a keeper."""
    for home in homes:
        try:
            names = os.listdir(home)
        except OSError:
            continue
        yield from (f"{home}/{name}" for name in names if name[0] == "r" and name[1:].isdigit())


def beside(leaf: str, homes: Sequence[str]) -> list[str]:
    """This leaf and, in the other directories of a keeper, those of the same program: each counts by itself."""
    pid = _text(f"{leaf}/cgroup.procs").partition("\n")[0]
    names = {line.rpartition("/")[2] for line in _text(f"/proc/{pid}/cgroup", 1 << 16).splitlines()} if pid else ()
    places = [f"{home}/{name}" for home in homes for name in names]
    return [place for place in places if pid in _text(f"{place}/cgroup.procs", 1 << 20).splitlines()]


def _text(path: str, most: int = 256) -> str:
    try:
        with open(path) as f:
            return f.read(most)
    except OSError:  # it has just ended, or this hierarchy has no such file
        return ""
