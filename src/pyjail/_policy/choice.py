"""The filter of a jail: of the profiles as they are, one that is shipped; of a policy that changes them, a new one."""

from __future__ import annotations

from pyjail._policy import seccomp
from pyjail._policy.filter import Filter, ready_made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._spec.seccomp import SeccompPolicy


def filter_of(policy: str | SeccompPolicy, machine: str, inet: bool, disk: bool) -> Filter:
    """The filter for this machine; ``inet``, ``disk``: see `filter.Reach`."""
    return ready_made(policy, machine, inet, disk) or seccomp.compile_policy(policy, machine, inet, disk)
