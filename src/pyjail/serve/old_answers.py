"""Answers to clients of HTTP/1.0, which know no chunks."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class OldAnswer(RequestResponseCycle):
    """An answer whose length nobody knows is over when the connection is closed."""

    _open = False

    async def send(self, message: Any) -> None:
        """See `RequestResponseCycle.send`."""
        if message["type"] == "http.response.start":
            self._open = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if self._open:
                self.chunked_encoding = False
        elif self._open:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
