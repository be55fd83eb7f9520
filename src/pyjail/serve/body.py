"""Bodies of requests: what kind they may be, how long, and how many bytes of them are held at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from pyjail.serve.problem import Media, Problem

_WIDE = 4  # bytes of each character of a text in which one is beyond the first 65,536
_JSON = b"{[ \t\r\n"  # what it begins with
FORMS = ("multipart/form-data", "application/octet-stream")
_FILES = re.compile(r"/v1/files(/.*)?|/v1/(sessions|boxes)/[0-9a-f]+/files")

Forms = Callable[[str, str], bool]  # whether (method, path) takes a body that is no JSON


def no_forms(method: str, path: str) -> bool:
    """False, but for what `/v1` stores."""
    return _FILES.fullmatch(path) is not None


def comes(headers: Mapping[str, str]) -> bool:
    """Whether there is a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def check_kind(method: str, path: str, headers: Mapping[str, str], forms: bool) -> None:
    """Nothing, for JSON, and where ``forms`` are taken for what they are. Raises `Problem` 415.

    What a page of another site can send without being asked first (text/plain, forms, no type) is not taken as JSON.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Problem(415, "encoding", "compressed bodies are not taken", headers={"Accept-Encoding": "identity"})
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return
    if forms and (kind in FORMS or (not kind and method == "PUT")):
        return
    if not kind and not path.startswith("/v1/"):
        return  # clients of other services: Origin and Sec-Fetch-Site have been looked at
    taken = " or ".join(FORMS) if forms else "application/json"
    raise Media(kind, f"a body has to be {taken}", f"send Content-Type: {taken.split()[0]}")


async def whole(request: Request) -> bytes:
    """All of it. Raises `ClientDisconnect` where it does not come to its end."""
    message = await request.receive()
    parts = [message.get("body", b"")]
    while message.get("more_body") or message["type"] == "http.disconnect":
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        message = await request.receive()
        parts.append(message.get("body", b""))
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Bodies:
    """Bounds on what is read. ``held``: bytes of the bodies of requests that are not answered yet, `_WIDE` times as
    many for JSON in which there may be a character that makes Python's texts so wide."""

    def __init__(self, longest: int, inflight: int) -> None:
        self._longest, self._inflight, self.held = longest, inflight, 0

    def check_length(self, headers: Mapping[str, str]) -> None:
        """Before any of it is read. Raises `Problem` 400, 413 or 503."""
        given = headers.get("content-length", "0")
        if not (given.isascii() and given.isdigit()):
            raise Problem(400, "content-length", "Content-Length is no number")
        if len(given) > 18 or int(given) > self._longest:
            raise self._too_long()
        if self.held + int(given) > self._inflight:
            raise self._too_many()

    def _too_long(self) -> Problem:
        return Problem(413, "body", f"a body has at most {self._longest} bytes", hint="body in [serve.edge]")

    def _too_many(self) -> Problem:
        return Problem(503, "inflight", "too many bytes of bodies are held already", retry=1)


class Reading:
    """One body that is read; ``problem``: why it was not read to its end. `done` when its request is answered."""

    def __init__(self, bodies: Bodies, receive: Receive) -> None:
        self._bodies, self._receive = bodies, receive
        self._got = self._held = 0
        self._json = self._wide = False
        self.problem: Problem | None = None

    async def receive(self) -> Message:
        """The next message. Raises the `problem`."""
        if self.problem is not None:
            raise self.problem
        message = await self._receive()
        if message["type"] == "http.request":
            self._add(message.get("body", b""))
            if self._got > self._bodies._longest:
                self.problem = self._bodies._too_long()
            elif self._bodies.held - self._held + self._got > self._bodies._inflight:  # one by itself may be wide
                self.problem = self._bodies._too_many()
            if self.problem is not None:
                raise self.problem
        return message

    def _add(self, data: bytes) -> None:
        if not self._got:
            self._json = data[:1] in _JSON and data != b""
        self._got += len(data)
        if self._json and not self._wide:
            self._wide = not data.isascii() or b"\\u" in data or data.endswith(b"\\")  # whose "u" may come next
        held = self._got * _WIDE if self._wide else self._got
        self._bodies.held += held - self._held
        self._held = held

    def done(self) -> None:
        """Nothing of it is held any more."""
        self._bodies.held -= self._held
        self._got = self._held = 0
