"""The subordinate ids of this user, which newuidmap(1) and newgidmap(1) map for whoever has none to map himself."""

from __future__ import annotations

import contextlib
import os
import pwd

Ranges = tuple[tuple[int, int] | None, tuple[int, int] | None]


def ranges(texts: list[str]) -> Ranges:
    """This user's largest ranges in /etc/subuid and /etc/subgid (``texts``), when both programs are installed."""
    if not all(on_path(name) for name in ("newuidmap", "newgidmap")):
        return None, None
    uid = os.geteuid()
    names = {str(uid)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    found = []
    for text in texts:
        rows = [line.split(":") for line in text.splitlines()]
        mine = [
            (int(r[1]), int(r[2])) for r in rows if len(r) == 3 and r[0] in names and r[1].isdigit() and r[2].isdigit()
        ]
        found.append(max(mine, key=lambda r: r[1], default=None))
    return (found[0], found[1]) if None not in found else (None, None)


def on_path(program: str) -> bool:
    """Whether a program of this name is in the PATH of this process."""
    return any(os.access(f"{d}/{program}", os.X_OK) for d in os.environ.get("PATH", os.defpath).split(":") if d)
