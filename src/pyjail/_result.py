"""What happened, as frozen, picklable, JSON-able data: `Result`, `Verdict`; `Usage` and `Receipt` are in `_usage`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from pyjail import _lazy
from pyjail._frozen import dataclass, field, names
from pyjail._spec import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._usage import Control, Receipt, Usage


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


def _usage() -> Usage:
    with _lazy.lock:
        from pyjail._usage import Usage

    return Usage()


def _receipt() -> Receipt:
    with _lazy.lock:
        from pyjail._usage import Receipt

    return Receipt()


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
    usage: Usage = field(default_factory=_usage)
    limits: Limits = field(default_factory=Limits)
    receipt: Receipt = field(default_factory=_receipt)
    files: Mapping[str, bytes] = field(default_factory=_empty)
    uncollected: Mapping[str, str] = field(default_factory=_empty)
    stdout_bytes: int | None = None
    stderr_bytes: int | None = None
    oom_kills: int = 0
    limits_hit: frozenset[str] = frozenset()
    syscall: str | None = None
    error: str | None = None

    @classmethod
    def later(cls, make: Callable[[str], Any], known: dict[str, Any]) -> Result:
        """A result whose other fields, `LATER`, are made by ``make(name)`` when somebody looks at them.

        Decoding the kernel's texts costs more than all else that this process does for a run.
        """
        made = cls.__new__(cls)
        made.__dict__.update(known)
        made.__dict__["_make"] = make
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names(self)}

    @property
    def ok(self) -> bool:
        """True when the verdict is OK."""
        return self.verdict is Verdict.OK

    def check_returncode(self) -> None:
        """Raise `JailedProcessError` unless the verdict is OK."""
        if not self.ok:
            with _lazy.lock:
                from pyjail._subprocess_errors import JailedProcessError

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
            "usage": _plain(self.usage),
            "limits": self.limits.to_dict(),
            "receipt": [_plain(row) for row in self.receipt],
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
        with _lazy.lock:
            from pyjail._usage import Control, Receipt, Usage

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
        with _lazy.lock:
            import base64

        return {"base64": base64.b64encode(value).decode("ascii")}


def _plain(record: Usage | Control) -> dict[str, Any]:
    found = {name: getattr(record, name) for name in names(record)}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in found.items()}


def _unpack(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "bytes" in value:
        return value["bytes"].encode("utf-8")
    with _lazy.lock:
        import base64

    return base64.b64decode(value["base64"])
