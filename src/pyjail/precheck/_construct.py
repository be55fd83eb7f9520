"""What the check of one source says, as records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyjail import records

RULES = ("import", "call", "syntax", "complex")


@dataclass(frozen=True, repr=False)
class Construct(records.Record):
    """A place in a source that was found.

    Attributes:
        line, column: where, from 1.
        rule: "import", "call", "syntax" (it cannot be parsed) or "complex" (it was not: too large, too deep, too slow).
        text: what is there, for people.
        dump: its syntax tree, the first 200 characters; "" where there is none.

    >>> from pyjail import precheck
    >>> precheck.check("import os")[0].text
    'import of os'
    """

    line: int
    column: int
    rule: str
    text: str
    dump: str = ""

    @property
    def message(self) -> str:
        """What Secure-Sandbox, whose lists these are, says of it.

        >>> from pyjail import precheck
        >>> precheck.check("import os")[0].message
        "Forbidden construct detected: Import(names=[alias(name='os')])"
        """
        if self.rule in ("syntax", "complex"):
            return f"Syntax error: {self.text}"
        return f"Forbidden construct detected: {self.dump}"

    def _words(self) -> Iterator[str]:
        yield f"{self.line}:{self.column}"
        yield f"{self.rule}: {self.text[:100]!r}"
