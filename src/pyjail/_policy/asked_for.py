"""What a caller's own mounts, and interpreters below /tmp, add to the files of a jail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from pyjail._base.errors import SpecError
from pyjail._policy.cgroup import CgroupRow, Cgroups
from pyjail._policy.mounts import (
    NODEV,
    NOEXEC,
    NOSUID,
    NOTHING,
    PYTHON,
    RDONLY,
    Kind,
    MountRow,
    Node,
    Seen,
    run_tmpfs,
    tmpfs_options,
)
from pyjail._spec.jail import Jail, Mount

TERMINALS = b"mode\x00620\x00ptmxmode\x00666\x00max\x0064\x00"  # all that there are on a host are one number


class Terminals(Node):
    """Where programs find terminals that they open."""

    def rows(self, target: str, on_top: bool) -> list[MountRow]:
        return [
            MountRow("dir", target, "mount point", "", 0o755),
            MountRow("fs", target, self.why, self.source, self.attr, self.data),
        ]


class Workspace(Node):
    """A session's /box."""

    def rows(self, target: str, on_top: bool) -> list[MountRow]:
        return [
            MountRow("dir", target, "mount point", "", 0o755),
            MountRow("fs", target, self.why, self.source, self.attr, self.data, is_box=True),
        ]


class Whole(Workspace):
    """The tmpfs of a box, and over it, so that nobody sees the whole, the part of it that is /box."""

    def rows(self, target: str, on_top: bool) -> list[MountRow]:
        part = MountRow("part", target, "a box's /box", "box", 0o755, is_box=True)
        return [*super().rows(target, on_top), part]


class Part(Node):
    """Another directory of that tmpfs."""

    def rows(self, target: str, on_top: bool) -> list[MountRow]:
        point = [] if on_top else [MountRow("dir", target, "mount point", "", 0o755)]
        return [*point, MountRow("part", target, self.why, self.source, self.attr)]


def _mode(dst: str) -> int:
    """As such a directory has it everywhere."""
    return 0o1777 if dst.endswith(("/tmp", "/shm")) else 0o755


def is_box(jail: Jail) -> bool:
    """Whether it is one of a `Box`."""
    return any(m.kind == "box" for m in jail.mounts)


def to_be_stopped(rows: list[CgroupRow], cgroups: Cgroups) -> list[CgroupRow]:
    """The rows of a leaf of a box, where the end of one program is not the end of all: no fork gets away from it."""
    i = cgroups.where.get("pids")
    if i is None:
        return rows
    found = [row for row in rows if row.file != "pids.max"]
    most = next((row for row in rows if row.file == "pids.max"), CgroupRow(i, "pids.max", "set", "no limit", "max"))
    stop = CgroupRow(i, "pids.max", "stop", "when it is to end, nothing more is born in it", "0")
    count = CgroupRow(i, "pids.current", "count", "how many live in it: the end of a program's tree is seen by that")
    return [*found, most._replace(renew=most.value), stop, count]


def under(rows: Sequence[MountRow]) -> int:
    """How many of the first rows are of what is below a root that can be written to; 0 without one."""
    return next((i + 1 for i, row in enumerate(rows) if row.kind == "overlay"), 0)


def whole_first(given: Sequence[MountRow], jail: Jail) -> list[MountRow]:
    """The rows of a box's jail: the parts come after what they are parts of.

    The root is the user's: who wants to trust a directory looks at all above it, and trusts root, who is not there, or
    itself. It is read-only all the same.
    """
    rows = list(given)
    at = under(rows)  # the rows of what is below a root that can be written to stay first, in their order
    if not at:
        rows[0] = rows[0]._replace(data=rows[0].data + b"uid\0%d\0" % jail.uid)
    top = rows[at:]
    top.sort(key=lambda row: 0 if not row.target else 1 if row.target == "box" and row.kind != "part" else 2)
    return [*rows[:at], *top]


def nodes(jail: Jail, kind: Kind) -> Iterator[tuple[str, Node]]:
    """Where each of the jail's mounts goes, and what it is, the outer ones first."""
    for mount in sorted(jail.mounts, key=lambda m: m.dst.count("/")):
        yield mount.dst, _mount_node(mount, jail, kind)
        if mount.kind == "box":  # its programs open terminals for each other: tmux, ssh, an agent's shell
            yield "/dev/pts", Terminals("fs", "terminals of the box's own", "devpts", NOSUID | NOEXEC, TERMINALS)
            yield "/dev/ptmx", Node("link", "as everywhere", data=b"pts/ptmx", is_dir=False)


def _mount_node(mount: Mount, jail: Jail, kind: Kind) -> Node:
    if mount.kind in ("workspace", "box"):
        options = "".join(f"{k}\0{v}\0" for k, v in tmpfs_options(jail, "755", mount.size, mount.inodes))
        if mount.kind == "box":
            return Whole("part", "what all writable places of a box share", "tmpfs", NOSUID | NODEV, options.encode())
        return Workspace("fs", "a session's workspace", "tmpfs", NOSUID | NODEV, options.encode())
    if mount.kind == "part":
        return Part("part", "writable in a box", f"p{jail.mounts.index(mount)}", _mode(mount.dst))
    if mount.kind == "tmpfs":
        return Node(why="mount point of a tmpfs that was asked for")
    if mount.kind == "link":
        assert mount.target is not None
        return Node("link", "asked for by Mount.link", data=os.fsencode(mount.target), is_dir=False)
    if mount.kind == "pipe":
        return Node("pipe", "a named pipe to another party", is_dir=False)
    assert mount.src is not None
    try:
        found, real = kind(mount.src)
    except OSError as e:
        raise SpecError("src", mount.src, f"this bind source cannot be used ({e.strerror}): it must exist") from None
    attr = NOSUID | NODEV | (RDONLY if mount.ro else 0)
    return Node("bind", "asked for by Mount.bind", real, attr, is_dir=found == "dir")


def over_tmpfs(jail: Jail, kind: Kind, view: Seen = NOTHING) -> list[MountRow]:
    """What must be put back when a run's tmpfs hides it: template mounts below /tmp, /box, /dev/shm or a tmpfs."""
    own = [m.dst for m in jail.mounts if m.kind == "tmpfs"]
    fresh = [*run_tmpfs(jail), *own]
    hidden = next((m.dst for m in jail.mounts if m.kind == "link" and _highest(m.dst, own)), None)
    if hidden is not None:
        raise SpecError("mounts", hidden, "this link lies below a Mount.tmpfs, which is empty in every run")
    there = dict(_of_python(fresh, view))
    there |= {m.dst: Node(is_dir=kind(m.src or "")[0] == "dir") for m in jail.mounts if m.kind == "bind"}
    there |= {dst: Node() for dst in own}
    rows: list[MountRow] = []
    made: set[str] = set()
    for dst, node in sorted(there.items()):
        base = _highest(dst, fresh)
        if not base or any(r.kind == "rebind" and dst.startswith("/" + r.target + "/") for r in rows):
            continue
        parts = dst[len(base) + 1 :].split("/")
        for depth in range(1, len(parts) + (1 if node.is_dir else 0)):
            target = "/".join([base[1:], *parts[:depth]])
            if target not in made:
                made.add(target)
                rows.append(MountRow("dir", target, "mount point in a fresh tmpfs", attr=0o755))
        if dst in own or node.kind == "made":
            continue  # C mounts it there
        if node.kind == "link":
            rows.append(MountRow("link", dst[1:], node.why, data=node.data))
            continue
        if not node.is_dir:
            rows.append(MountRow("file", dst[1:], "mount point in a fresh tmpfs", attr=0o444))
        rows.append(MountRow("rebind", dst[1:], "it lies below a fresh tmpfs", source=dst[1:], is_dir=node.is_dir))
    return rows


def _of_python(fresh: list[str], view: Seen) -> Iterator[tuple[str, Node]]:
    """What of the interpreters lies there: whole environments and installations, or else single parts."""
    for part in view.parts:
        base = _highest(part.path, fresh)
        if base:
            roots = [r for r in view.roots if part.path.startswith(r + "/") and r.startswith(base + "/")]
            whole = min(roots, key=len, default="")
            node = Node() if whole else Node(part.kind, PYTHON, data=part.data, is_dir=part.kind in ("dir", "made"))
            yield whole or part.path, node


def _highest(path: str, fresh: list[str]) -> str:
    return max((f for f in fresh if path.startswith(f + "/")), key=len, default="")
