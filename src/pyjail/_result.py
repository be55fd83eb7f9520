"""What happened, as frozen, picklable, JSON-able data: `Result`, `Usage`, `Receipt`, `Verdict`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from typing import Any, overload

from pyjail._errors import JailedProcessError
from pyjail._spec import Limits


class Verdict(StrEnum):
    """What the facts of a run mean; the first of these that holds (docs/run.md).

    JAIL_ERROR: pyjail or something outside decided how it ended, ``Result.error`` says what. SECURITY: the filter ended
    it, for ``Result.syscall``. MEMORY, CPU_TIME, WALL_TIME, OUTPUT: the limit of that name. SIGNALED: by a signal,
    one of its own too. RUNTIME_ERROR: another exit code than 0. OK: 0, within all limits.

    >>> Verdict("ok") is Verdict.OK, f"{Verdict.CPU_TIME}"
    (True, 'cpu_time')
    """

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    SIGNALED = "signaled"
    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    MEMORY = "memory"
    OUTPUT = "output"
    SECURITY = "security"
    JAIL_ERROR = "jail_error"


@dataclass(frozen=True)
class Usage:
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


@dataclass(frozen=True)
class Control:
    """One row of a `Receipt`: what was asked, what enforces it, and what the kernel said when read back.

    Rows named "counter ..." say where a number of `Usage` comes from: "enforced" where this kernel has it.
    """

    name: str
    asked: str
    enforced_by: str
    value: str
    status: str  # "enforced" | "not_asked" | "not_enforced"


class Receipt(Sequence[Control]):
    """For every control of this run, one `Control`, in a fixed order. ``receipt["memory"]`` finds a row by name.

    >>> r = Receipt([Control("memory", "64M", "memory.max", "67108864", "enforced")])
    >>> r["memory"].status
    'enforced'
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[Control] = ()) -> None:
        self._rows = tuple(rows)

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

    def __repr__(self) -> str:
        return f"Receipt({list(self._rows)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Receipt, (self._rows,)

    @property
    def not_enforced(self) -> tuple[Control, ...]:
        """The rows that were asked for and could not be enforced here."""
        return tuple(row for row in self._rows if row.status == "not_enforced")


def _empty() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Result:
    """One finished run. Frozen, picklable, comparable; `to_dict` and `from_dict` are inverse and JSON-able.

    ``args``, ``returncode``, ``stdout`` and ``stderr`` are as in `subprocess.CompletedProcess`; a negative
    returncode is the signal that ended the program.

    Attributes:
        verdict: `Verdict`. exit_code: 0-255, or None when a signal ended it. signal: its number, or None.
        usage: `Usage`. limits: the `Limits` it ran under. receipt: `Receipt`.
        files: what ``collect=`` found, {path: bytes}. uncollected: {path or pattern: why not}.
        stdout_bytes, stderr_bytes: all that was written, also past the cap; None for a stream not captured.
        oom_kills: processes that the kernel killed for memory. limits_hit: names of limits that it refused at.
        syscall: what the filter killed for. error: what went wrong, with JAIL_ERROR.
    """

    args: Any
    returncode: int
    verdict: Verdict
    stdout: Any = None
    stderr: Any = None
    exit_code: int | None = None
    signal: int | None = None
    usage: Usage = field(default_factory=Usage)
    limits: Limits = field(default_factory=Limits)
    receipt: Receipt = field(default_factory=Receipt)
    files: Mapping[str, bytes] = field(default_factory=_empty)
    uncollected: Mapping[str, str] = field(default_factory=_empty)
    stdout_bytes: int | None = None
    stderr_bytes: int | None = None
    oom_kills: int = 0
    limits_hit: frozenset[str] = frozenset()
    syscall: str | None = None
    error: str | None = None

    @classmethod
    def later(cls, make: Callable[[str], Any], **fields: Any) -> Result:
        """A result whose other fields, `LATER`, are made by ``make(name)`` when somebody looks at them.

        Decoding the kernel's texts costs more than all else that this process does for a run.
        """
        made = cls.__new__(cls)
        made.__dict__.update(fields, _make=make)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclass_fields(self)}

    @property
    def ok(self) -> bool:
        """True when the verdict is OK."""
        return self.verdict is Verdict.OK

    def check_returncode(self) -> None:
        """Raise `JailedProcessError` unless the verdict is OK."""
        if not self.ok:
            raise JailedProcessError(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes; bytes that are not UTF-8 become {"base64": ...}."""
        return {
            "args": [_pack(a) for a in self.args] if isinstance(self.args, (list, tuple)) else _pack(self.args),
            "returncode": self.returncode,
            "verdict": self.verdict.value,
            "stdout": _pack(self.stdout),
            "stderr": _pack(self.stderr),
            "exit_code": self.exit_code,
            "signal": self.signal,
            "usage": asdict(self.usage),
            "limits": self.limits.to_dict(),
            "receipt": [asdict(row) for row in self.receipt],
            "files": {name: _pack(data) for name, data in self.files.items()},
            "uncollected": dict(self.uncollected),
            "stdout_bytes": self.stdout_bytes,
            "stderr_bytes": self.stderr_bytes,
            "oom_kills": self.oom_kills,
            "limits_hit": sorted(self.limits_hit),
            "syscall": self.syscall,
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Result:
        """The inverse of `to_dict`."""
        usage = dict(d["usage"])
        if usage.get("context_switches") is not None:
            usage["context_switches"] = tuple(usage["context_switches"])
        usage["noise"] = tuple(usage.get("noise", ()))
        args = d["args"]
        return cls(
            **{
                **d,
                "args": [_unpack(a) for a in args] if isinstance(args, list) else _unpack(args),
                "verdict": Verdict(d["verdict"]),
                "stdout": _unpack(d["stdout"]),
                "stderr": _unpack(d["stderr"]),
                "usage": Usage(**usage),
                "limits": Limits(**d["limits"]),
                "receipt": Receipt(Control(**row) for row in d["receipt"]),
                "files": {name: _unpack(data) for name, data in d["files"].items()},
                "limits_hit": frozenset(d["limits_hit"]),
            }
        )


class _Later:
    """A field that `Result.later` left out; kept in the instance once it is made, which then hides this."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Result | None, owner: type | None = None) -> Any:
        if instance is None:
            raise AttributeError(self.name)
        made = instance.__dict__[self.name] = instance.__dict__["_make"](self.name)
        return made


LATER = ("usage", "receipt", "limits_hit")
for _name in LATER:
    setattr(Result, _name, _Later(_name))


def _pack(value: Any) -> Any:
    """bytes -> {"bytes": text} when they are UTF-8, else {"base64": ...}; str and None as they are."""
    if not isinstance(value, (bytes, bytearray)):
        return value
    try:
        return {"bytes": bytes(value).decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _unpack(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return value["bytes"].encode("utf-8") if "bytes" in value else base64.b64decode(value["base64"])
