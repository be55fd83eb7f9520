"""Who would find the queue full is told so before his request is read: that costs little, and what runs goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlette.types import Scope

from pyjail.serve import watch
from pyjail.serve.admission import Turns
from pyjail.serve.problem import Problem


class Template(NamedTuple):
    """A route, as the log and the metrics name it."""

    path: str


Routes = Mapping[tuple[str, str], Template]  # that do nothing but run a program while their client waits
Refusal = Callable[[Scope, Mapping[str, str]], Problem | None]
OURS: Routes = {("POST", path): Template(path) for path in ("/v1/runs", "/v1/judge")}
_LATER = ("prefer", "idempotency-key")  # headers of what may be kept for later, and takes no place in the queue


def nobody(scope: Scope, headers: Mapping[str, str]) -> Problem | None:
    """Is refused."""
    return None


def refusal(turns: Turns, routes: Routes) -> Refusal:
    """What says why a request would not even wait; None where it may, or where that is not known yet."""

    def of(scope: Scope, headers: Mapping[str, str]) -> Problem | None:
        route = routes.get((scope["method"], scope["path"]))
        if route is None or any(name in headers for name in _LATER):
            return None
        problem = turns.refusal(scope["tenant"], scope["token"], early=True) if turns.crowded else None
        if problem is not None:
            scope["route"] = route
        else:
            turns.expect(watch.of(scope))  # or all that come at the same time would be let in
        return problem

    return of
