"""A 422 as FastAPI tells it, whose clients three of the other services have: `Wrong`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve.problem import Problem

OBJECT = "model_attributes_type", "Input should be a valid dictionary or object to extract fields from"
STRING = "string_type", "Input should be a valid string"
Kind = tuple[str, str]
Detail = Mapping[str, Any]


_NUMBER = re.compile(r"\s*[+-]?(\d{1,15}(\.\d{0,15})?|\.\d{1,15})\s*")


def number(given: Any) -> Any:
    """The same; of text that is a number, that one, as FastAPI takes it."""
    return float(given) if isinstance(given, str) and _NUMBER.fullmatch(given) else given


class Wrong(Problem):
    """``found``: {"type", "loc", "msg", "input"} of each thing that is."""

    def __init__(self, *found: Detail) -> None:
        super().__init__(422, "field", "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in found))
        self.found = list(found)


def detail(at: Sequence[str | int], kind: Kind, given: Any) -> Detail:
    """Of one thing."""
    return {"type": kind[0], "loc": ["body", *at], "msg": kind[1], "input": given}


def missing(at: Sequence[str | int], given: Any) -> Detail:
    """Of a field that is needed."""
    return detail(at, ("missing", "Field required"), given)


def no_json(e: ValueError) -> Wrong:
    """Of a body that is none."""
    return Wrong(detail([], ("json_invalid", f"JSON decode error: {e}"), {}))
