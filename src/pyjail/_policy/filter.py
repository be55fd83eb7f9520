"""A compiled filter, what one has to know of its jail, and those of the profiles as they are, which are shipped.

`pyjail._policy.shipped` is what compiling gives (``./dev filters`` writes it, a test compares it byte for byte). So a
plain run loads neither the tables of rules nor libseccomp, which would be most of the time of a process's first run,
and the shipped ones when the keeper is born that takes one.
"""

from __future__ import annotations

from pyjail._base import lazy
from pyjail._base.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._spec.jail import Jail
    from pyjail._spec.seccomp import SeccompPolicy


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
        with lazy.lock:
            from pyjail._policy import shipped

        return shipped.PROGRAMS[self.key]

    @property
    def digest(self) -> str:
        """What a receipt names it by."""
        with lazy.lock:
            import hashlib

        return hashlib.sha256(self.program).hexdigest()[:16]


NONE = Filter("none", b"", True)


SHIPPED = ("x86_64", "aarch64")  # machines


class Reach(NamedTuple):
    """What a filter has to know of its jail: ``inet``, there is a network to use; ``disk``, something of the host can
    be written."""

    inet: bool
    disk: bool


def reach(jail: Jail) -> Reach:
    """What the programs of this jail can reach."""
    return Reach(jail.network != "none", any(m.kind == "bind" and not m.ro for m in jail.mounts))


def ready_made(policy: str | SeccompPolicy, machine: str, inet: bool, disk: bool) -> Filter | None:
    """The filter for this machine that nobody has to compile; ``inet``, ``disk``: see `Reach`."""
    if policy == "none":
        return NONE
    if isinstance(policy, str) and machine in SHIPPED:
        wide = policy == "default"
        key = (policy, machine, inet and wide, disk and wide)  # the strict profile is the same everywhere
        return Filter(policy, b"", False, wide, wide, True, key)
    return None
