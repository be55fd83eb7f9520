"""The lock that pyjail's late imports are made under, and that os.fork waits for. Imported before all else of pyjail.

A child forked in the middle of another thread's import has half a module and its lock, held by a thread that it does
not have: whatever imports that module in the child waits for ever.
"""

from __future__ import annotations

import contextlib
import os
import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# ``pip install pyjail`` is another project with this import name: pip writes its __init__.py over ours, and takes
# it away again. All that is left of us, the command among it, would fail with errors that say nothing.
if getattr(sys.modules["pyjail"], "__distribution__", None) != "pyjail-linux":
    raise ImportError(
        "the file pyjail/__init__.py of pyjail-linux was overwritten or removed by another distribution named pyjail. "
        "Fix: python -m pip uninstall -y pyjail, then install pyjail-linux again: pip install --force-reinstall"
    )

_PATIENCE_S = 10.0  # should what an import waits for be held by the thread that forks

lock = RLock()


class Unloaded:
    """Stands for a module until ``load`` has put it into its place, which the first use does at the latest."""

    def __init__(self, load: Callable[[], object]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> object:
        return getattr(self._load(), name)


def _before() -> None:
    lock.acquire(timeout=_PATIENCE_S)


def _in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # patience was at its end
        lock.release()


def _in_child() -> None:
    global lock
    lock = RLock()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
