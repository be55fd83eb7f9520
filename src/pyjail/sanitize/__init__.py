"""What a program wrote, to be shown on a terminal: no control sequence leaves, printable text is unchanged.

>>> from pyjail import sanitize
>>> sanitize.clean(b"\\x1b]52;c;cm0gLXJm\\x07hello\\x1b[2J")
b'hello'
"""

from __future__ import annotations

from pyjail.sanitize._machine import MODES, Sanitizer
from pyjail.sanitize._shown import SUFFIX, clean, cut

__all__ = ["MODES", "SUFFIX", "Sanitizer", "clean", "cut"]


def __dir__() -> list[str]:
    return sorted(__all__)
