"""The filter of a jail: of the profiles as they are, one that is shipped; of a policy that changes them, a new one.

`pyjail.policy.shipped` is what compiling gives (``./dev filters`` writes it, a test compares it byte for byte). So a
plain run loads neither the tables of rules nor libseccomp, which would be most of the time of a process's first run.
"""

from __future__ import annotations

from pyjail import _lazy
from pyjail._record import NamedTuple
from pyjail.policy import shipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._seccomp_spec import SeccompPolicy
    from pyjail._spec import Jail


class Filter(NamedTuple):
    """A compiled profile: BPF of 8 bytes per instruction; ``notify``: some calls end the run; ``keys``: the program
    may use keyrings; ``splice``: it may always use splice(2), and so may the keeper, which has no argument left to show
    its pass in; ``ipc_told``: calls that make something in the ipc namespace are told to the keeper, and allowed;
    ``ipc_kept``: they are, or are never allowed."""

    name: str
    program: bytes
    notify: bool
    keys: bool = False
    splice: bool = True
    ipc_told: bool = False
    ipc_kept: bool = False

    @property
    def digest(self) -> str:
        """What a receipt names it by."""
        with _lazy.lock:
            import hashlib

        return hashlib.sha256(self.program).hexdigest()[:16]


class Reach(NamedTuple):
    """What a filter has to know of its jail: ``inet``, there is a network to use; ``disk``, something of the host can
    be written."""

    inet: bool
    disk: bool


def reach(jail: Jail) -> Reach:
    """What the programs of this jail can reach."""
    return Reach(jail.network != "none", any(m.kind == "bind" and not m.ro for m in jail.mounts))


def choose(policy: str | SeccompPolicy, machine: str, inet: bool, disk: bool) -> Filter:
    """The filter for this machine; ``inet``, ``disk``: see `Reach`."""
    if policy == "none":
        return Filter("none", b"", False, True)
    wide = policy == "default"
    key = (policy, machine, inet and wide, disk and wide)  # the strict profile is the same everywhere
    if isinstance(policy, str) and key in shipped.PROGRAMS:
        return Filter(policy, shipped.PROGRAMS[key], True, False, wide, wide, True)
    with _lazy.lock:
        from pyjail.policy import seccomp

    return seccomp.compile_policy(policy, machine, inet, disk)
