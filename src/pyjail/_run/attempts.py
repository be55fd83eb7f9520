"""Whether a command that was not started is tried once more: nothing of it has run, so nobody sees that."""

from __future__ import annotations

from pyjail._base.errors import HostError, KeeperError, SetupError
from pyjail._plan import prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

CGROUP_STEPS = ("cgroup", "cgroup_enter")


class IdleDeath(Exception):
    """The keeper was dead before it could start anything. ``new``: it had not served yet, and nobody here ended it."""

    def __init__(self, new: bool) -> None:
        super().__init__(new)
        self.new = new


NOT_STARTED = (IdleDeath, SetupError, HostError)  # what `Attempts.again` is to be asked about


class Attempts:
    """Says of one command whether it is to be tried again; knows what was done about it before."""

    looked = False

    def again(self, error: Exception) -> bool:
        """Whether to start over after this error. KeeperError when a new keeper died: the next one would, too."""
        if isinstance(error, IdleDeath):
            if error.new:
                raise killed() from None
            return True
        if self.looked or not _outdated(error):
            return False
        prepare.look_again()
        self.looked = True
        return True


def until_started(call: Callable[[], T]) -> T:
    """What ``call`` returns: it is called again as long as `Attempts.again` says so."""
    attempts = Attempts()
    while True:
        try:
            return call()
        except NOT_STARTED as e:
            if not attempts.again(e):
                raise


def killed() -> KeeperError:
    """What to raise where a keeper is dead, and no other one may take its place."""
    return KeeperError("a keeper died before its program started: killed from outside?")


def _outdated(error: Exception) -> bool:
    """Somebody took a controller or a directory away since we looked."""
    if isinstance(error, SetupError):
        return error.step in CGROUP_STEPS
    return isinstance(error, HostError) and error.control == "cgroup"
