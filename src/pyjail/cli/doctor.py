"""``pyjail doctor``: the findings as a page, or as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from pyjail import Finding, doctor

WORKS, PARTLY, NO = "works", "works partly", "no"
STRICT = "strict jail"  # the row that decides the exit code
_SYMBOLS = {WORKS: "✓", PARTLY: "~", NO: "✗"}
_ASCII = {WORKS: "+", PARTLY: "~", NO: "-"}
_COLOURS = {WORKS: "32", PARTLY: "33", NO: "31"}


def main(json_wanted: bool) -> int:
    """Print it; 0 when strict jails run here, else 1."""
    found = doctor()
    if json_wanted:
        print(as_json(found))
    else:
        plain = not encodable(sys.stdout)
        print(page(found, colour=colours(sys.stdout, os.environ), ascii_only=plain))
    return 0 if ran(found) else 1


def unit(config: str | None) -> int:
    """Print a unit of ``pyjail serve`` for this machine, with what has to be done before; 0 when strict jails run here,
    else 1."""
    from pyjail.serve import command

    found = doctor()
    undone = [] if ran(found) else [conclusion(found), *(row.fix for row in found if row.fix and row.required)]
    print(command.unit(config, undone))
    return 0 if ran(found) else 1


def ran(found: tuple[Finding, ...]) -> bool:
    """Whether a strict jail with default limits ran here."""
    return any(row.layer == STRICT and row.status != NO for row in found)


def conclusion(found: tuple[Finding, ...]) -> str:
    """The last line: whether strict jails run, and what is in the way or left out."""
    if not ran(found):
        # rows are in the order in which layers build on each other: the first has to be seen to first
        row = next((row for row in found if row.status == NO and row.required), None)
        said = "nothing was tried" if row is None else row.why if row.layer == STRICT else f"{row.layer}: {row.why}"
        return f"strict jails do not run here: {said}"
    lacking = [row.layer for row in found if row.status == NO]
    return "strict jails run here" + (f"; not to be had: {', '.join(lacking)}" if lacking else "")


def page(found: tuple[Finding, ...], *, colour: bool = False, ascii_only: bool = False) -> str:
    """One line a row, the fix indented below it; a fix that stood above is referred to."""
    width = max((len(row.layer) for row in found), default=0)
    symbols = _ASCII if ascii_only else _SYMBOLS
    seen: dict[str, str] = {}
    lines = []
    for row in found:
        status = f"{symbols[row.status]} {row.status:<{len(PARTLY)}}"
        if colour:
            status = f"\033[{_COLOURS[row.status]}m{status}\033[0m"
        lines.append(f"{status}  {row.layer:<{width}}  {' '.join(row.why.split())}")
        if row.fix:
            fix = f"as for {seen[row.fix]}" if row.fix in seen else row.fix
            seen.setdefault(row.fix, row.layer)
            head, *more = fix.split("\n")
            lines += [f"      fix: {head}", *(f"           {line}".rstrip() for line in more)]
    return "\n".join([*lines, "", conclusion(found)])


def as_json(found: tuple[Finding, ...]) -> str:
    """A "doctor" of docs/data.md."""
    from pyjail.records import head

    return json.dumps({**head("doctor"), "ok": ran(found), "rows": [row.to_dict() for row in found]}, indent=1)


def colours(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """On a terminal that can, unless NO_COLOR is set and not empty (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def encodable(stream: Any) -> bool:
    """Whether the symbols can be written there."""
    try:
        "".join(_SYMBOLS.values()).encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
