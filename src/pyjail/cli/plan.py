"""``pyjail plan``: what a run would do, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyjail
from pyjail import Jail, Limits


def main(jail: Jail, limits: Limits, program: Sequence[str], as_json: bool) -> int:
    """Print it."""
    found = pyjail.plan(program, limits, jail=jail)
    if as_json:
        print(json.dumps(found.to_dict(), indent=1))
        return 0
    for s in found.steps:
        if s["step"] == "warning":  # its text has the reason already
            print(f"{s['step']:16} {s['what']}")
            continue
        source = f" [{s['source']}]" if "source" in s else ""
        print(f"{s['step']:16} {s['what']}" + (f"   # {s['why']}{source}" if s["why"] else ""))
    return 0
