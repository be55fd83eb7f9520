"""A root that programs may write to: an overlay of what was asked for, kept in memory, and gone with its keeper.

The keeper's first root is the lowest thing that is ours: what it has at /dev, /proc, /tmp and /box hides whatever the
image has there, before anything is mounted on it (CVE-2026-41579). On it are put, for the overlay to be made of them,
a tmpfs for what is written and the image's own files, as the program's; then the overlay on top of all of it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping

from pyjail._base.errors import SpecError
from pyjail._host import seldom
from pyjail._host.machine import Host, Missing
from pyjail._policy import mounts
from pyjail._policy.mounts import NODEV, NOSUID, OWN, RDONLY, Kind, Listing, MountRow, Node
from pyjail._spec.jail import Jail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._policy.ids import Ids

SINCE = (6, 6)  # of Linux: a tmpfs has the user.* attributes that the overlay of a user namespace writes
UPPER, WORK, LOWER = "tmp/upper", "tmp/work", "box"  # below the first root
PAGE = 4096
MORE_INODES = 1024  # besides one for each page: directories and links take none


def refusals(host: Host, owner: tuple[int, int]) -> list[Missing]:
    """Why this host cannot have one of a root whose files are this (uid, gid)'s; nothing when it can, as far as reading
    tells."""
    if tuple(map(int, re.findall(r"\d+", host.kernel)[:2])) < SINCE:
        cause = f"Linux {host.kernel} keeps no user.* attributes in a tmpfs, which an overlay needs: since 6.6"
        return [Missing("writable_root", cause, "boot a newer kernel, or leave writable_root= out")]
    if host.privileged:
        if not any(first <= owner[0] < first + count for first, count in host.uid_ranges):
            cause = f"the root's files are those of uid {owner[0]}, which this user namespace has not"
            return [Missing("writable_root", cause, "take a rootfs whose owner it has, or an image of its own store")]
        return []
    if host.maps_ids:
        cause = "root without CAP_SYS_ADMIN: the files of the root could not be shown as the program's"
        return [Missing("writable_root", cause, "give this process CAP_SYS_ADMIN, or run it as an ordinary user")]
    if owner[0] != host.euid:
        cause = f"the root's files are those of uid {owner[0]}: of them this user's programs could change none"
        return [Missing("writable_root", cause, "take an image of this user's own store, or a rootfs that is its own")]
    return []


def rows(
    jail: Jail, host: Host, owner: tuple[int, int], listing: Listing, kind: Kind, asked: Iterable[tuple[str, Node]]
) -> tuple[MountRow, ...]:
    """The rows of such a root of a jail, whose files are this (uid, gid)'s; ``asked`` as `mounts.template` has it."""
    root = str(jail.rootfs)
    if point := seldom.mounted_below(root):
        why = f"{point} is a mount, which a root that can be written to would not have: it would show what that hides"
        raise SpecError("rootfs", root, f"{why}. Unmount it, or leave writable_root= out")
    assert isinstance(jail.writable_root, int)
    own, rest = Node(), Node()
    mounts.own_places(own, has_proc=True)
    for path, node in asked:
        mounts.put(own if path.split("/")[1] in OWN else rest, path, node, listing, kind)
    ours: list[MountRow] = []
    mounts.flatten(own, "", ours)
    options = {"mode": "755", "size": jail.writable_root, "nr_inodes": jail.writable_root // PAGE + MORE_INODES}
    layers = {"lowerdir": f".:{LOWER}", "upperdir": UPPER, "workdir": WORK, "userxattr": ""}
    shown = b"%d %d" % owner if host.privileged else b""
    return (
        mounts.first("below a root that can be written to"),
        *(row for row in ours if row.kind in _MADE),
        MountRow("fs", "tmp", "what is written of the root", "tmpfs", NOSUID | NODEV, _options(options)),
        MountRow("own", UPPER, "what is written of the root", attr=0o755),
        MountRow("dir", WORK, "overlayfs's own", attr=0o700),
        MountRow("bind", LOWER, "what was there before", root, RDONLY | NOSUID | NODEV, shown, is_dir=True),
        MountRow("overlay", UPPER, "the root, which can be written to", "overlay", NOSUID | NODEV, _options(layers)),
        *(row for row in ours if row.kind not in _MADE),
        *_in_the_root(rest, root, kind),
    )


_MADE = ("dir", "file", "link", "pipe")


def _options(found: Mapping[str, object]) -> bytes:
    return b"".join(f"{name}\0{value}\0".encode() for name, value in found.items())


def _in_the_root(tree: Node, root: str, kind: Kind) -> list[MountRow]:
    """What was asked for elsewhere: mount points that the root lacks are made in what is written of it."""
    found: list[MountRow] = []
    mounts.flatten(tree, "", found)
    return [row for row in found if row.kind not in ("dir", "file", "link") or not _there(row, root, kind)]


def _there(row: MountRow, root: str, kind: Kind) -> bool:
    path = f"{root}/{row.target}"
    try:
        found, real = kind(path)
    except OSError:
        return False
    if row.kind == "link":
        raise SpecError("mounts", f"/{row.target}", f"in the root this is a {found}, and a link needs a free place")
    if real != path:
        raise SpecError("mounts", f"/{row.target}", "this leads through a symlink of the root; name the real path")
    if (found == "dir") != (row.kind == "dir"):
        raise SpecError("mounts", f"/{row.target}", f"in the root this is a {found}, and cannot hold a {row.kind}")
    return True


def made_for_mounts(rows: Iterable[MountRow]) -> frozenset[str]:
    """Of such rows: paths that were made in what is written of the root, to mount something there."""
    after = list(rows)
    at = next((i for i, row in enumerate(after) if row.kind == "overlay"), len(after))
    return frozenset(row.target for row in after[at:] if row.kind in _MADE)


def below(rows: Iterable[MountRow]) -> str:
    """The path of the directory whose copy such rows make a root of."""
    return next(row.source for row in rows if row.kind == "bind" and row.target == LOWER)


def shown(rows: tuple[MountRow, ...], ids: Ids) -> tuple[MountRow, ...]:
    """The rows for a keeper with these ids: mounts that show their owner as the program have the maps that do it."""
    return tuple([r._replace(data=id_maps(r.data, ids)) if r.kind == "bind" and r.data else r for r in rows])


def id_maps(data: bytes, ids: Ids) -> bytes:
    """The uid map and the gid map, each with its NUL, by which a mount shows the owner in ``data`` as the program."""
    uid, gid = data.split()
    return b"%d %d 1\0%d %d 1\0" % (int(uid), ids.outside_uid, int(gid), ids.outside_gid)


def obstacle(step: str, row: MountRow, number: int) -> Missing | None:
    """What of this host is behind a step that failed at this row of such a root; None: it is no matter of the host."""
    if number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return None
    said = errno.errorcode.get(number, str(number))
    if step == "mount" and row.kind == "overlay":
        cause = (
            f"the kernel mounts no overlay in a user namespace here: {said} (no overlayfs, or one on top of two others)"
        )
        return Missing(
            "writable_root", cause, "modprobe overlay; in a container, keep the store on a volume of the host's"
        )
    if step == "idmap" and number == errno.ENOENT:
        cause = "the /proc here is not of this process's pid namespace: nobody in it can be given ids"
        return Missing("writable_root", cause, "mount a new one: unshare --pid --fork --mount-proc")
    if row.kind == "bind" and row.data and step == "source" and number in (errno.EINVAL, errno.EPERM):
        cause = f"the file system of {row.source} shows its files under no other id: {said}"
        fix = (
            "keep the store (PYJAIL_HOME) or the rootfs on ext4, xfs, btrfs or a tmpfs, none of them inside an overlay"
        )
        return Missing("writable_root", cause, fix)
    return None
