"""What a Jupyter kernel in a jail may use when nobody says otherwise. Needs no framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyjail
from pyjail import Jail, Limits

__all__ = ["DEFAULTS", "settings"]

DEFAULTS: Mapping[str, Any] = {  # as one types them
    "cpu_time": "60m",
    "wall_time": "none",
    "memory": "1G",
    "processes": 256,
    "output": "256M",
    "disk": "256M",
    "inodes": 16384,
    "file_size": "256M",
    "open_files": 1024,
}


def settings(jail: Mapping[str, Any] | None = None, limits: Mapping[str, Any] | None = None) -> tuple[Jail, Limits]:
    """The jail and the limits of these tables, as in docs/configuration.md; limits that are not named are `DEFAULTS`.

    Raises:
        SpecError: names what is wrong in them, and the right key nearest to an unknown one.

    >>> jail, limits = settings(limits={"memory": "2G"})
    >>> limits.memory, limits.wall_time
    (2147483648, None)
    """
    return pyjail.from_toml({"jail": dict(jail or {}), "limits": {**DEFAULTS, **(limits or {})}})
