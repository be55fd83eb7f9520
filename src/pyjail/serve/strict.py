"""JSON of a request, read strictly: what parsers disagree about is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pyjail.serve.problem import Problem

DEEPEST = 32
PARTS = 100_000  # names, values, lists and objects
_LONGEST_NAME = 80  # characters: of more, to look for the nearest takes seconds
# One that never ends is taken to its end: looking for where else it might end would take the square of its length.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
M = TypeVar("M", bound=BaseModel)


def read(body: bytes) -> Any:
    """What it says. Raises `Problem` 400: no JSON, a key that comes twice, NaN, too deep, too many parts, half a
    surrogate pair."""
    few(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as e:
        raise _malformed(f"the body is no UTF-8 at byte {e.start}") from None
    try:
        said = _DECODER.decode(text)
    except RecursionError:
        raise _malformed("the body is nested too deep") from None
    except ValueError as e:
        raise _malformed(f"the body is no JSON: {e}") from None
    if body.count(b"[") + body.count(b"{") > DEEPEST:  # of fewer none is deeper
        _shallow(said)
    if _LONE.search(body):
        _whole(said)
    return said


def few(body: bytes) -> None:
    """Nothing, for JSON that is not made of very many parts: they take far more memory than their text. Raises
    `Problem` 400."""
    if _parts(body) > PARTS and _parts(_STRINGS.sub(b"", body)) > PARTS:
        raise _malformed(f"the body has more than {PARTS} names and values")


def _parts(body: bytes) -> int:
    return sum(map(body.count, (b",", b"[", b"{")))


def model(kind: type[M], body: bytes) -> M:
    """The body as one of these. Raises `Problem` 400, or 422 that names the field."""
    said = read(body)
    if not isinstance(said, dict):
        raise Problem(422, "field", "a JSON object is needed")
    try:
        return kind.model_validate(said)
    except ValidationError as e:
        raise refused(e.errors(include_url=False, include_context=False), kind) from None


def refused(errors: Sequence[Any], kind: type[BaseModel] | None = None) -> Problem:
    """422 for the first of what pydantic found; one that is about an unknown name comes before the others."""
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    loc = [str(part) for part in first["loc"]]
    if loc[:1] in (["body"], ["query"], ["path"], ["header"]):
        loc = loc[1:]
    field = ".".join(loc)
    if first["type"] != "extra_forbidden":
        return Problem(422, "field", first["msg"], field=field)
    return unknown(loc[-1], _names(kind, loc[:-1]), field)


def unknown(name: str, known: Sequence[str], field: str) -> Problem:
    """422 for a name that there is not, with the nearest."""
    near = get_close_matches(name, known, 1, 0.5) if len(name) <= _LONGEST_NAME else []
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}" if known else ""
    return Problem(422, "field", f"there is no {name[:_LONGEST_NAME]!r} here", field=field[:200], hint=hint)


def _names(kind: type[BaseModel] | None, way: Sequence[str]) -> list[str]:
    """Of the fields of the model that lies there."""
    for part in way:
        if part.isdigit() or kind is None:
            continue
        field = kind.model_fields.get(part)
        kind = None if field is None else _model_in(field.annotation)
    return [] if kind is None else list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, getattr(annotation, "__args__", ()))), None)


def _malformed(why: str) -> Problem:
    return Problem(400, "malformed", why)


def _shallow(said: Any) -> None:
    """Raise for what is nested too deep: by what was read, of which there are not many parts."""
    depth, level = 0, [said] if isinstance(said, (dict, list)) else []
    while level:
        depth += 1
        if depth > DEEPEST:
            raise _malformed(f"the body is nested deeper than {DEEPEST}")
        values = (value for one in level for value in (one.values() if isinstance(one, dict) else one))
        level = [value for value in values if isinstance(value, (dict, list))]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise Problem(400, "malformed", f"{twice[:_LONGEST_NAME]!r} comes twice in one object")
    return made


def _constant(name: str) -> Any:
    raise _malformed(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _whole(said: Any) -> None:
    """Raise for a text that cannot be written as UTF-8."""
    if isinstance(said, str):
        if any("\ud800" <= c <= "\udfff" for c in said):
            raise _malformed("half a surrogate pair is no character")
    elif isinstance(said, Mapping):
        for name, value in said.items():
            _whole(name)
            _whole(value)
    elif isinstance(said, list):
        for value in said:
            _whole(value)
