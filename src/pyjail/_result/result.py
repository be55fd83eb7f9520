"""What happened, as frozen, picklable, JSON-able data: `Result`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import GenericAlias

from pyjail._base import lazy
from pyjail._base.records import dataclass, field, hash_of, names
from pyjail._base.shown import Document
from pyjail._result.verdict import Verdict  # which every run needs: made here, it is not made while one waits
from pyjail._spec.jail import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Generic, Self

    from typing_extensions import TypeVar

    from pyjail._result.contact import Contacts
    from pyjail._result.usage import Receipt, Usage


def _usage() -> Usage:
    with lazy.lock:
        from pyjail._result.usage import Usage

    return Usage()


def _receipt() -> Receipt:
    with lazy.lock:
        from pyjail._result.usage import Receipt

    return Receipt()


def _empty() -> dict[str, Any]:
    return {}


if TYPE_CHECKING:
    Output = TypeVar("Output", default=Any, covariant=True)

    class _Document(Document, Generic[Output]):
        """To type checkers a `Result` says what its output is: ``Result[bytes]``, ``Result[str]``."""
else:
    Output, _Document = 0, [Document]


@dataclass(frozen=True, repr=False)
class Result(_Document[Output]):
    """One finished run. Frozen, picklable, comparable, hashable; `to_dict` and `from_dict` are inverse and JSON-able.

    Its repr is one line; ``result.receipt`` has the details, and a notebook shows both as tables.

    ``args``, ``returncode``, ``stdout`` and ``stderr`` are as in `subprocess.CompletedProcess`; a negative returncode
    is the signal that ended the program. To type checkers it is a ``Result[bytes]`` or a ``Result[str]``, by what
    stdout and stderr are where they are captured; one that is not is None.

    Attributes:
        verdict: `Verdict`. exit_code: 0-255, or None when a signal ended it. signal: its number, or None.
        usage: `Usage`. limits: the `Limits` it ran under. receipt: `Receipt`.
        files: what ``collect=`` found, {path: bytes}. uncollected: {path or pattern: why not}.
        stdout_bytes, stderr_bytes: all that was written, also past the cap; None for a stream not captured.
        oom_kills: processes that the kernel killed for memory. limits_hit: names of limits that it refused at.
        egress: `Contacts` of the program, with ``Jail(network=Egress(...))``; None in a `Box`, which has its own.
        syscall: what the filter killed for. error: what went wrong, with JAIL_ERROR; or a process that did not die.
    """

    args: Any
    returncode: int
    verdict: Verdict
    stdout: Output = None  # type: ignore[assignment]
    stderr: Output = None  # type: ignore[assignment]
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
    egress: Contacts | None = None

    __hash__ = hash_of
    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)

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

    def _words(self) -> Iterable[str]:
        with lazy.lock:
            from pyjail._result import words

        return words.result(self)

    @property
    def ok(self) -> bool:
        """True when the verdict is OK."""
        return self.verdict == "ok"

    def check_returncode(self) -> None:
        """Raise `JailedProcessError` unless the verdict is OK."""
        if not self.ok:
            with lazy.lock:
                from pyjail._result.subprocess_errors import JailedProcessError

            raise JailedProcessError(self)

    def to_dict(self, receipt: bool = True) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: a "result" of docs/data.md. Bytes are {"bytes": text} when they
        are UTF-8, else {"base64": ...}. ``receipt=False`` leaves out that and ``image``, which one of its rows tells:
        they are made when they are looked at, which takes longer than the rest of a short run."""
        with lazy.lock:
            from pyjail._result import document

        return document.document(self, receipt)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; args that were a tuple are a list, and paths in them text.

        Raises SpecError for what is no such document, or one of a version that this pyjail does not know.
        """
        with lazy.lock:
            from pyjail._result import document

        return cls(**document.fields(cls, d))


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
