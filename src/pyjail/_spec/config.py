"""A `Jail` and `Limits` from the tables of a TOML file. Their classes come with the call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any, TypeVar

from pyjail._base.errors import SpecError
from pyjail._spec.egress import Egress
from pyjail._spec.seccomp import SeccompPolicy, SeccompRule
from pyjail._spec.toml import (
    known,
    of,
    read,
    table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import DataclassInstance

J = TypeVar("J", bound="DataclassInstance")
L = TypeVar("L", bound="DataclassInstance")
_TABLES = ("jail", "limits", "languages", "images")
_OTHERS = ("serve", "faces")  # of `pyjail serve`, which reads them itself


def tables(path: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The tables "jail", "limits", "languages" and "images" of the file ``path``, or of what was read of one. SpecError
    for others; OSError."""
    data = dict(path) if isinstance(path, Mapping) else read(path)
    with of_file(path):
        known("", data, (*_TABLES, *_OTHERS))
        return {name: table(data, name) for name in _TABLES}


def of_file(path: str | os.PathLike[str] | Mapping[str, Any]) -> AbstractContextManager[None]:
    """What is wrong inside is said of this file."""
    if isinstance(path, Mapping):
        return of("")
    return of(f"{os.fsdecode(path)}: ")


def jail(path: str | os.PathLike[str], cls: type[J], mount: Any, limits_cls: type[L]) -> J:
    """The jail of the file ``path``, whose limits are validated, too."""
    found = tables(path)
    with of_file(path):
        made = jail_of(found["jail"], cls, mount)
        limits_of(found["limits"], limits_cls)
        return made


def limits(path: str | os.PathLike[str], cls: type[L]) -> L:
    """The limits of the file ``path``."""
    found = tables(path)
    with of_file(path):
        return limits_of(found["limits"], cls)


def jail_of(given: dict[str, Any], cls: type[J], mount: Any) -> J:
    """From a ``[jail]`` table."""
    with of("jail."):
        known("", given, [f.name for f in fields(cls)])
        return cls(**_parts(given, mount))


def limits_of(given: dict[str, Any], cls: type[L]) -> L:
    """From a ``[limits]`` table."""
    with of("limits."):
        known("", given, [f.name for f in fields(cls)])
        return cls(**given)


def _parts(jail: dict[str, Any], mount: Any) -> dict[str, Any]:
    """What in a ``[jail]`` table is a table of its own, made."""
    found = dict(jail)
    if "mounts" in jail:
        if not isinstance(jail["mounts"], list):
            raise SpecError("mounts", jail["mounts"], "[[jail.mounts]] tables are needed")
        mounts = []
        for number, table in enumerate(jail["mounts"], 1):
            with of(f"mounts[{number}]."):
                mounts.append(_mount(table, mount))
        found["mounts"] = tuple(mounts)
    if isinstance(jail.get("network"), dict):
        with of("network."):
            known("", jail["network"], [f.name for f in fields(Egress)])
            found["network"] = Egress(**jail["network"])
    if isinstance(jail.get("seccomp"), dict):
        with of("seccomp."):
            found["seccomp"] = _policy(jail["seccomp"])
    return found


def _policy(table: dict[str, Any]) -> SeccompPolicy:
    """``[jail.seccomp]`` has the fields of `SeccompPolicy`; its rules are ``[[jail.seccomp.rule]]`` tables."""
    names = [f.name for f in fields(SeccompPolicy) if f.name != "rules"]
    known("", table, [*names, "rule"])
    found = table.get("rule", [])
    if not isinstance(found, list):
        raise SpecError("rule", found, "[[jail.seccomp.rule]] tables are needed")
    rules = []
    for number, rule in enumerate(found, 1):
        with of(f"rule[{number}]."):
            rules.append(_rule(rule))
    given = {key: value for key, value in table.items() if key != "rule"}
    return SeccompPolicy(**given, rules=tuple(rules))


def _rule(table: Any) -> SeccompRule:
    if not isinstance(table, dict):
        raise SpecError("rule", table, "a [[jail.seccomp.rule]] table is needed")
    known("", table, [f.name for f in fields(SeccompRule)])
    for field in ("name", "action"):
        if field not in table:
            raise SpecError(field, table, "is missing")
    return SeccompRule(**table)


def _mount(table: Any, mount: Any) -> Any:
    if not isinstance(table, dict):
        raise SpecError("mounts", table, "a [[jail.mounts]] table is needed")
    if "size" in table:
        known("", table, ("dst", "size", "ro"))
        return mount.tmpfs(table.get("dst", ""), table["size"], table.get("ro", False))
    if "target" in table:
        known("", table, ("dst", "target"))
        return mount.link(table.get("dst", ""), table["target"])
    known("", table, ("src", "dst", "ro"))
    return mount.bind(table.get("src", ""), table.get("dst"), table.get("ro", True))
