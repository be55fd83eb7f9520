"""The filter of a jail: of the profiles as they are, one that is shipped; of a policy that changes them, a new one.

`pyjail.policy.shipped` is what compiling gives (``./dev filters`` writes it, a test compares it byte for byte). So a
plain run loads neither the tables of rules nor libseccomp, which would be most of the time of a process's first run,
and the shipped ones when the keeper is born that takes one.
"""

from __future__ import annotations

from pyjail import _lazy
from pyjail.policy.filter import NONE, Filter, Reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._seccomp_spec import SeccompPolicy
    from pyjail._spec import Jail


SHIPPED = ("x86_64", "aarch64")  # machines


def reach(jail: Jail) -> Reach:
    """What the programs of this jail can reach."""
    return Reach(jail.network != "none", any(m.kind == "bind" and not m.ro for m in jail.mounts))


def choose(policy: str | SeccompPolicy, machine: str, inet: bool, disk: bool) -> Filter:
    """The filter for this machine; ``inet``, ``disk``: see `Reach`."""
    if policy == "none":
        return NONE
    if isinstance(policy, str) and machine in SHIPPED:
        wide = policy == "default"
        key = (policy, machine, inet and wide, disk and wide)  # the strict profile is the same everywhere
        return Filter(policy, b"", False, wide, wide, True, key)
    with _lazy.lock:
        from pyjail.policy import seccomp

    return seccomp.compile_policy(policy, machine, inet, disk)
