"""Who the program is outside: an unprivileged id of the keeper's own when we may map ids; one of the caller's
subordinate ids where newuidmap is there and the jail shows nothing that is the caller's alone; else the caller's."""

from __future__ import annotations

from pyjail._base.records import NamedTuple
from pyjail._host.machine import Host
from pyjail._spec.jail import KEEPER, Jail

# Above what distributions hand out (systemd-nspawn ends at 1879048191), below the 2^31 that old tools take for -1.
FIRST, COUNT = 1879048192, 2 * 4194304  # two ids for every pid there can be

_SPREAD = 2654435761  # of namespaces that were made one after the other: Knuth's multiplicative hash


class Ids(NamedTuple):
    """What to write into a keeper's id maps, (inside, outside, count) a line.

    ``helper``: only newuidmap and newgidmap may write them. ``keeper``: the outside ids to give cgroups to, when they
    are not the caller's.
    """

    uid_map: tuple[tuple[int, int, int], ...]
    gid_map: tuple[tuple[int, int, int], ...]
    outside_uid: int
    outside_gid: int
    keeper: tuple[int, int] | None = None
    helper: bool = False


def maps(jail: Jail, host: Host, pid: int, subordinate: bool) -> Ids:
    """The maps of the keeper with this pid: a live pid is unique, so are the ids made from it."""
    pid += host.pid_namespace * _SPREAD  # in its namespace: other containers have the same pids, and maybe our users
    if host.maps_ids:
        first, count = host.id_range or _fit(host)
        base = first + 2 * (pid % (count // 2))
        return Ids(
            ((jail.uid, base, 1), (KEEPER, base + 1, 1)), ((jail.gid, base, 1), (KEEPER, base + 1, 1)), base, base,
            keeper=(base + 1, base + 1),
        )  # fmt: skip
    if subordinate and host.subuids is not None and host.subgids is not None:
        # The keeper stays the caller, whose cgroups it uses; only the program becomes somebody else.
        uid, gid = (first + pid % count for first, count in (host.subuids, host.subgids))
        return Ids(
            ((jail.uid, uid, 1), (KEEPER, host.euid, 1)), ((jail.gid, gid, 1), (KEEPER, host.egid, 1)), uid, gid,
            helper=True,
        )  # fmt: skip
    return Ids(((jail.uid, host.euid, 1),), ((jail.gid, host.egid, 1),), host.euid, host.egid)


def _fit(host: Host) -> tuple[int, int]:
    """The default range, or the upper half of the largest one that this user namespace has."""
    for first, count in host.uid_ranges:
        if first <= FIRST and first + count >= FIRST + COUNT:
            return FIRST, COUNT
    first, count = max(host.uid_ranges, key=lambda r: r[1])
    return first + count // 2, max(2, count - count // 2)
