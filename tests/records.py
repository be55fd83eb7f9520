"""Which classes of pyjail are records that a user meets, found by looking: a new one is among them without being named."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import pyjail
from pyjail import aio, grading, images, interpreter, languages, precheck
from pyjail._base.documents import schema
from pyjail._base.shown import Shown

MODULES = (pyjail, aio, grading, images, interpreter, languages, precheck)
_WORD = re.compile(r"[A-Za-z_]\w*")
# What a public name leads to and no user has: how a cache keeps things, and ours that are called as public ones are.
_OURS = {
    "pyjail._session.artefacts.Entry",
    "pyjail._host.machine.Entry",
    "pyjail._session.snapshot.Content",
    "pyjail._plan.texts.Status",
    "pyjail._images.digests.Digest",
    "pyjail._images.documents.Descriptor",
    "pyjail._images.documents.Entry",
    "pyjail._images.tar.Entry",
    "pyjail._policy.landlock.Rule",
    "pyjail._policy.seccomp.Rule",
    "pyjail._spec.egress.Rule",
}
_NO_RECORDS = (
    "_selftest.attacks", "grading.inside", "interpreter.inside", "__main__",  # programs that run in jails
    "integrations", "serve",  # need frameworks that may not be here
)  # fmt: skip


def schema_name(record: type) -> str:
    return getattr(record, "_schema", "") or record.__name__


def closed(part: Any) -> Any:
    """The schema without room for keys that it does not name."""
    if isinstance(part, list):
        return [closed(v) for v in part]
    if not isinstance(part, dict):
        return part
    more = {"additionalProperties": False} if isinstance(part.get("properties"), dict) else {}
    return {key: closed(value) for key, value in part.items()} | more


class Tags(HTMLParser):
    """What a notebook would take as HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def is_plain_html(text: str) -> bool:
    tags = Tags()
    tags.feed(text)
    text.encode("utf-8")
    return "table" in tags.tags <= {"details", "summary", "code", "table", "tr", "td", "th"}


def check(record: Any, most: int = 300) -> dict[str, Any]:
    """The document of a record, as sent: as the schema says and no key more; its repr is a line, its table is no HTML."""
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False).encode("utf-8"))
    whole = closed(schema())
    of_class = {**whole, "oneOf": [{"$ref": f"#/$defs/{schema_name(type(record))}"}]}
    jsonschema.validate(document, of_class)
    if "kind" in document and "version" in document:  # it is a document of its own
        jsonschema.validate(document, whole)
    line = repr(record)
    assert len(line) <= most and line.isprintable(), (len(line), line)
    assert type(record).__name__ in line, line
    assert is_plain_html(record._repr_html_()), record._repr_html_()
    return document


def is_record(value: Any) -> bool:
    return inspect.isclass(value) and (
        dataclasses.is_dataclass(value)
        or (issubclass(value, tuple) and hasattr(value, "_fields"))
        or (issubclass(value, Shown) and value.__module__ != Shown.__module__)
    )


def _by_name() -> dict[str, set[type]]:
    """Every record of the package, those that are not public too."""
    found: dict[str, set[type]] = {}
    for path in Path(pyjail.__path__[0]).rglob("*.py"):  # most rooms have no __init__.py
        module = ".".join(path.relative_to(pyjail.__path__[0]).with_suffix("").parts).removesuffix(".__init__")
        if module == "__init__" or module.startswith(_NO_RECORDS):
            continue
        for name, value in vars(importlib.import_module(f"pyjail.{module}")).items():
            if is_record(value) and f"{value.__module__}.{value.__qualname__}" not in _OURS:
                found.setdefault(name, set()).add(value)
    return found


def _named(annotation: object) -> set[str]:
    return set(_WORD.findall(annotation if isinstance(annotation, str) else repr(annotation)))


def _returned(value: Any) -> set[str]:
    """Names in what a public function, or a public method or property of a public class, says that it returns."""
    if not inspect.isclass(value):
        return _named(getattr(value, "__annotations__", {}).get("return", ""))
    members = [m for name, m in vars(value).items() if not name.startswith("_")]
    functions = [getattr(m, "fget", None) or getattr(m, "__func__", m) for m in members]
    return {name for f in functions for name in _named(getattr(f, "__annotations__", {}).get("return", ""))}


def _fields(record: type) -> set[str]:
    kinds = [vars(cls).get("__annotations__", {}) for cls in record.__mro__]
    return {name for kind in kinds for key, text in kind.items() if not key.startswith("_") for name in _named(text)}


def public_records() -> set[type]:
    """Those with a public name, those that public functions return, and those that are in the fields of one."""
    known = _by_name()
    public = [getattr(module, name) for module in MODULES for name in module.__all__]
    found = {value for value in public if is_record(value)}
    names = {name for value in public for name in _returned(value)}
    todo = found | {cls for name in names for cls in known.get(name, ())}
    while todo:
        found |= todo
        todo = {cls for record in todo for name in _fields(record) for cls in known.get(name, ())} - found
    return found


JUNK = [
    None,
    True,
    -1,
    1 << 70,
    1.5,
    "",
    "x",
    "base64:!",
    [],
    [[]],
    [None],
    {},
    {"bytes": 1},
    {"base64": "!"},
    {"x": {}},
]


def damaged(record: Any, times: int) -> Iterator[dict[str, Any]]:
    """Its document, each time with something else at some place in it."""
    dice, whole = random.Random(type(record).__name__), json.dumps(record.to_dict())
    for _ in range(times):
        document = at = json.loads(whole)
        while True:
            key = dice.choice(sorted(at) if isinstance(at, dict) else range(len(at)))
            if not isinstance(at[key], (dict, list)) or not at[key] or dice.random() < 0.3:
                break
            at = at[key]
        at[key] = dice.choice(JUNK)
        yield document
