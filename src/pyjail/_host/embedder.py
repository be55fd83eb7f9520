"""Where the embedder's own files are, and what paths really name: for warnings about what a jail opens."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping

from pyjail._base.records import NamedTuple
from pyjail._host import machine


class Around(NamedTuple):
    """``home``: the caller's; ``places``: directories of its main module and the current one; ``hidden``: of packages
    that a jail of this host's files does not show; ``real``: {path asked for: without symlinks}."""

    home: str
    places: tuple[str, ...]
    hidden: tuple[str, ...]
    real: Mapping[str, str]


def around(paths: Iterable[str]) -> Around:
    """What there is now, with these paths looked up."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    found = [os.path.dirname(os.path.realpath(main))] if main else []
    with contextlib.suppress(OSError):
        found.append(os.getcwd())
    return Around(
        home=os.path.realpath(os.path.expanduser("~")),
        places=tuple(place for place in dict.fromkeys(found) if place != "/"),
        hidden=machine.host().hidden,
        real={path: os.path.realpath(path) for path in paths},
    )
