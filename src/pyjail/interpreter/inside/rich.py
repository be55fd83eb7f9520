"""What ``IPython.display`` has and cells use, where there is no IPython."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "HTML", "JSON", "SVG", "Image", "Javascript", "Latex", "Markdown", "Math", "Pretty", "clear_output",
]  # fmt: skip


def clear_output(wait: bool = False) -> None:
    """Nothing is taken back: results are sent as they come."""


class _Shown:
    """Data of one MIME type, from text, bytes or a file."""

    mime = "text/plain"
    binary = False

    def __init__(self, data: Any = None, url: str | None = None, filename: Any = None, **options: Any) -> None:
        if url is not None:
            raise ValueError("url=: there is no network here; give the data")
        if filename is None and isinstance(data, (str, os.PathLike)) and self.binary:
            filename, data = data, None
        if filename is not None:
            with open(filename, "rb") as f:
                data = f.read()
        self.data = data if self.binary or not isinstance(data, bytes) else data.decode("utf-8")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {self.mime: self.data}


class HTML(_Shown):
    mime = "text/html"


class Markdown(_Shown):
    mime = "text/markdown"


class Latex(_Shown):
    mime = "text/latex"


class Math(Latex):
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {self.mime: "$\\displaystyle " + self.data.strip("$") + "$"}


class SVG(_Shown):
    mime = "image/svg+xml"


class JSON(_Shown):
    mime = "application/json"


class Javascript(_Shown):
    mime = "application/javascript"


class Pretty(_Shown):
    mime = "text/plain"


class Image(_Shown):
    binary = True

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self.data[:3] == b"\xff\xd8\xff":
            return {"image/jpeg": self.data}
        return {"image/gif" if self.data[:4] == b"GIF8" else "image/png": self.data}
