"""``pyjail run --timings``: where the time of a run went, on stderr."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pyjail.cli.ending import say

if TYPE_CHECKING:
    from pyjail._timings import Profile

NAMES = ("args", "limits", "jail", "input", "stdin", "stdout", "stderr", "env", "cwd", "files", "collect")


def profile(given: dict[str, Any]) -> Profile:
    """Run it once, and `true` in the same jail for the phases of later runs."""
    started = time.monotonic_ns()
    from pyjail import _command, _timings

    asked = {name: value for name, value in given.items() if name in NAMES}
    words = [asked.pop(name, None) for name in ("args", "limits", "jail")]
    return _timings.profile(lambda: _command.make(*words, **asked), started)


def show(found: Profile) -> None:
    """The table."""
    from pyjail._timings import table

    usage = found.result.usage
    for name in ("setup_time", "wall_time", "cpu_time", "teardown_time"):
        value = getattr(usage, name)
        say(f"{name:14} {'?' if value is None else f'{value * 1e3:9.3f} ms'}")
    for line in table(found):
        say(line)
