"""Configurations of other services: what each of their names is here, or why it is nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyjail import SpecError
from pyjail.serve import config_values
from pyjail.serve.config import MAXIMA

TAKEN, UNUSED, REFUSED = "taken", "not used", "refused"


@dataclass(frozen=True)
class Rule:
    """What a name of theirs is here.

    Attributes:
        new: {name here: its value} of a value of theirs; raises ValueError for one that makes no sense.
        unused: why it is nothing here; refused: why this value is not taken, "" when it is.
        note: what is to be known of it.
    """

    new: Callable[[Any], Mapping[str, Any]] = lambda _: {}
    unused: str = ""
    refused: Callable[[Any], str] = lambda _: ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One name of theirs. ``became``: "taken", "not used" or "refused"; ``said``: as what, or why."""

    old: str
    value: Any
    became: str
    said: str


@dataclass
class Imported:
    """What came of a configuration: a `Row` for each name, ``values`` by their names here."""

    service: str
    rows: list[Row] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> list[Row]:
        """What it cannot be used for."""
        return [row for row in self.rows if row.became == REFUSED]

    def take(self, old: str, value: Any, rule: Rule) -> None:
        """One more name."""
        if value is None:
            self.rows.append(Row(old, value, UNUSED, "the default here is the default"))
        elif why := rule.refused(value):
            self.rows.append(Row(old, value, REFUSED, why))
        elif rule.unused:
            self.rows.append(Row(old, value, UNUSED, rule.unused))
        else:
            try:
                new = self._with_maxima(rule.new(value))
            except (TypeError, ValueError) as e:
                self.rows.append(Row(old, value, REFUSED, str(e)))
                return
            self.values |= new
            said = ", ".join(f"{name} = {_toml(v)}" for name, v in new.items()) or "as it is here"
            self.rows.append(Row(old, value, TAKEN, f"{said}; {rule.note}" if rule.note else said))

    def _with_maxima(self, new: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is usual there may be more than the maximum here, which is raised then."""
        more = {}
        for name, value in new.items():
            table, _, key = name.rpartition(".")
            bound = getattr(MAXIMA, key, None) if table.endswith("limits") else None
            if isinstance(value, (int, float)) and isinstance(bound, (int, float)) and value > bound:
                more[f"serve.maxima.{key}"] = max(value, self.values.get(f"serve.maxima.{key}", value))
        return {**new, **more}


def page(found: Imported) -> str:
    """The table as comments, and the TOML file."""
    return "\n".join([*_table(found), "", *_file(found.values)])


def table(found: Imported) -> str:
    """The table alone."""
    return "\n".join(_table(found))


def _table(found: Imported) -> Iterator[str]:
    yield f"# {found.service}: what is configured there, and what it is here"
    width = max((len(row.old) for row in found.rows), default=0)
    for row in found.rows:
        value = "********" if is_secret(row.old) else json.dumps(row.value)
        arrow = "->" if row.became == TAKEN else f"{row.became}:"
        yield f"#   {row.old:<{width}} = {value}  {arrow} {row.said}"
    if not found.rows:
        yield "#   nothing: all is as by default"


def is_secret(name: str) -> bool:
    """Whether its value is not shown."""
    return any(word in name.upper() for word in ("TOKEN", "PASSWORD", "SECRET"))


def _file(values: Mapping[str, Any]) -> Iterator[str]:
    tables: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        where, _, key = name.rpartition(".")
        tables.setdefault(where, {})[key] = value
    for where, given in sorted(tables.items()):
        if isinstance(given.get("tokens"), list):
            continue
        yield f"[{where}]"
        yield from (f"{key} = {_toml(value)}" for key, value in given.items())
        yield ""
    for token in values.get("serve.tokens", ()):
        yield "[[serve.tokens]]"
        yield from (f"{key} = {_toml(value)}" for key, value in token.items())
        yield ""


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def of_mapping(service: str, rules: Mapping[str, Rule], given: Mapping[str, Any], prefix: str = "") -> Imported:
    """Of names that all have to be known: SpecError for others, with the nearest."""
    found = Imported(service)
    flat = dict(_flat(given, prefix))
    config_values.known("", flat, rules)
    for name, value in flat.items():
        found.take(name, value, rules[name])
    return found


def of_environment(service: str, rules: Mapping[str, Rule], environ: Mapping[str, str]) -> Imported:
    """Of those variables that are theirs; all others are somebody else's."""
    found = Imported(service)
    for name, rule in rules.items():
        if name in environ:
            found.take(name, environ[name], rule)
    return found


def _flat(given: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_json(path: str) -> Mapping[str, Any]:
    """An object of a file. SpecError when it is none; OSError."""
    with open(path, "rb") as f:
        try:
            found = json.load(f)
        except (ValueError, RecursionError) as e:
            raise SpecError("--import", path, f"is not JSON: {e}") from None
    if not isinstance(found, dict):
        raise SpecError("--import", path, "an object of JSON is needed")
    return found
