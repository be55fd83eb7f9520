"""Records as JSON documents: docs/data.md has what they mean, `schema.json` how they look."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pyjail._base import records

VERSION = 1  # of what a reader of an older one would misunderstand; new keys do not change it
NAME = "base64:"
_AS_IT_IS = frozenset((int, float, bool, type(None)))


def head(kind: str) -> dict[str, Any]:
    """The first keys of every document: its kind, and the version of the schema.

    >>> head("quiz")
    {'kind': 'quiz', 'version': 1}
    """
    return {"kind": kind, "version": VERSION}


def pack(value: Any) -> Any:
    """Bytes, text or a path as JSON has it: bytes as {"bytes": text} when they are UTF-8, else as {"base64": ...}; text
    as it is, when it can be written as UTF-8, else as {"surrogates": base64}; paths as text. All else as it is.

    >>> pack(b"hi"), pack(b"\\xff"), pack("hi"), pack(1)
    ({'bytes': 'hi'}, {'base64': '/w=='}, 'hi', 1)
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        try:
            return {"bytes": data.decode("utf-8")}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode("ascii")}
    if isinstance(value, os.PathLike):
        return pack(os.fspath(value))
    if isinstance(value, str) and not _is_utf8(value):
        return {"surrogates": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii")}
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def sources(files: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What ``files=`` takes: bytes, text, a `File` or a `Link` as such; {"path": ...} of what is to be copied."""
    if files is None:
        return None
    return {
        name_of(os.fsdecode(name)): {"path": pack(data)} if isinstance(data, os.PathLike) else plain(data)
        for name, data in files.items()
    }


def name_of(key: str) -> str:
    """A key of an object: a path that is not UTF-8, or that looks like this, is "base64:" and its bytes."""
    if _is_utf8(key) and not key.startswith(NAME):
        return key
    return NAME + base64.b64encode(key.encode("utf-8", "surrogateescape")).decode("ascii")


def part(record: Any) -> dict[str, Any]:
    """The fields of a record."""
    names = getattr(record, "_fields", None) or records.names(record)
    return {name: v if type(v := getattr(record, name)) in _AS_IT_IS else plain(v) for name in names}


def plain(value: Any) -> Any:
    """The value in types that `json.dumps` takes: a record by its `to_dict`; tuples and sets as lists; enums as their
    values; bytes, text and paths as by `pack`, in mappings and lists, too.

    >>> import pyjail
    >>> plain({"verdict": pyjail.Verdict.OK, "streams": (b"a", b"")})
    {'verdict': 'ok', 'streams': [{'bytes': 'a'}, {'bytes': ''}]}
    """
    if type(value) in _AS_IT_IS:  # most are, and what follows asks each of them much
        return value
    if hasattr(value, "_schema") or hasattr(value, "_fields"):
        return value.to_dict()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, frozenset):
        return [plain(v) for v in sorted(value)]
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {name_of(k): plain(v) for k, v in value.items()}
    return float(value) if isinstance(value, float) else pack(value)


_TOLD = (
    "field", "reason", "control", "cause", "hint", "step", "index", "detail", "errno", "timeout", "call", "means",
    "why", "opens", "result",
)  # fmt: skip


def error(e: BaseException) -> dict[str, Any]:
    """The document of an exception, an "error" of docs/data.md: its class, its text, its attributes of plain data.

    >>> error(ValueError("no"))
    {'kind': 'error', 'version': 1, 'type': 'ValueError', 'message': 'no'}
    """
    found = {name: getattr(e, name) for name in _TOLD if _is_told(getattr(e, name, None))}
    return {**head("error"), "type": type(e).__name__, "message": pack(str(e)), **plain(found)}


def _is_told(value: object) -> bool:
    return isinstance(value, (str, int, float)) or hasattr(value, "_schema")
