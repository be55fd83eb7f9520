"""Digests of what images are made of: checked before they are part of a path or of a URL."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from pyjail._images.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

LENGTHS = {"sha256": 64, "sha512": 128}
_FORM = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")


class Digest(NamedTuple):
    """What names a blob by its bytes; ``str()`` is "sha256:..."."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def hasher(self) -> _Hash:
        """A hashlib object of its algorithm; ``hexdigest()`` of all bytes has to be ``hex``."""
        return hashlib.new(self.algorithm, usedforsecurity=True)


def digest(text: object, what: str = "a digest") -> Digest:
    """``text`` taken apart: ``sha256:`` and 64, or ``sha512:`` and 128 lower-case hexadecimal digits; nothing else.

    Raises `ImageError` of ``what``: for other algorithms such as blake3, too.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ImageError(
            what, f"{shown(text)} is no digest: needed are sha256: and 64, or sha512: and 128 digits 0-9a-f"
        )
    return Digest(found[1] or found[3], found[2] or found[4])


def of(data: bytes) -> Digest:
    """The sha256 of ``data``."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def shown(value: object, most: int = 100) -> str:
    """What an image says, fit for an error's text: quoted, ASCII, control characters escaped, ``most`` characters."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        return f"a value of type {type(text).__name__}"
    quoted = ascii(text[: most + 1])
    return quoted if len(quoted) <= most else quoted[: most - 3] + "..."
