"""`Limits`: what one run may use, as frozen, validated data. No I/O here."""

from __future__ import annotations

import os

from pyjail._base import lazy, records, units
from pyjail._base.errors import SpecError
from pyjail._base.records import dataclass
from pyjail._base.shown import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

MIB = 1 << 20


def _set(obj: object, name: str, value: object) -> None:
    object.__setattr__(obj, name, value)


class Follows(float):
    """A wall time that was not given: it stays so in a copy with another CPU time."""

    __slots__ = ()


def default_wall_time(cpu_time: float | None, cpus: object) -> Follows:
    """Of a program that is given this CPU time: so much that one which computes meets the CPU limit first."""
    if cpu_time is None:
        return Follows(30.0)
    alone = cpu_time / min(1.0, cpus) if isinstance(cpus, float) else cpu_time
    return Follows(min(max(3 * alone, alone + 2), 9e9))


_STARTS = dict.fromkeys(("memory", "stack", "address_space"), units.PAGE)


@dataclass(frozen=True, repr=False)
class Limits(Shown):
    """What one run may use; each limit covers the whole process tree. ``None`` means no such limit.

    Sizes are bytes or text in powers of 1024: "64K", "256M", "1.5G", "64MB" and "64MiB" (the same). Times are seconds
    or text: "500ms", "2s", "1m". "none" is None. Zero, negative, NaN, infinite, boolean or 2^63 and above is a
    `SpecError`, and so is less memory, stack or address space than a page.

    Attributes:
        cpu_time: seconds of CPU, summed over all processes, unreaped and orphaned ones too. Enforced by the
            cgroup's CPU clock. Default 10.
        wall_time: seconds of CLOCK_MONOTONIC from execve to the end. When it is not given it follows ``cpu_time``, also
            when that is replaced: 3 times as much, but 2 s more at least (with ``cpus`` below 1, of the time that the
            CPU time takes then); 30 when there is no ``cpu_time``. So the default is 30.
        memory: bytes of RAM as the kernel's memory controller charges them: heap, page cache, tmpfs, shm, memfd,
            page tables, pipes; swap is denied. Default 256 MiB.
        processes: processes and threads alive at once, the program included. Default 64.
        output: bytes kept of each captured stream; one byte more ends the run. Default 10 MiB.
        disk: bytes of /box and of /tmp, each. Default 64 MiB.
        inodes: files and directories in /box and in /tmp, each. Default 4096.
        file_size: bytes of one file (RLIMIT_FSIZE). Default 64 MiB.
        open_files: file descriptors per process (RLIMIT_NOFILE). Default 256.
        stack: bytes of the main thread's stack (RLIMIT_STACK). Default 8 MiB.
        core: bytes of a core file (RLIMIT_CORE); 0, the default, means none.
        collect: bytes read back by ``collect=``, in all. Default 64 MiB. collect_files: files, 1000.
        cpus: cores as a float (a share of CPU time) or a set of CPU numbers to run on. Default 1.0: what is parallel
            (compilers, JVMs, numpy) needs more to be as quick as outside.
        address_space: bytes of virtual memory per process (RLIMIT_AS). Off by default: it breaks runtimes that
            reserve address space (JVM, Node, Go, .NET).
        io_rate: bytes per second read from, and as many written to, each disk (io.max, cgroup v2 only). Off by default.

    >>> Limits(memory="256M").memory, Limits(cpu_time="1s").wall_time
    (268435456, 3.0)
    """

    cpu_time: float | None = 10.0
    wall_time: float | None = Follows(30.0)
    memory: int | None = 256 * MIB
    processes: int | None = 64
    output: int | None = 10 * MIB
    disk: int | None = 64 * MIB
    inodes: int | None = 4096
    file_size: int | None = 64 * MIB
    open_files: int | None = 256
    stack: int | None = 8 * MIB
    core: int | None = 0
    collect: int | None = 64 * MIB
    cpus: float | frozenset[int] | None = 1.0
    address_space: int | None = None
    io_rate: int | None = None
    collect_files: int | None = 1000

    if TYPE_CHECKING:  # more can be given than what it is then

        def __init__(
            self,
            cpu_time: float | str | None = 10.0,
            wall_time: float | str | None = 30.0,
            memory: int | str | None = 256 * MIB,
            processes: int | None = 64,
            output: int | str | None = 10 * MIB,
            disk: int | str | None = 64 * MIB,
            inodes: int | None = 4096,
            file_size: int | str | None = 64 * MIB,
            open_files: int | None = 256,
            stack: int | str | None = 8 * MIB,
            core: int | str | None = 0,
            collect: int | str | None = 64 * MIB,
            cpus: float | Iterable[int] | None = 1.0,
            address_space: int | str | None = None,
            io_rate: int | str | None = None,
            collect_files: int | None = 1000,
        ) -> None: ...

    def __new__(cls, *args: Any, **given: Any) -> Self:
        made = object.__new__(cls)
        wall = args[1] if len(args) > 1 else given.get("wall_time")
        if type(wall) is Follows and len(args) + len(given) < len(cls.__match_args__):  # of another; and no copy
            made.__dict__["_wall_time"] = float(wall)
        return made

    def __post_init__(self) -> None:
        _set(self, "cpu_time", units.seconds("cpu_time", self.cpu_time))
        for name in ("output", "disk", "file_size", "collect", "io_rate"):
            _set(self, name, units.size(name, getattr(self, name)))
        for name, least in _STARTS.items():
            _set(self, name, units.size(name, getattr(self, name), start=least))
        _set(self, "core", units.size("core", self.core, least=0))
        _set(self, "processes", units.count("processes", self.processes, most=4194304))
        _set(self, "inodes", units.count("inodes", self.inodes, most=1 << 50))
        _set(self, "collect_files", units.count("collect_files", self.collect_files, most=1 << 30))
        _set(self, "open_files", units.count("open_files", self.open_files, least=4, most=1 << 30))
        _set(self, "cpus", _cpus(self.cpus))
        wall = self.__dict__.pop("_wall_time", self.wall_time)
        if type(wall) is Follows:
            wall = default_wall_time(self.cpu_time, self.cpus)
        else:
            wall = units.seconds("wall_time", wall)
        _set(self, "wall_time", wall)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Limits:
        """The ``[limits]`` table of a TOML file: ``memory = "256M"``, ``wall_time = "500ms"``, ``cpus = [0, 1]``.

        Raises SpecError that names what is wrong in it and the right key nearest to an unknown one; OSError.
        """
        from pyjail._spec import config

        return config.limits(path, cls)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `Limits(**d)` makes it again (a list of CPUs is taken as a set)."""
        out: dict[str, Any] = {name: getattr(self, name) for name in records.names(self)}
        if self.wall_time is not None:
            out["wall_time"] = float(self.wall_time)
        if isinstance(out["cpus"], frozenset):
            out["cpus"] = sorted(out["cpus"])
        return out

    def __repr__(self) -> str:
        """What differs from the default, as one would write it."""
        with lazy.lock:
            from pyjail._base import brief

        return f"Limits({', '.join(map(_typed, brief.changed(self, self._unsaid())))})"

    def _unsaid(self) -> tuple[str, ...]:
        return ("wall_time",) if isinstance(self.wall_time, Follows) else ()


def _typed(text: str) -> str:
    """``field=value``, with sizes as one types them."""
    name, _, shown = text.partition("=")
    size = int(shown) if shown.isdigit() and name not in ("processes", "inodes", "open_files") else 0
    return f"{name}={units.show_size(size)!r}" if size >= 1024 and size % 1024 == 0 else text


def _cpus(value: object) -> float | frozenset[int] | None:
    if value is None or (isinstance(value, str) and value == units.NONE):
        return None
    if isinstance(value, (set, frozenset, list, tuple)):
        if not value:
            raise SpecError("cpus", value, "an empty set of CPUs cannot run anything")
        for cpu in value:
            if isinstance(cpu, bool) or not isinstance(cpu, int) or not 0 <= cpu < 8192:
                raise SpecError("cpus", value, "a set of CPU numbers holds ints from 0 to 8191")
        return frozenset(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError("cpus", value, "a share of cores is a number from 0.01 to 8192, or a set of CPU numbers")
    if not 0.01 <= value <= 8192:
        raise SpecError("cpus", value, "a share of cores is a number from 0.01 to 8192, or a set of CPU numbers")
    return float(value)
