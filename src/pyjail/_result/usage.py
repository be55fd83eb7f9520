"""What a run used, and what held it: the parts of a `Result` that are made when somebody looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyjail._base import lazy
from pyjail._base.records import dataclass, hash_of
from pyjail._base.shown import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, overload


@dataclass(frozen=True, repr=False)
class Usage(Shown):
    """What the run used. A field that this kernel cannot give is None, never a made-up number.

    Attributes:
        wall_time: s, CLOCK_MONOTONIC, from just before execve to the end of the program's main process.
        cpu_time: s of the whole tree, from the cgroup's CPU clock, set-up before execve not counted.
        user_time, system_time: s; how the kernel divides ``cpu_time``.
        setup_time: s from the request reaching the keeper to execve. teardown_time: s from the program's end to
            the report.
        memory_peak: bytes, the cgroup's own watermark. The kernel charges up to 64 pages (256 KiB) ahead for each CPU
            that the program ran on, so it may be higher than what was used by that, never lower.
        memory_before: bytes of such charges that a cgroup which served a run before had when this one began, at most;
            ``memory_peak`` starts there. 0 in a new one, never above 512 KiB (docs/accuracy.md).
        processes_peak: most processes and threads alive at once.
        io_read, io_written: bytes of block I/O.
        context_switches: (voluntary, involuntary). page_faults: minor and major.
        instructions: retired, where perf counters are there. throttled_time: s spent waiting for CPU quota.
        pressure: PSI totals of the run's cgroup in µs, as {"cpu": ..., "memory": ..., "io": ...}.
        memory_left: bytes still charged when the program was gone, by kind (memory.stat): "shmem" is files in /box
            and /tmp and shared memory, "file" page cache, "kernel" the kernel's own; the rest of the peak was the
            processes'.
        idle: the wall limit passed while less than a tenth of the time was CPU.
        quiet: False when something disturbed the run so that its times are no measure of it, and then ``noise`` says
            what, a line each: it was throttled or stalled for 1 % of the wall time (and half a millisecond), or its
            CPU was taken away more than 10 times and 100 times for each s of CPU. None where the kernel tells neither
            stalls nor switches.
    """

    wall_time: float | None = None
    cpu_time: float | None = None
    user_time: float | None = None
    system_time: float | None = None
    setup_time: float | None = None
    teardown_time: float | None = None
    memory_peak: int | None = None
    memory_before: int | None = None
    processes_peak: int | None = None
    io_read: int | None = None
    io_written: int | None = None
    context_switches: tuple[int, int] | None = None
    page_faults: int | None = None
    instructions: int | None = None
    throttled_time: float | None = None
    pressure: dict[str, int] | None = None
    memory_left: dict[str, int] | None = None
    idle: bool = False
    quiet: bool | None = None
    noise: tuple[str, ...] = ()

    __hash__ = hash_of

    def _words(self) -> Iterable[str]:
        with lazy.lock:
            from pyjail._result import usage_words

        return usage_words.usage(self)


@dataclass(frozen=True, repr=False)
class Control(Shown):
    """One row of a `Receipt`: what was asked, what enforces it, and what the kernel said when read back.

    Rows named "counter ..." say where a number of `Usage` comes from: "enforced" where this kernel has it.
    """

    name: str
    asked: str
    enforced_by: str
    value: str
    status: str  # "enforced" | "not_asked" | "not_enforced"

    def _words(self) -> Iterable[str]:
        yield f"{self.name!r}: {self.status}"
        for name in ("asked", "enforced_by", "value"):
            if getattr(self, name):
                yield f"{name}={getattr(self, name)[:60]!r}"


class Receipt(Shown, Sequence[Control]):
    """For every control of this run, one `Control`, in a fixed order. ``receipt["memory"]`` finds a row by name.

    >>> r = Receipt([Control("memory", "64M", "memory.max", "67108864", "enforced")])
    >>> r["memory"].status
    'enforced'
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[Control] = ()) -> None:
        self._rows = tuple(rows)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, key: int | str) -> Control: ...
        @overload
        def __getitem__(self, key: slice) -> tuple[Control, ...]: ...

    def __getitem__(self, key: int | str | slice) -> Control | tuple[Control, ...]:
        if not isinstance(key, str):
            return self._rows[key]
        for row in self._rows:
            if row.name == key:
                return row
        raise KeyError(key)

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return self._rows == other._rows if isinstance(other, Receipt) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rows)

    def _words(self) -> Iterable[str]:
        with lazy.lock:
            from pyjail._result import usage_words

        return usage_words.receipt(self)

    def _table(self) -> Iterable[tuple[str, Any]]:
        return (("rows", self),)

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes; in a document of a `Result` it is the array alone."""
        return {"rows": [row.to_dict() for row in self]}

    def __reduce__(self) -> tuple[Any, ...]:
        return Receipt, (self._rows,)

    @property
    def not_enforced(self) -> tuple[Control, ...]:
        """The rows that were asked for and could not be enforced here."""
        return tuple(row for row in self._rows if row.status == "not_enforced")
