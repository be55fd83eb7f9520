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


def choose(policy: str | SeccompPolicy, machine: str, inet: bool) -> Filter:
    """The filter for this machine; ``inet``: see `pyjail.policy.seccomp.rules`."""
    if policy == "none":
        return Filter("none", b"", False, True)
    if isinstance(policy, str) and (policy, machine, inet) in shipped.PROGRAMS:
        wide = policy == "default"
        return Filter(policy, shipped.PROGRAMS[policy, machine, inet], True, False, wide, wide, True)
    with _lazy.lock:
        from pyjail.policy import seccomp

    return seccomp.compile_policy(policy, machine, inet)
