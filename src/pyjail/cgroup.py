"""The one thing about cgroups that a caller may have to say: "move me out of the way"."""

from __future__ import annotations

from pyjail._cgroups import enter_leaf as cgroups_enter_leaf
from pyjail._host import machine
from pyjail._plan import prepare
from pyjail._run import run

__all__ = ["enter_leaf"]


def __dir__() -> list[str]:
    return sorted(__all__)


def enter_leaf() -> str:
    """Move the calling process, and no other, into a new leaf below its own cgroup v2 cgroup.

    A cgroup that has processes in it cannot hand controllers to its children (cgroups(7), "no internal processes"),
    so limits below the cgroup of a systemd unit, a ``systemd-run`` scope or a container need its processes out of
    the way. pyjail never does that by itself: call this before the first `pyjail.run`, or set
    ``PYJAIL_ENTER_LEAF=1`` in the environment. Runs then get their cgroups beside the leaf, still below the same
    cgroup and its limits. Warm keepers are ended first, new ones are started by the next run. The leaf stays when this
    process ends, which is in it until then; the next caller there removes it, or who ends the unit, scope or container.

    Returns:
        The directory of the leaf; the cgroup itself when nothing has to move (the root of the hierarchy).

    Raises:
        HostError: there is no cgroup v2 hierarchy, or it may not be changed; ``hint`` has the command that helps.

    >>> import pyjail
    >>> try:
    ...     where = pyjail.cgroup.enter_leaf()
    ... except pyjail.HostError as e:
    ...     where = e.hint
    >>> where != ""
    True
    """
    run.close()
    leaf = cgroups_enter_leaf.enter_leaf(machine.host())
    prepare.look_again()
    return leaf
