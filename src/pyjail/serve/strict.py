"""JSON that means one thing only, and not too much of it: `loads`."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from fastapi import Request
from fastapi.routing import APIRoute

from pyjail.serve.problem import Problem

DEPTH = 32
PARTS = 100_000  # names and values
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def loads(data: bytes) -> Any:
    """What it says. Raises `Problem` 400 for what is no JSON, is too deep or has too many parts, for a name that comes
    twice, for NaN and infinities, and for bytes that are not UTF-8."""
    if data.count(b",") + data.count(b":") > PARTS:
        bare = _STRINGS.sub(b"", data)  # commas in strings are no parts
        if bare.count(b",") + bare.count(b":") > PARTS:
            raise _bad(f"more than {PARTS} names and values")
    try:
        said = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError:
        raise _bad(f"deeper than {DEPTH}") from None
    except UnicodeDecodeError:
        raise _bad("not UTF-8") from None
    except json.JSONDecodeError as e:
        raise _bad(f"{e.msg}, line {e.lineno}, column {e.colno}") from None
    except ValueError:  # more digits than Python reads
        raise _bad("a number is too long") from None
    level = [said]
    for _ in range(DEPTH):
        level = [
            part
            for whole in level
            if isinstance(whole, (dict, list))
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
        if not level:
            return said
    raise _bad(f"deeper than {DEPTH}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _bad("a name comes twice in an object")
    return made


def _constant(_: str) -> NoReturn:
    raise _bad("NaN and Infinity are no JSON")


def _bad(why: str) -> Problem:
    return Problem(400, "json", f"the body is no JSON that is taken here: {why}")


class _Asked(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = loads(await self.body())
        return self._json


class Route(APIRoute):
    """One whose body is read by `loads`, and whose `Problem`s stay what they are."""

    def get_route_handler(self) -> Any:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Any:
            asked = _Asked(request.scope, request.receive)
            if "json" in request.headers.get("content-type", "") and await asked.body():
                await asked.json()  # here, since the framework makes one answer of all that goes wrong there
            return await inner(asked)

        return handler
