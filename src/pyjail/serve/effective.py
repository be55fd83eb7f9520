"""The effective configuration, for people: a TOML file whose comments say where each value is from."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pyjail import Jail, Limits
from pyjail.serve import settings
from pyjail.serve.config import Config, Token
from pyjail.serve.settings import DEFAULT, Settings

MASKED = "********"
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*(?=@)")
_SECRETS = ("postgres", "redis", "storage")  # addresses that may have a password


def page(found: Settings) -> str:
    """All of it; secrets are masked."""
    return "\n".join(_lines(found))


def _lines(found: Settings) -> Iterator[str]:
    config = found.config
    for table, fields in settings.tables().items():
        part = config if table == "serve" else getattr(config, table.removeprefix("serve."))
        yield from _table(table, {name: getattr(part, name) for name in fields}, found.origins)
    yield from _table("serve.maxima", _limits(config.maxima), found.origins)
    for token in config.tokens:
        yield from _token(token, found.origins.get("serve.tokens", DEFAULT))
    yield from _table("limits", _limits(config.limits), found.origins)
    yield from _table("jail", _changed(config.jail), found.origins)
    for name, given in config.faces.items():
        yield from _table(f"faces.{name}", given, {f"faces.{name}.{k}": found.origins[f"faces.{name}"] for k in given})
    yield from (f"# languages.{n}: {found.origins[f'languages.{n}']}" for n in _languages(config, found.origins))


def _languages(config: Config, origins: Mapping[str, str]) -> list[str]:
    return [name for name in config.languages if f"languages.{name}" in origins]


def _table(name: str, values: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[str]:
    yield f"[{name}]"
    shown = {key: f"{key} = {_value(key, value)}" for key, value in values.items()}
    width = min(40, max(map(len, shown.values()), default=0))
    for key, text in shown.items():
        yield f"{text:<{width}}  # {origins.get(f'{name}.{key}', DEFAULT)}"
    yield ""


def _token(token: Token, origin: str) -> Iterator[str]:
    yield "[[serve.tokens]]"
    for field in dataclasses.fields(token):
        value = getattr(token, field.name)
        if value not in (None, ""):
            yield f"{field.name} = {json.dumps(MASKED if field.name == 'sha256' else value)}  # {origin}"
    yield ""


def _limits(limits: Limits) -> dict[str, Any]:
    return {field.name: getattr(limits, field.name) for field in dataclasses.fields(limits)}


def _changed(jail: Jail) -> dict[str, Any]:
    usual = Jail()
    names = [field.name for field in dataclasses.fields(jail)]
    return {name: v for name in names if (v := getattr(jail, name)) != getattr(usual, name) or name == "strict"}


def _value(key: str, value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, str) and key in _SECRETS:
        value = _PASSWORD.sub(rf"\1:{MASKED}", value)
    if isinstance(value, frozenset):
        value = sorted(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_value(k, v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value('', v) for v in value)}]"
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, (bool, int, float, str)) else json.dumps(str(value))
    )
