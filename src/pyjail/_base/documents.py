"""JSON documents as records again: what is wrong with one is said before anything is made of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

from pyjail._base import conformity as conformity
from pyjail._base.errors import SpecError
from pyjail._base.plain import NAME, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check(d: object, kind: str) -> Mapping[str, Any]:
    """The document, when it is one of this kind by pyjail's schema (docs/data.md); results in it have their own check.

    Raises:
        SpecError: it is none; field, value and reason say what is wrong.

    >>> import pyjail
    >>> d = pyjail.run(["true"]).to_dict()
    >>> check(d, "result") is d
    True
    """
    if not isinstance(d, Mapping):
        raise SpecError(kind, d, "a mapping is needed, as to_dict() makes it")
    if d.get("kind", kind) != kind:
        raise SpecError("kind", d["kind"], f"this is read as {kind!r}")
    version = d.get("version", VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= VERSION:
        raise SpecError("version", version, f"this pyjail reads documents up to version {VERSION}: use a newer one")
    wrong = conformity.wrong(d, schema()["$defs"], kind.title().replace("_", ""), kind, beyond="Result")
    if wrong is not None:
        raise SpecError(*wrong)
    return d


@contextmanager
def reading(kind: str) -> Iterator[None]:
    """A block in which whatever goes wrong while a document of this kind is read is a SpecError.

    >>> import pyjail
    >>> try:
    ...     with reading("quiz"):
    ...         int({"answer": "many"}["answer"])
    ... except pyjail.SpecError as e:
    ...     print(e.field)
    quiz
    """
    try:
        yield
    except SpecError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as e:
        raise SpecError(kind, "...", f"this is no document of to_dict(): {type(e).__name__}: {e}") from None


def unpack(value: Any) -> Any:
    """The bytes or the text that `pack` wrote. SpecError for what it never writes.

    >>> unpack({"bytes": "hi"}), unpack({"base64": "/w=="}), unpack("hi")
    (b'hi', b'\\xff', 'hi')
    """
    if not isinstance(value, Mapping):
        return value
    for key, read in _READ.items():
        if key in value:
            try:
                return read(value[key])
            except (ValueError, AttributeError, TypeError) as e:
                raise SpecError(key, value[key], f"cannot be decoded: {e}") from None
    raise SpecError("data", dict(value), 'text, {"bytes": ...} or {"base64": ...} is needed')


_READ: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda text: text.encode("utf-8"),
    "base64": lambda text: base64.b64decode(text, validate=True),
    "surrogates": lambda text: base64.b64decode(text, validate=True).decode("utf-8", "surrogatepass"),
}


def name_from(key: str) -> str:
    """The inverse of `name_of`."""
    if not key.startswith(NAME):
        return key
    try:
        return base64.b64decode(key[len(NAME) :], validate=True).decode("utf-8", "surrogateescape")
    except ValueError as e:
        raise SpecError("name", key, f"cannot be decoded: {e}") from None


def taken(cls: type[DataclassInstance], d: Mapping[str, Any]) -> dict[str, Any]:
    """What of an object a record of this kind has a field for: newer writers may say more."""
    if not isinstance(d, Mapping):
        raise SpecError(cls.__name__.lower(), d, "an object is needed")
    return {name: d[name] for name in cls.__dataclass_fields__ if name in d}


def unpacked(cls: type[DataclassInstance], d: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass of texts, bytes and numbers, from its document; what it has no field for is left out.

    >>> import pyjail
    >>> unpacked(pyjail.File, {"data": {"bytes": "x"}, "new": 1})
    {'data': b'x'}
    """
    return {name: unpack(value) for name, value in taken(cls, d).items()}


# ---- the schema ----


@cache
def schema() -> dict[str, Any]:
    """`schema.json`: of all documents."""
    found: dict[str, Any] = json.loads(resources.files("pyjail").joinpath("schema.json").read_bytes())
    return found


def schema_of(cls: type) -> dict[str, Any]:
    """Of the documents of this class, without references: as part of somebody's own schema."""
    found: dict[str, Any] = _whole(schema()["$defs"][getattr(cls, "_schema", "") or cls.__name__])
    return found


def _whole(part: Any, within: frozenset[str] = frozenset()) -> Any:
    """``within``: the definitions that it is in; of one that has itself in it, the inner ones may be anything."""
    if isinstance(part, dict):
        if "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            return {} if name in within else _whole(schema()["$defs"][name], within | {name})
        return {key: _whole(value, within) for key, value in part.items()}
    return [_whole(value, within) for value in part] if isinstance(part, list) else part


def pydantic_schema(cls: Any) -> Any:
    """How pydantic validates and writes a record; called by pydantic alone."""
    from pydantic_core import core_schema

    def validate(value: Any) -> Any:
        return value if isinstance(value, cls) else cls.from_dict(value)

    write = core_schema.plain_serializer_function_ser_schema(lambda record: record.to_dict())
    return core_schema.no_info_plain_validator_function(validate, serialization=write)
