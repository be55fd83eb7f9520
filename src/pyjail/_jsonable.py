"""Records as JSON documents, and back: `schema.json` says how they look, docs/data.md what it means."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from pyjail import _conformity as conformity
from pyjail import _frozen
from pyjail._errors import SpecError
from pyjail._result import Result, Verdict
from pyjail._seccomp_spec import SeccompPolicy, SeccompRule
from pyjail._shown import Shown
from pyjail._spec import Jail, Limits, Mount
from pyjail._usage import Control, Receipt, Usage

VERSION = 1  # of what a reader of an older one would misunderstand; new keys do not change it
_NAME = "base64:"


def head(kind: str) -> dict[str, Any]:
    """The first keys of every document."""
    return {"kind": kind, "version": VERSION}


def check(d: object, kind: str) -> Mapping[str, Any]:
    """A document of this kind, by the schema; results in it have their own check. SpecError says what is wrong."""
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
    """What goes wrong while a document is read is a SpecError."""
    try:
        yield
    except SpecError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as e:
        raise SpecError(kind, "...", f"this is no document of to_dict(): {type(e).__name__}: {e}") from None


# ---- values ----


def pack(value: Any) -> Any:
    """bytes -> {"bytes": text} when they are UTF-8, else {"base64": ...}; text as it is, when it can be written as
    UTF-8, else {"surrogates": base64}; paths as text."""
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


def unpack(value: Any) -> Any:
    """The inverse of `pack`."""
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


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def sources(files: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What ``files=`` takes: bytes, text or a `File` as such; {"path": ...} of what is to be copied."""
    if files is None:
        return None
    return {
        name_of(os.fsdecode(name)): {"path": pack(data)} if isinstance(data, os.PathLike) else plain(data)
        for name, data in files.items()
    }


def name_of(key: str) -> str:
    """A key of an object: a path that is not UTF-8, or that looks like this, is "base64:" and its bytes."""
    if _is_utf8(key) and not key.startswith(_NAME):
        return key
    return _NAME + base64.b64encode(key.encode("utf-8", "surrogateescape")).decode("ascii")


def name_from(key: str) -> str:
    """The inverse of `name_of`."""
    if not key.startswith(_NAME):
        return key
    try:
        return base64.b64decode(key[len(_NAME) :], validate=True).decode("utf-8", "surrogateescape")
    except ValueError as e:
        raise SpecError("name", key, f"cannot be decoded: {e}") from None


def part(record: Any) -> dict[str, Any]:
    """The fields of a record."""
    names = getattr(record, "_fields", None) or _frozen.names(record)
    return {name: plain(getattr(record, name)) for name in names}


def plain(value: Any) -> Any:
    """A record as `to_dict` gives it; tuples and sets as arrays; enums as their values."""
    if isinstance(value, Shown) or hasattr(value, "_fields"):
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


def taken(cls: type, d: Mapping[str, Any]) -> dict[str, Any]:
    """What of an object a record of this kind has a field for: newer writers may say more."""
    if not isinstance(d, Mapping):
        raise SpecError(cls.__name__.lower(), d, "an object is needed")
    return {name: d[name] for name in cls.__dataclass_fields__ if name in d}  # type: ignore[attr-defined]


def unpacked(cls: type, d: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a record that holds texts, bytes and numbers alone."""
    return {name: unpack(value) for name, value in taken(cls, d).items()}


# ---- records ----


def result(r: Result) -> dict[str, Any]:
    """See `Result.to_dict`."""
    return {
        **head("result"),
        "args": [pack(a) for a in r.args] if isinstance(r.args, (list, tuple)) else pack(r.args),
        "returncode": r.returncode,
        "verdict": r.verdict.value,
        "stdout": pack(r.stdout),
        "stderr": pack(r.stderr),
        "exit_code": r.exit_code,
        "signal": r.signal,
        "usage": plain(r.usage),
        "limits": r.limits.to_dict(),
        "receipt": [plain(row) for row in r.receipt],
        "files": {name_of(name): pack(data) for name, data in r.files.items()},
        "uncollected": {name_of(name): pack(why) for name, why in r.uncollected.items()},
        "stdout_bytes": r.stdout_bytes,
        "stderr_bytes": r.stderr_bytes,
        "oom_kills": r.oom_kills,
        "limits_hit": sorted(r.limits_hit),
        "syscall": r.syscall,
        "error": pack(r.error),
    }


def fields_of_result(given: Mapping[str, Any]) -> dict[str, Any]:
    """See `Result.from_dict`."""
    d = check(given, "result")
    with reading("result"):
        usage = taken(Usage, d["usage"])
        if usage.get("context_switches") is not None:
            usage["context_switches"] = tuple(usage["context_switches"])
        usage["noise"] = tuple(map(unpack, usage.get("noise", ())))
        args = d["args"]
        return {
            **taken(Result, d),
            "args": [unpack(a) for a in args] if isinstance(args, list) else unpack(args),
            "verdict": Verdict(d["verdict"]),
            "stdout": unpack(d.get("stdout")),
            "stderr": unpack(d.get("stderr")),
            "usage": Usage(**usage),
            "limits": Limits(**taken(Limits, d["limits"])),
            "receipt": Receipt(Control(**unpacked(Control, row)) for row in d.get("receipt", ())),
            "files": {name_from(name): unpack(data) for name, data in d.get("files", {}).items()},
            "uncollected": {name_from(name): unpack(why) for name, why in d.get("uncollected", {}).items()},
            "limits_hit": frozenset(d.get("limits_hit", ())),
            "error": unpack(d.get("error")),
        }


_TOLD = (
    "field", "reason", "control", "cause", "hint", "step", "index", "detail", "errno", "timeout", "call", "means",
    "why", "opens", "result",
)  # fmt: skip


def error(e: BaseException) -> dict[str, Any]:
    """An exception as a document: its class, its text, and its attributes of plain data."""
    found = {name: getattr(e, name) for name in _TOLD if isinstance(getattr(e, name, None), (str, int, float, Result))}
    return {**head("error"), "type": type(e).__name__, "message": pack(str(e)), **plain(found)}


def jail(j: Jail) -> dict[str, Any]:
    """See `Jail.to_dict`."""
    return {name: plain(getattr(j, name)) for name in _frozen.names(j)}


def fields_of_jail(d: Mapping[str, Any]) -> dict[str, Any]:
    """See `Jail.from_dict`."""
    with reading("jail"):
        given = taken(Jail, d)
        if "mounts" in given:
            given["mounts"] = tuple(mount(m) for m in given["mounts"])
        if isinstance(given.get("seccomp"), Mapping):
            given["seccomp"] = policy(given["seccomp"])
        if "env" in given:
            given["env"] = {name_from(k): unpack(v) for k, v in given["env"].items()}
        return {
            name: unpack(value) if name in ("rootfs", "hostname", "python") else value for name, value in given.items()
        }


def mount(d: Mapping[str, Any]) -> Mount:
    """From its fields."""
    return Mount(**unpacked(Mount, d))


def policy(d: Mapping[str, Any]) -> SeccompPolicy:
    """From its fields."""
    given = taken(SeccompPolicy, d)
    rules = [taken(SeccompRule, r) for r in given.pop("rules", ())]
    for rule in rules:
        rule["tests"] = tuple(tuple(t) for t in rule.get("tests", ()))
    return SeccompPolicy(**given, rules=tuple(SeccompRule(**rule) for rule in rules))


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
