"""Who may do what: tokens, roles, and the few routes that need none."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pyjail.serve.config import Token
from pyjail.serve.hosts import SAFE
from pyjail.serve.problem import Problem

# Without a token, for GET and HEAD: health, the page and its parts, what describes the interface, what clients probe.
OPEN = frozenset({
    "/", "/healthz", "/readyz", "/favicon.ico", "/docs", "/swagger", "/v1/openapi.json", "/version", "/boxer/healthz",
    "/config", "/go-judge/version", "/go-judge/config", "/judge0/version", "/boxer/swagger", "/secure-sandbox",
    "/secure-sandbox/", "/codebox/docs", "/codebox/openapi.json", "/secure-sandbox/docs",
    "/secure-sandbox/openapi.json", "/sandboxfusion/docs", "/sandboxfusion/openapi.json",
})  # fmt: skip
OPEN_BELOW = ("/static/", "/docs/", "/swagger/", "/boxer/swagger/")
METRICS = "/metrics"
_LONGEST = 512  # characters of a token that is looked at


def is_open(method: str, path: str) -> bool:
    """Whether it is answered without a token."""
    if method not in ("GET", "HEAD"):
        return False
    if path in OPEN:
        return True
    return path.startswith(OPEN_BELOW) and not any(part in ("", ".", "..") for part in path.split("/")[1:-1])


def secret(headers: Mapping[str, str]) -> str:
    """What came as a token: ``Authorization``, with ``Bearer`` or bare, or ``X-Auth-Token``; never in a query."""
    given = headers.get("authorization", "").strip()
    if given:
        scheme, found, rest = given.partition(" ")
        if not found:
            return scheme
        return rest.strip() if scheme.lower() == "bearer" else ""
    return headers.get("x-auth-token", "").strip()


def denied() -> Problem:
    """401, the same for one that is missing, unknown or too old."""
    return Problem(401, "token", "a valid token is needed", headers={"WWW-Authenticate": 'Bearer realm="pyjail"'})


class Guard:
    """The tokens that are known. Without any, whoever is there may do everything."""

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._tokens = tuple(tokens)
        self._digests = [(token.sha256.lower().encode(), token) for token in self._tokens]

    @property
    def needed(self) -> bool:
        """Whether there are tokens."""
        return bool(self._tokens)

    def find(self, given: str) -> Token | None:
        """Whose it is; None: nobody's, or it is too old. The time says neither which one nor how much was right."""
        digest = hashlib.sha256(given[:_LONGEST].encode("utf-8", "surrogatepass")).hexdigest().encode()
        found = None
        for known, token in self._digests:
            if hmac.compare_digest(digest, known):
                found = token
        if found is None or not given or len(given) > _LONGEST:
            return None
        return found if found.expires is None or time.time() < found.expires else None

    def enter(self, given: str, method: str, path: str) -> Token:
        """Whose request that is. Raises `Problem` 401 or 403."""
        token = self.find(given)
        if token is None:
            raise denied()
        if not allows(token.role, method, path):
            raise Problem(403, "role", f"the role {token.role!r} does not allow that")
        return token


def allows(role: str, method: str, path: str) -> bool:
    """Whether who has that role may ask for that; a WebSocket's method is "CONNECT"."""
    if role == "admin":
        return True
    if path == METRICS:
        return role == "metrics"
    return role == "run" or (role == "read" and method in SAFE)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name comes twice")  # whoever reads it next is to see that
    return made


def first_message(text: str) -> tuple[str, str]:
    """(token, the message without it) of the first message of a WebSocket, a JSON object with ``token``: browsers can
    set no header there. ("", the message as it is) where there is none."""
    try:
        said: Any = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return "", text
    if not isinstance(said, dict) or "token" not in said:
        return "", text
    given = said.pop("token")
    return (given if isinstance(given, str) else ""), json.dumps(said)
