"""A `Jail`, `Limits` and tables of languages from a TOML file. Unknown keys are refused with the nearest right name."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from pyjail._errors import SpecError
from pyjail._seccomp_spec import SeccompPolicy, SeccompRule
from pyjail._spec import Jail, Limits, Mount

_NONE = re.compile(r"\bNone(?= (?:is|means|for)\b)")  # as TOML has it


@dataclass(frozen=True)
class Config:
    """What one file says: its ``[jail]`` and ``[limits]`` tables, defaults where they are missing.

    ``languages``: its ``[languages.NAME]`` tables as they stand; `pyjail.languages.load` validates them.
    """

    jail: Jail
    limits: Limits
    languages: dict[str, Any]


def load(path: str | os.PathLike[str]) -> Config:
    """Read and validate ``path``. SpecError, with file and table, for what is wrong in it; OSError."""
    file = os.fspath(path)
    with open(path, "rb") as f:
        try:
            data = tomllib.load(f)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise SpecError("config", file, f"is not TOML: {e}") from None
    with of(f"{os.fsdecode(file)}: "):
        known("", data, ("jail", "limits", "languages"))
        jail, limits = _table(data, "jail"), _table(data, "limits")
        with of("jail."):
            known("", jail, [f.name for f in fields(Jail)])
            made = Jail(**_parts(jail))
        with of("limits."):
            known("", limits, [f.name for f in fields(Limits)])
            return Config(made, Limits(**limits), _table(data, "languages"))


@contextlib.contextmanager
def of(where: str, plain: str = "rules.") -> Iterator[None]:
    """What is wrong inside is said of this file, this table; ``plain``: what it is called there without a number."""
    try:
        yield
    except SpecError as e:
        raise SpecError(f"{where}{e.field.removeprefix(plain)}", e.value, _NONE.sub('"none"', e.reason)) from None


def _parts(jail: dict[str, Any]) -> dict[str, Any]:
    """What in a ``[jail]`` table is a table of its own, made."""
    found = dict(jail)
    if "mounts" in jail:
        if not isinstance(jail["mounts"], list):
            raise SpecError("mounts", jail["mounts"], "[[jail.mounts]] tables are needed")
        mounts = []
        for number, table in enumerate(jail["mounts"], 1):
            with of(f"mounts[{number}]."):
                mounts.append(_mount(table))
        found["mounts"] = tuple(mounts)
    if isinstance(jail.get("seccomp"), dict):
        with of("seccomp."):
            found["seccomp"] = _policy(jail["seccomp"])
    return found


def dump(jail: Jail) -> str:
    """The ``[jail]`` table of a jail, as `load` reads it: what differs from the default. SpecError for what no TOML
    file can hold: text that is not UTF-8."""
    lines = ["[jail]"]
    default = Jail()
    for f in fields(Jail):
        value = getattr(jail, f.name)
        if (
            f.name not in ("mounts", "env")
            and not isinstance(value, SeccompPolicy)
            and value != getattr(default, f.name)
        ):
            lines.append(f"{f.name} = {_value(f.name, value)}")
    if jail.env != default.env:
        lines += ["", "[jail.env]", *(f"{_value('env', k)} = {_value('env', v)}" for k, v in jail.env.items())]
    if isinstance(jail.seccomp, SeccompPolicy):
        policy, plain = jail.seccomp, SeccompPolicy()
        lines += ["", "[jail.seccomp]", f'base = "{policy.base}"']
        for name in ("allow", "refuse", "kill", "errno"):
            if getattr(policy, name) != getattr(plain, name):
                lines.append(f"{name} = {_value(name, getattr(policy, name))}")
        for rule in policy.rules:
            lines += ["", "[[jail.seccomp.rule]]", f'name = "{rule.name}"', f'action = "{rule.action}"']
            if rule.tests:
                tests = ", ".join(f"[{arg}, {value:#x}, {mask:#x}]" for arg, value, mask in rule.tests)
                lines.append(f"tests = [{tests}]  # [argument, value, mask]")
    for mount in jail.mounts:
        lines += ["", "[[jail.mounts]]"]
        if mount.kind == "tmpfs":
            lines += [f"dst = {_value('dst', mount.dst)}", f"size = {mount.size}"]
            continue
        lines.append(f"src = {_value('src', mount.src)}")
        if mount.dst != mount.src:
            lines.append(f"dst = {_value('dst', mount.dst)}")
        if not mount.ro:
            lines.append("ro = false")
    return "\n".join(lines) + "\n"


def _value(field: str, value: Any) -> str:
    """A bool, int, text or tuple of texts in TOML: its basic strings are JSON's, but for DEL."""
    if isinstance(value, tuple):
        return f"[{', '.join(_value(field, v) for v in value)}]"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SpecError(field, value, "is not UTF-8, which a TOML file has to be") from None
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name, {})
    if not isinstance(found, dict):
        raise SpecError(name, found, f"a [{name}] table is needed")
    return dict(found)


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


def _mount(table: Any) -> Mount:
    if not isinstance(table, dict):
        raise SpecError("mounts", table, "a [[jail.mounts]] table is needed")
    if "size" in table:
        known("", table, ("dst", "size"))
        return Mount.tmpfs(table.get("dst", ""), table["size"])
    known("", table, ("src", "dst", "ro"))
    return Mount.bind(table.get("src", ""), table.get("dst"), table.get("ro", True))


def known(where: str, table: dict[str, Any], names: Any) -> None:
    """SpecError for a key that is none of ``names``; it names the nearest right one."""
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, list(names), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(names))}"
            raise SpecError(f"{where}.{key}".lstrip("."), table[key], f"there is no such key; {hint}")
