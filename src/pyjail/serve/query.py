"""Names in a query that a route of ``/v1`` does not know: refused, as they are in a body."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from pyjail.serve import strict


def known(request: Request) -> None:
    """Of a route of FastAPI. Raises `Problem` 422 for a name that it has not."""
    if request.scope["query_string"]:
        of(request, [one.alias for one in request.scope["route"].dependant.query_params])


def of(request: Request, names: Sequence[str]) -> None:
    """Raises `Problem` 422 for a name that is none of these."""
    for name in request.query_params:
        if name not in names:
            raise strict.unknown(name, names, name)
