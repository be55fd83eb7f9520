"""Whether the memory that a service may use is enough for the programs that it may run at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pyjail.serve.config import Config

_OWN = 256 << 20  # of the service itself, without what requests and answers hold
_HELD = 3  # times its length is what a body takes while it is read, and what is made of it until it is answered
_V2, _V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")


def lacking(config: Config, there: int | None = None) -> str:
    """What is too little, for people; "" when all of it fits. ``there``: bytes; None: as this machine has it."""
    most = config.maxima.memory
    if most is None:
        return ""
    there = available() if there is None else there
    needed = config.admission.concurrent * most + own(config)
    if there >= needed:
        return ""
    return (
        f"{config.admission.concurrent} programs of serve.maxima.memory and the service may need {needed >> 20} MiB, "
        f"and there are {there >> 20} MiB: when all take what they may, the kernel ends some of them, or the service"
    )


def own(config: Config) -> int:
    """Bytes that the service itself may take: with as many of bodies as it holds at once, and what sessions and boxes
    keep."""
    return _OWN + _HELD * config.admission.inflight + config.places.disk + config.places.snapshots


def available() -> int:
    """Bytes that this process and what it starts may use: the least of this machine and the cgroups that it is in."""
    return min([_machine(), *_bounds(Path("/proc/self/cgroup").read_text(), _V1, _V2)])


def _machine() -> int:
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemTotal:"))


def _bounds(cgroups: str, v1: Path, v2: Path) -> Iterator[int]:
    """Of each cgroup on the way up."""
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        root, name = (v2, "memory.max") if not controllers else (v1, "memory.limit_in_bytes")
        if controllers and "memory" not in controllers.split(","):
            continue
        parts = PurePosixPath(path.lstrip("/"))
        for below in (parts, *parts.parents):
            try:
                text = (root / below / name).read_text().strip()
            except OSError:  # the root has none, and a namespace may hide it
                continue
            if text.isdigit():
                yield int(text)
