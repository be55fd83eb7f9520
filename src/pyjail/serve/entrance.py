"""What the head of a request is looked at for: Host, Origin, tokens, rates, its body's kind and length, the queue.

Nothing is parsed or kept before it has passed. It leaves in the scope: ``request_id``, ``client`` (behind proxies,
too), ``tenant`` and ``token``. A WebSocket that has no token in its headers brings it in its first message; until then
its ``tenant`` is "".
"""

from __future__ import annotations

import logging
import os
import random
import re
import traceback
from collections.abc import Callable, Iterable
from typing import NamedTuple

from starlette.types import Scope

from pyjail.serve import auth, body, client, crowd
from pyjail.serve.config import Config
from pyjail.serve.encoded import encoded
from pyjail.serve.hosts import SAFE, Hosts
from pyjail.serve.problem import TYPE, Problem
from pyjail.serve.rates import Rates

_LOG = logging.getLogger("pyjail.serve")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ONCE = frozenset({
    "host", "origin", "sec-fetch-site", "authorization", "x-auth-token", "content-length", "content-type",
    "content-encoding", "transfer-encoding", "x-request-id",
})  # fmt: skip
_RANGE = (b"range", b"if-range")
_CORS = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, idempotency-key, last-event-id, prefer"),
    (b"access-control-max-age", b"600"),
)
_EXPOSED = (b"access-control-expose-headers", b"location, retry-after, ratelimit, ratelimit-policy, x-request-id")

Headers = list[tuple[bytes, bytes]]
Told = tuple[int, Headers, bytes]
Tell = Callable[[Scope, Problem], Told]  # a problem as the client of that path expects to be told


def tell(scope: Scope, problem: Problem) -> Told:
    """As RFC 9457 says."""
    said = encoded(problem.to_dict(scope.get("request_id", "")))
    headers = [(b"content-type", TYPE.encode()), (b"content-length", b"%d" % len(said))]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    return problem.status, headers, said


class Passed(NamedTuple):
    """What its head came to. ``more``: headers of the answer, whatever it is. ``reads``: it has a body. ``told``: the
    answer, where the head says all that has to be known."""

    more: Headers
    reads: bool = False
    told: Told | None = None


class Entrance:
    """``forms``: where bodies are taken that are no JSON. ``refusal``: who need not be read, since the queue is full.

    Raises ValueError for a rate or a proxy that is none.
    """

    def __init__(
        self, config: Config, tell: Tell = tell, forms: body.Forms = body.no_forms,
        refusal: crowd.Refusal = crowd.nobody,
    ) -> None:  # fmt: skip
        self.tell, self._forms, self._refusal = tell, forms, refusal
        self._proxies = client.Proxies(config.edge.proxies)
        self._hosts = Hosts((*config.edge.hosts, config.address), config.edge.origins)
        self._guard = auth.Guard(config.tokens)
        self._rate, self._rates = config.admission.rate, Rates()
        for rate in filter(None, (self._rate, *(token.rate for token in config.tokens))):
            self._rates.know(rate)
        self.bodies = body.Bodies(config.edge.body, config.admission.inflight)

    def enter(self, scope: Scope) -> Passed:
        """Once for each request."""
        headers = _read(scope)
        more = [(b"x-content-type-options", b"nosniff"), (b"x-request-id", scope["request_id"].encode())]
        try:
            if self._preflight(headers, scope, more):
                return Passed(more, told=(204, with_more(_CORS, more), b""))
            more += self._check(scope, headers)
            reads = body.comes(headers)
            if reads:
                method, path = scope["method"], scope["path"]
                self.bodies.check_length(headers)
                body.check_kind(method, path, headers, self._forms(method, path))
            if (refused := self._refusal(scope, headers)) is not None:
                return self._refused(scope, refused, more)
            return Passed(more, reads)
        except Problem as e:
            return self._refused(scope, e, more)
        except Exception as e:
            return self._refused(scope, failed(scope, e), more)

    def _refused(self, scope: Scope, problem: Problem, more: Headers) -> Passed:
        scope["problem"] = problem.kind
        status, said, content = self.tell(scope, problem)
        return Passed(more, told=(status, with_more(said, more), content))

    def _preflight(self, headers: dict[str, str], scope: Scope, more: Headers) -> bool:
        """Whether it is what a browser asks for first on behalf of a page of another origin. Only those that are
        configured are told anything."""
        origin = headers.get("origin")
        if origin is None or not self._hosts.allows(origin):
            return False
        more += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin"), _EXPOSED]
        asked = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        return asked and self._hosts.check(headers.get("host"), _server(scope)) is not None

    def _check(self, scope: Scope, headers: dict[str, str]) -> Headers:
        """Headers of the answer. Raises `Problem`."""
        method, path = scope.get("method", "CONNECT"), scope["path"]
        self._may_come(scope, headers, method)
        where = client.tenant(scope["client"][0])
        scope["tenant"], scope["token"] = where, None
        if auth.is_open(method, path):
            return []
        if self._guard.needed:
            self._enter(scope, auth.secret(headers), method)
        return self._asked(scope)

    def _may_come(self, scope: Scope, headers: dict[str, str], method: str) -> None:
        if doubled := scope.pop("doubled"):
            raise Problem(400, "header", f"{', '.join(sorted(doubled))}: more than one")
        host = self._hosts.check(headers.get("host"), _server(scope))
        if method not in SAFE:
            self._hosts.check_origin(host, headers.get("origin"), headers.get("sec-fetch-site"))
        peer = scope["client"][0] if scope.get("client") else client.LOCAL
        forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        scope["client"] = (self._proxies.client(peer, forwarded), scope["client"][1] if scope.get("client") else 0)

    def _enter(self, scope: Scope, secret: str, method: str) -> None:
        token = self._guard.enter(secret, method, scope["path"])
        scope["tenant"], scope["token"] = token.name, token

    def _asked(self, scope: Scope) -> Headers:
        token = scope["token"]
        rate = token.rate if token is not None and token.rate else self._rate
        return self._rates.hit(rate, scope["tenant"]).headers() if rate else []

    def socket(self, scope: Scope) -> bool:
        """Whether a WebSocket has to bring its token yet, which `admit` is given then. Raises `Problem`."""
        headers = _read(scope)
        self._may_come(scope, headers, "CONNECT")
        scope["tenant"], scope["token"] = client.tenant(scope["client"][0]), None
        secret = auth.secret(headers)
        if self._guard.needed and not secret:
            scope["tenant"] = ""
            return True
        self.admit(scope, secret)
        return False

    def admit(self, scope: Scope, secret: str) -> None:
        """A WebSocket with that token. Raises `Problem`."""
        if self._guard.needed:
            self._enter(scope, secret, "CONNECT")
        self._asked(scope)


def _server(scope: Scope) -> str:
    return str((scope.get("server") or ("",))[0])


def _read(scope: Scope) -> dict[str, str]:
    """Its headers; the scope gets a ``request_id``, and loses what asks for a part of an answer."""
    headers: dict[str, str] = {}
    doubled: set[str] = set()
    ranged = False
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        if name in headers and name in _ONCE:
            doubled.add(name)
        headers[name] = value.decode("latin-1")
        ranged = ranged or raw in _RANGE
    if ranged:
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in _RANGE]
    given = headers.get("x-request-id", "")
    scope["request_id"] = (
        given if _ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
    )  # names, and opens nothing
    scope["doubled"] = doubled
    return headers


def with_more(headers: Iterable[tuple[bytes, bytes]], more: Headers) -> Headers:
    """These, and those that are not among them."""
    said = list(headers)
    have = {name.lower() for name, _ in said}
    return said + [(name, value) for name, value in more if name not in have]


def failed(scope: Scope, e: Exception) -> Problem:
    """What is told of an error of ours, which is logged."""
    _LOG.error("%s: %s", scope["request_id"], _where(e))
    return Problem(500, "internal", "the service failed")


def _where(e: BaseException) -> str:
    """What went wrong and where, without its text: that may be the client's."""
    frames = traceback.extract_tb(e.__traceback__)[-4:]
    return " < ".join([type(e).__name__, *(f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(frames))])
