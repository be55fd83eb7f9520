"""All of a text at once, and no more of it than is wanted: `clean`, `cut`."""

from __future__ import annotations

import re

from pyjail.sanitize._machine import RESET, Sanitizer

SUFFIX = b"\n... [output truncated]"  # Secure-Sandbox says so
_HALF = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")
_HALF_COLOUR = re.compile(rb"\x1b(?:\[[0-9;:]{0,64})?\Z")
_COLOUR = re.compile(rb"\x1b\[[0-9;:]{0,64}m")


def clean(
    data: bytes,
    mode: str = "strip",
    *,
    carriage: bool = True,
    backspace: bool = False,
    bidi: bool = False,
    most: int | None = None,
    suffix: bytes = b"",
) -> bytes:
    """What `Sanitizer` lets through of all this, then at most ``most`` bytes of it, as `cut` has them.

    >>> from pyjail import sanitize
    >>> sanitize.clean(b"\\x1b[2J\\x1b[31mred\\x1b[0m and dead", most=7, suffix=sanitize.SUFFIX)
    b'red and\\n... [output truncated]'
    """
    machine = Sanitizer(mode, carriage=carriage, backspace=backspace, bidi=bidi)
    whole = machine.feed(data) + machine.end()
    return whole if most is None else cut(whole, most, suffix)


def cut(data: bytes, most: int, suffix: bytes = b"") -> bytes:
    """At most so many bytes, no character of UTF-8 and no colour cut in two; ``suffix`` behind it if something is gone.
    A colour that is on there is reset.

    >>> from pyjail import sanitize
    >>> sanitize.cut("häuser".encode(), 2, b"...")
    b'h...'
    """
    if len(data) <= most:
        return data
    kept = data[: max(0, most)]
    if data[len(kept)] in range(0x80, 0xC0):
        kept = _HALF.sub(b"", kept)
    kept = _HALF_COLOUR.sub(b"", kept)
    on = next((found[0] for found in reversed([*_COLOUR.finditer(kept)])), RESET)
    return kept + (b"" if on.strip(b"\x1b[0;m") == b"" else RESET) + suffix
