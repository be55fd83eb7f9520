"""``pyjail check``: what a source imports and calls, as lines or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyjail.cli import complaint
from pyjail.cli.ending import EXIT_BAD, printable

if TYPE_CHECKING:
    from pyjail.precheck import Construct

EPILOG = (
    "A hint, and no protection: whoever wants to gets past it in one line. "
    "Exit code: 0 when nothing was found, 1 when something was, 125 when pyjail failed."
)


def add(commands: Any) -> None:
    """The command."""
    one = commands.add_parser(
        "check", help="what a Python source imports and calls that a reader may want to know", epilog=EPILOG
    )
    one.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")
    one.add_argument("file", metavar="FILE", help="the source; - is standard input")


def main(path: str, as_json: bool) -> int:
    """Check it and print what was found."""
    from pyjail import precheck

    found = precheck.check(_read(path, precheck.MOST_BYTES))
    if as_json:
        from pyjail.records import head

        print(json.dumps({**head("precheck"), "ok": not found, "constructs": [c.to_dict() for c in found]}))
    else:
        _show(path, found)
    return EXIT_BAD if found else 0


def _read(path: str, most: int) -> bytes:
    """No more than what tells that it is too large."""
    with complaint.of_file("FILE", path):
        if path == "-":
            return sys.stdin.buffer.read(most + 1) if sys.stdin is not None else b""
        with open(path, "rb") as source:
            return source.read(most + 1)


def _show(path: str, found: Sequence[Construct]) -> None:
    name = printable("<stdin>" if path == "-" else path)
    for c in found:
        print(f"{name}:{c.line}:{c.column}: {c.rule}: {printable(c.text)}")
