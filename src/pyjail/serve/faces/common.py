"""What faces share: JSON bodies, settings, limits of a request, text of bytes, paths of files."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pyjail import Limits, SpecError, languages
from pyjail.serve.config import Config
from pyjail.serve.face import Asked
from pyjail.serve.problem import Problem

MOST_SHOWN = 200  # characters of a path that cannot be
LONGEST_PATH = 8192  # characters that are looked at
MOST_DIGITS = 100  # of a whole number: no limit has as many


def parsed(asked: Asked) -> Any:
    """The body as JSON. Raises ValueError with a text for people."""
    try:
        body = asked.body.decode("utf-8", "replace")
        return json.loads(body, parse_constant=_no_number, parse_float=_float, parse_int=_int)
    except json.JSONDecodeError as e:
        raise ValueError(f"{e.msg} at line {e.lineno} column {e.colno}") from None
    except RecursionError:
        raise ValueError("too many lists and objects in each other") from None


def _float(digits: str) -> float:
    return number if math.isfinite(number := float(digits)) else _too_large(digits)


def _int(digits: str) -> int:
    return int(digits) if len(digits) < MOST_DIGITS else _too_large(digits)


def _too_large(digits: str) -> int:
    raise ValueError(f"{digits[:MOST_DIGITS]}... is too large a number")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def text(data: Any) -> str:
    """Of what a program wrote; what is no UTF-8 becomes U+FFFD."""
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data or "")


def compiling(
    config: Config, language: str, settings: Mapping[str, Any], own: Mapping[str, Any], asked: Mapping[str, Any]
) -> Limits:
    """Of a language's compiler: its own, with the face's, the settings' and the request's on top, as `bounded`."""
    found = config.languages.get(language) or languages.table().get(language)
    usual = languages.COMPILE if found is None else found.compile_limits
    given = {**own, **dict(settings.get("compile_limits", {}))}
    return _on_top(replace(usual, **given), config.maxima, asked)


def bounded(config: Config, settings: Mapping[str, Any], own: Mapping[str, Any], asked: Mapping[str, Any]) -> Limits:
    """The service's limits with the face's ``own``, the settings' and the request's on top, in that order.

    Raises `Problem` 400 for what is asked for above the service's maxima; what is not asked for is never above them.
    """
    usual = {**own, **dict(settings.get("limits", {}))}
    base = replace(config.limits, **{name: _less(config.maxima, name, value) for name, value in usual.items()})
    return _on_top(base, config.maxima, asked)


def _on_top(base: Limits, maxima: Limits, asked: Mapping[str, Any]) -> Limits:
    for name, value in asked.items():
        bound = getattr(maxima, name)
        if isinstance(bound, (int, float)) and value > bound:
            why = f"{name}: at most {bound:.15g} is given here, not {value:.15g}"
            raise Problem(400, "limit", why, field=f"limits.{name}")
    try:
        return replace(base, **asked)
    except SpecError as e:
        raise Problem(400, "field", f"{e.field}: {e.reason}", field=f"limits.{e.field}") from None


_NAMES = {f.name for f in fields(Limits)}


def _less(maxima: Limits, name: str, value: Any) -> Any:
    if name not in _NAMES:
        raise Problem(500, "configuration", f"there is no limit {name!r}")
    bound, given = getattr(maxima, name), getattr(replace(Limits(), **{name: value}), name)
    if isinstance(bound, (int, float)):
        return bound if given is None else min(bound, given)
    return given


def relative(path: str) -> str:
    """A path below a directory, normalised. Raises ValueError for one that leads elsewhere or cannot be."""
    clean = posixpath.normpath(path[: LONGEST_PATH + 1]) if path else "."
    if clean == "." or clean.startswith(("/", "../")) or clean == ".." or "\0" in path:
        raise ValueError(f'invalid path: "{shown(path[:MOST_SHOWN])}"')
    try:
        parts = clean.encode().split(b"/")
    except UnicodeEncodeError:
        raise ValueError(f'invalid path: "{shown(path[:MOST_SHOWN])}"') from None
    if len(path) > LONGEST_PATH or len(clean) > 4000 or any(len(part) > 255 for part in parts):
        raise ValueError(f'invalid path: "{shown(path[:MOST_SHOWN])}"')
    return clean


def shown(name: str) -> str:
    """A name as one line of printable characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def failed(fault: str) -> Problem:
    """The jail failed, not the program. What of the machine it says stays here."""
    return Problem(500, "jail-error", fault or "the jail failed, not the program")
