"""What a TOML file says of a `Jail`, `Limits` and languages, and a jail as such a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pyjail._spec.config import (
    jail_of,
    limits_of,
    of_file,
    tables,
)
from pyjail._spec.jail import Jail, Limits, Mount
from pyjail._spec.seccomp import SeccompPolicy
from pyjail._spec.toml import value_of


@dataclass(frozen=True)
class Config:
    """What one file says: its ``[jail]`` and ``[limits]`` tables, defaults where they are missing.

    ``languages``: its ``[languages.NAME]`` tables as they stand; `pyjail.languages.load` validates them.
    """

    jail: Jail
    limits: Limits
    languages: dict[str, Any]


def load(path: str | os.PathLike[str] | Mapping[str, Any]) -> Config:
    """Read and validate ``path``, or the tables of one. SpecError, with file and table, for what is wrong; OSError."""
    found = tables(path)
    with of_file(path):
        return Config(jail_of(found["jail"], Jail, Mount), limits_of(found["limits"], Limits), found["languages"])


def from_toml(path: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Jail, Limits]:
    """The jail and the limits of a configuration file (docs/configuration.md), which is read once.

    Args:
        path: of a TOML file with ``[jail]`` and ``[limits]`` tables; what it does not say is as by default. Or these
            tables, as `tomllib` and `json` read them.

    Raises:
        SpecError: what is wrong in it, with file and table. OSError: it cannot be read.

    >>> import os, tempfile, pyjail
    >>> with tempfile.NamedTemporaryFile("w", suffix=".toml") as f:
    ...     _ = f.write("[limits]\\nmemory = '64M'\\n")
    ...     f.flush()
    ...     jail, limits = pyjail.from_toml(f.name)
    >>> limits.memory
    67108864
    >>> pyjail.from_toml({"limits": {"memory": "64M"}}) == (jail, limits)
    True
    """
    found = load(path)
    return found.jail, found.limits


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
            lines.append(f"{f.name} = {value_of(f.name, value)}")
    if jail.env != default.env:
        lines += ["", "[jail.env]", *(f"{value_of('env', k)} = {value_of('env', v)}" for k, v in jail.env.items())]
    if isinstance(jail.seccomp, SeccompPolicy):
        policy, plain = jail.seccomp, SeccompPolicy()
        lines += ["", "[jail.seccomp]", f'base = "{policy.base}"']
        for name in ("allow", "refuse", "kill", "errno", "foreign"):
            if getattr(policy, name) != getattr(plain, name):
                lines.append(f"{name} = {value_of(name, getattr(policy, name))}")
        for rule in policy.rules:
            lines += ["", "[[jail.seccomp.rule]]", f'name = "{rule.name}"', f'action = "{rule.action}"']
            if rule.tests:
                tests = ", ".join(f"[{arg}, {value:#x}, {mask:#x}]" for arg, value, mask in rule.tests)
                lines.append(f"tests = [{tests}]  # [argument, value, mask]")
    for mount in jail.mounts:
        lines += ["", "[[jail.mounts]]"]
        if mount.kind == "tmpfs":
            lines += [
                f"dst = {value_of('dst', mount.dst)}",
                f"size = {mount.size}",
                *(["ro = true"] if mount.ro else []),
            ]
            continue
        if mount.kind == "link":
            lines += [f"dst = {value_of('dst', mount.dst)}", f"target = {value_of('target', mount.target)}"]
            continue
        lines.append(f"src = {value_of('src', mount.src)}")
        if mount.dst != mount.src:
            lines.append(f"dst = {value_of('dst', mount.dst)}")
        if not mount.ro:
            lines.append("ro = false")
    return "\n".join(lines) + "\n"
