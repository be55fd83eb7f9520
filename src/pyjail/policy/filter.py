"""A compiled filter, and what one has to know of its jail."""

from __future__ import annotations

from pyjail import _lazy
from pyjail._records import NamedTuple


class Filter(NamedTuple):
    """A compiled profile: ``made``, or the one in `shipped` that has this ``key``; ``keys``: the program may use
    keyrings; ``splice``: it may always use splice(2), and so may the keeper, which has no argument left to show its
    pass in; ``ipc_told``: calls that make something in the ipc namespace are told to the keeper, and allowed;
    ``ipc_kept``: they are, or are never allowed."""

    name: str
    made: bytes
    keys: bool = False
    splice: bool = True
    ipc_told: bool = False
    ipc_kept: bool = False
    key: tuple[str, str, bool, bool] | None = None

    @property
    def program(self) -> bytes:
        """BPF of 8 bytes per instruction."""
        if self.key is None:
            return self.made
        with _lazy.lock:
            from pyjail.policy import shipped

        return shipped.PROGRAMS[self.key]

    @property
    def digest(self) -> str:
        """What a receipt names it by."""
        with _lazy.lock:
            import hashlib

        return hashlib.sha256(self.program).hexdigest()[:16]


NONE = Filter("none", b"", True)


class Reach(NamedTuple):
    """What a filter has to know of its jail: ``inet``, there is a network to use; ``disk``, something of the host can
    be written."""

    inet: bool
    disk: bool
