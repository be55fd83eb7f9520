"""The C core as text: its functions, for tests of its shape."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

CSRC = Path(__file__).resolve().parents[1] / "csrc"
_PARENS = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
_FUNCTION = re.compile(
    rf"^((?:/\*(?:(?!\*/).)*\*/\n)?)([a-z][^;#={{}}]*?\b(\w+){_PARENS} \{{(?:[^\n]*\}}\n|\n.*?^\}}\n))", re.M | re.S
)


class Function(NamedTuple):
    """One of them: where it is, the comment above it, its text from the signature on."""

    file: str
    comment: str
    text: str

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def body(self) -> str:
        return self.text.split("{", 1)[1]


def functions() -> dict[str, Function]:
    """By name."""
    return {
        found[3]: Function(path.name, found[1], found[2])
        for path in sorted(CSRC.glob("*.[ch]"))
        for found in _FUNCTION.finditer(path.read_text())
    }


def expanded(found: dict[str, Function], name: str) -> str:
    """The body of that one, with those of our own functions in the place of their calls."""
    return re.sub(r"\b(\w+)\(", lambda m: expanded(found, m[1]) if m[1] in found else m[0], found[name].body)
