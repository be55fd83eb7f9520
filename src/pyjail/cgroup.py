"""What a caller may have to say about cgroups: "move me out of the way", "remove what others have left"."""

from __future__ import annotations

from pyjail._cgroups import enter_leaf as cgroups_enter_leaf
from pyjail._cgroups import tree
from pyjail._host import machine
from pyjail._plan import prepare
from pyjail._run import run

__all__ = ["clean", "enter_leaf"]


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


def clean() -> tuple[str, ...]:
    """Remove the cgroups of processes that are gone, and of no other, where this process makes its own.

    It is seldom needed: who is killed has a janitor that does it within a second, and the next process that starts a
    jail does it, too. Should a program still live in one of them, it is killed.

    Returns:
        The names of the owners that were removed, as directories below this process's cgroup have them.

    >>> import pyjail
    >>> pyjail.cgroup.clean()
    ()
    """
    found = [name for h in machine.host().hierarchies for name in tree.clean_stale(h.own)]
    return tuple(dict.fromkeys(found))
