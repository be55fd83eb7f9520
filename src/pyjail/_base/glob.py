"""The patterns of ``collect=``: pathlib's, where ``**`` is any number of directories.

Both the names and the pattern may be made to cost: a name costs at most its length times the pattern's, and a
directory at most the pattern's parts, however many ways there are to fit them.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable

At = frozenset[int]  # the parts of a pattern that a name in some directory may fit


@functools.lru_cache(maxsize=1024)
def _part(part: str) -> Callable[[str], object]:
    # Every * but the last is an atomic group there, (?>.*?x): it never tries again what it has matched. Since 3.11.
    return re.compile(fnmatch.translate(part)).match


class Glob:
    """One pattern, matched by walking: `start` is for the top directory, `below` leads from one into the next."""

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        kept: list[str] = []
        for part in pattern.split("/"):
            if part != "**" or kept[-1:] != ["**"]:  # twice is as good as once
                kept.append(part)
        self.recursive = "**" in pattern
        self._parts = [None if p == "**" else _part(p) for p in kept]
        self._last = len(kept) - 1
        self.start = self._or_after(0)

    def _or_after(self, i: int) -> At:
        """``**`` may be no directory at all."""
        return frozenset((i, i + 1) if self._parts[i] is None and i < self._last else (i,))

    def hit(self, at: At, name: str) -> bool:
        """Whether this name, in a directory that was reached with ``at``, fits the whole pattern."""
        if self._last not in at:
            return False
        match = self._parts[self._last]
        return match is None or match(name) is not None

    def below(self, at: At, name: str) -> At:
        """What names in this directory may fit; nothing: no need to look into it."""
        found: set[int] = set()
        for i in at:
            match = self._parts[i]
            if match is None:
                found |= self._or_after(i)
            elif i < self._last and match(name) is not None:
                found |= self._or_after(i + 1)
        return frozenset(found)

    def fits(self, path: str) -> bool:
        """Whether a path as a whole fits; to look through a tree, walk it."""
        *directories, name = path.split("/")
        at = self.start
        for directory in directories:
            at = self.below(at, directory)
        return self.hit(at, name)
