"""Who the program is outside: an unprivileged id of the keeper's own when we may map ids, else the caller's."""

from __future__ import annotations

from typing import NamedTuple

from pyjail._host import Host
from pyjail._spec import Jail

KEEPER = 65533  # the keeper's and init's id inside; a jail's uid is at most 65532
# Above what distributions hand out (systemd-nspawn ends at 1879048191), below the 2^31 that old tools take for -1.
FIRST, COUNT = 1879048192, 2 * 4194304  # two ids for every pid there can be


class Ids(NamedTuple):
    """What to write into a keeper's id maps. ``own``: the keeper takes ids of its own inside."""

    uid_map: str
    gid_map: str
    outside_uid: int
    outside_gid: int
    own: bool


def maps(jail: Jail, host: Host, pid: int) -> Ids:
    """The maps of the keeper with this pid: a live pid is unique, so are the ids made from it."""
    if not host.maps_ids:
        return Ids(f"{jail.uid} {host.euid} 1\n", f"{jail.gid} {host.egid} 1\n", host.euid, host.egid, False)
    first, count = host.id_range or _fit(host)
    base = first + 2 * (pid % (count // 2))
    return Ids(
        f"{jail.uid} {base} 1\n{KEEPER} {base + 1} 1\n",
        f"{jail.gid} {base} 1\n{KEEPER} {base + 1} 1\n",
        base,
        base,
        True,
    )


def _fit(host: Host) -> tuple[int, int]:
    """The default range, or the upper half of the largest one that this user namespace has."""
    for first, count in host.uid_ranges:
        if first <= FIRST and first + count >= FIRST + COUNT:
            return FIRST, COUNT
    first, count = max(host.uid_ranges, key=lambda r: r[1])
    return first + count // 2, max(2, count - count // 2)
