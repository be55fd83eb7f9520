"""The fields of a `Jail`, its mounts and its policy, from a JSON document. Their classes come with the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pyjail._base.documents import (
    name_from,
    reading,
    taken,
    unpack,
    unpacked,
)
from pyjail._spec.egress import Egress
from pyjail._spec.seccomp import SeccompPolicy, SeccompRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import DataclassInstance

M = TypeVar("M", bound="DataclassInstance")


def jail(cls: type[DataclassInstance], mount_cls: type[M], d: Mapping[str, Any]) -> dict[str, Any]:
    """See `Jail.from_dict`."""
    with reading("jail"):
        given = taken(cls, d)
        if "mounts" in given:
            given["mounts"] = tuple(mount(mount_cls, m) for m in given["mounts"])
        if isinstance(given.get("seccomp"), Mapping):
            given["seccomp"] = policy(given["seccomp"])
        if isinstance(given.get("network"), Mapping):
            given["network"] = egress(given["network"])
        if "env" in given:
            given["env"] = {name_from(k): unpack(v) for k, v in given["env"].items()}
        return {
            name: unpack(value) if name in ("rootfs", "hostname", "python", "image") else value
            for name, value in given.items()
        }


def mount(cls: type[M], d: Mapping[str, Any]) -> M:
    """From its fields."""
    return cls(**unpacked(cls, d))


def egress(d: Mapping[str, Any]) -> Egress:
    """From its fields."""
    return Egress(**taken(Egress, d))


def policy(d: Mapping[str, Any]) -> SeccompPolicy:
    """From its fields."""
    given = taken(SeccompPolicy, d)
    rules = [taken(SeccompRule, r) for r in given.pop("rules", ())]
    for rule in rules:
        rule["tests"] = tuple(tuple(t) for t in rule.get("tests", ()))
    return SeccompPolicy(**given, rules=tuple(SeccompRule(**rule) for rule in rules))
