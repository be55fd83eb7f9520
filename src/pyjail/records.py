"""Records of your own that look and speak as pyjail's do: one line, a table in a notebook, a JSON document.

>>> from dataclasses import dataclass
>>> from pyjail import records
>>> @dataclass(frozen=True, repr=False)
... class Graded(records.Record):
...     student: str
...     answer: bytes
>>> Graded("Ada", b"42")
Graded(student='Ada', answer=b'42')
>>> Graded("Ada", b"42").to_dict()
{'student': 'Ada', 'answer': {'bytes': '42'}}
"""

from __future__ import annotations

from pyjail._base import lazy
from pyjail._base.records import hash_of
from pyjail._base.shown import Document
from pyjail._base.shown import Shown as Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._base.documents import (
        check,
        reading,
        unpack,
        unpacked,
    )
    from pyjail._base.plain import (
        error,
        head,
        pack,
        plain,
    )

_LATER = {  # they need json and more, which records do without until one is written or read
    **dict.fromkeys(("check", "reading", "unpack", "unpacked"), "pyjail._base.documents"),
    **dict.fromkeys(("error", "head", "pack", "plain"), "pyjail._base.plain"),
}

__all__ = [
    "Document",
    "Record",
    "check",
    "error",
    "hash_of",
    "head",
    "pack",
    "plain",
    "reading",
    "unpack",
    "unpacked",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'pyjail.records' has no attribute {name!r}")
    with lazy.lock:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
