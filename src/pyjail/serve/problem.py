"""What is wrong with a request, or with the service: `Problem`, told as RFC 9457 says."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

TYPE = "application/problem+json"
PHRASES = {status.value: status.phrase for status in HTTPStatus}  # an enum takes as long as all else of a problem


class Problem(Exception):
    """An answer that is no result.

    Attributes:
        status: of HTTP. kind: one word or more with "-", the end of its ``type``. detail: what and why, for people.
        field: of the request; "" for none. hint: the fix. retry: seconds after which it may work; 0: never as it is.
        headers: more of them.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str = "",
        hint: str = "",
        retry: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, kind, detail)
        self.status, self.kind, self.detail, self.field, self.hint, self.retry = (
            status,
            kind,
            detail,
            field,
            hint,
            retry,
        )
        self.headers = {**({"Retry-After": str(retry)} if retry else {}), **(headers or {})}

    def __str__(self) -> str:
        return self.detail

    def to_dict(self, request_id: str = "") -> dict[str, Any]:
        """Its body."""
        said: dict[str, Any] = {
            "type": f"urn:pyjail:problem:{self.kind}", "title": PHRASES[self.status], "status": self.status,
            "detail": self.detail,
        }  # fmt: skip
        more = {"field": self.field, "hint": self.hint, "retry": self.retry, "request_id": request_id}
        return said | {name: value for name, value in more.items() if value}


class Media(Problem):
    """A 415: ``given`` is the type of body that is not taken."""

    def __init__(self, given: str, detail: str, hint: str) -> None:
        super().__init__(415, "content-type", detail, hint=hint)
        self.given = given
