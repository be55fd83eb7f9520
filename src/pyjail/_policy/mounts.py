"""What a jail's files look like: a tree of directories, binds and generated files, flattened into rows.

The root is a small tmpfs of our own. Everything from outside is bound onto mount points that we made ourselves,
so nothing is ever created in a tree that belongs to someone else, and a hostile rootfs's own /proc, /dev, /tmp
or /box (symlinks, files, FIFOs) is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyjail._base.errors import SpecError
from pyjail._base.records import NamedTuple
from pyjail._host.interpreter import DISTRIBUTION, Part, Python, system
from pyjail._host.machine import Entry, Host
from pyjail._spec.jail import Jail, Limits

# mount_setattr(2)
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
SHOWN = RDONLY | NOSUID | NODEV  # of everything that comes from the host
DEVICES = ("null", "zero", "full", "random", "urandom")
MADE = ("pipe", "link")  # nothing of them is mounted, so they need a directory of ours
OWN = ("proc", "dev", "tmp", "box")  # never taken from a rootfs
PYTHON = "of an interpreter"
EMPTY = b"mode\x00555\x00size\x004096\x00nr_inodes\x001\x00"
MOST_ROWS = 4096  # of a plan (PJ_MAX_ROWS)
MOST_ENTRIES = 2000  # of a directory that is rebuilt to hold a mount point: two rows of a plan for each
MOST_TMPFS = 8  # of one run: PJ_MAX_TMPFS

Listing = Callable[[str], tuple[Entry, ...]]
Kind = Callable[[str], tuple[str, str]]


class MountRow(NamedTuple):
    """One mount or entry. ``kind``: bind, fs, dir, file, link, pipe, rebind, part; of a root that can be written to:
    overlay, which is the root from then on, and own, the program's directory; ``target``: below the new root."""

    kind: str
    target: str
    why: str
    source: str = ""
    attr: int = 0
    data: bytes = b""
    is_dir: bool = False
    is_box: bool = False


class TmpfsRow(NamedTuple):
    """A tmpfs that is new for every run."""

    target: str
    why: str
    options: tuple[tuple[str, str], ...]
    is_box: bool = False
    attr: int = NOSUID | NODEV


class Seen(NamedTuple):
    """What a jail sees of this host besides its system directories, and what it does not see of all that.

    ``parts`` of interpreters; ``hidden`` directories, empty inside; ``packages`` that were asked for; ``roots`` of
    environments and installations.
    """

    parts: tuple[Part, ...] = ()
    hidden: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    @property
    def sources(self) -> list[str]:
        """What is bound."""
        return [p.path for p in self.parts if p.kind in ("dir", "file")]


class Node:
    """A place in the jail's tree: a directory of ours, or one thing.

    ``kind``: dir, bind, file, link, pipe, fs, part, hidden.
    """

    def __init__(
        self, kind: str = "dir", why: str = "", source: str = "", attr: int = 0, data: bytes = b"", is_dir: bool = True
    ) -> None:
        self.kind, self.why, self.source, self.attr, self.data, self.is_dir = kind, why, source, attr, data, is_dir
        self.children: dict[str, Node] = {}

    def rows(self, target: str, on_top: bool) -> list[MountRow]:
        """Of a fs or part; ``on_top``: there is a mount point."""
        raise AssertionError(f"a {self.kind} is no file system of its own")


def put(root: Node, path: str, node: Node, listing: Listing, kind: Kind) -> None:
    """Insert ``node`` at ``path``, making directories on the way and, where a bound directory lacks the mount
    point, rebuilding that directory in our tmpfs with each of its entries bound."""
    parts = [p for p in path.split("/") if p]
    at = root
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if at.kind == "bind":
            _open_up(at, listing)
        elif at.kind == "hidden":  # what it was in is ours by now: so nothing has to be laid over it
            at.kind, at.why = "dir", "a parent of a mount point"
        there = at.children.get(part)
        if there is not None and there.kind == "link" and not (last and node.kind == "link"):
            raise SpecError("mounts", path, f'"{"/".join(["", *parts[: depth + 1]])}" is a symlink; name the real path')
        if last:
            node.children = {} if there is None or node.kind not in ("dir", "part") else there.children
            at.children[part] = node
        elif there is None:
            at.children[part] = at = Node(why="a parent of a mount point")
        elif there.kind == "file" or (there.kind == "bind" and not there.is_dir):
            raise SpecError("mounts", path, f'"{"/".join(["", *parts[: depth + 1]])}" is a file')
        elif there.kind == "bind" and node.kind not in MADE and _holds(there, parts[depth + 1 :], node.is_dir, kind):
            rest = "/".join(parts[depth + 1 :])
            there.children = {p: n for p, n in there.children.items() if not p.startswith(rest + "/")}
            there.children[rest] = node  # an existing mount point: mount on top
            return
        else:
            at = there


def _holds(bind: Node, rest: list[str], is_dir: bool, kind: Kind) -> bool:
    """The bound directory has ``rest`` already, without symlinks, of the right type, and shows it."""
    if any(child.kind == "hidden" and "/".join(rest).startswith(p + "/") for p, child in bind.children.items()):
        return False
    path = "/".join([bind.source, *rest])
    try:
        found, real = kind(path)
    except OSError:
        return False
    return real == path and (found == "dir") == is_dir


def _open_up(node: Node, listing: Listing) -> None:
    """Turn a bound directory into one of ours that holds the same entries."""
    found = listing(node.source)
    if len(found) > MOST_ENTRIES:
        raise SpecError("mounts", node.source, f"more than {MOST_ENTRIES} entries; choose a destination that exists")
    kept = node.children
    node.kind, node.children = "dir", {e.name: _entry(e, node.attr, node.why) for e in found}
    for path, child in kept.items():
        top, _, rest = path.partition("/")
        if rest and top in node.children:
            node.children[top].children[rest] = child
        else:
            node.children[path] = child


def _entry(entry: Entry, attr: int, why: str) -> Node:
    if entry.kind == "link":
        return Node("link", why, data=entry.link.encode("utf-8", "surrogateescape"), is_dir=False)
    return Node("bind", why, source=entry.source, attr=attr, is_dir=entry.kind == "dir")


def flatten(node: Node, path: str, found: list[MountRow]) -> None:
    """Add the rows of what is below this node, which is at ``path``."""
    on_top = node.kind == "bind"  # the mount point is already there
    for name, child in sorted(node.children.items()):
        target = f"{path}/{name}" if path else name
        if child.kind == "bind":
            if not on_top:
                kind, attr = ("dir", 0o755) if child.is_dir else ("file", 0o444)
                found.append(MountRow(kind, target, "mount point", "", attr))
            found.append(MountRow("bind", target, child.why, child.source, child.attr, b"", child.is_dir))
        elif child.kind == "dir":
            if not on_top:
                found.append(MountRow("dir", target, child.why, "", 0o755))
        elif child.kind == "link":
            found.append(MountRow("link", target, child.why, "", 0, child.data))
        elif child.kind == "file":
            found.append(MountRow("file", target, child.why, "", 0o644, child.data))
        elif child.kind == "pipe":
            found.append(MountRow("pipe", target, child.why, "", 0o666))
        elif child.kind in ("fs", "part"):
            found += child.rows(target, on_top)
        elif on_top:  # hidden
            found.append(MountRow("fs", target, child.why, "tmpfs", SHOWN | NOEXEC, EMPTY))
        else:
            found.append(MountRow("dir", target, child.why, "", 0o755))
        if child.children:
            flatten(child, target, found)


def seen(jail: Jail, host: Host, asked: Python | None) -> Seen:
    """``asked``: the interpreter of ``jail.python``."""
    if jail.rootfs is not None:
        return Seen()
    pythons = [p for p in (host.python, asked) if p is not None]
    parts = {part.path: part for python in pythons for part in python.parts}
    packages = asked.packages if asked is not None else ()
    beside = [p for p in asked.beside if not p.startswith(DISTRIBUTION)] if asked is not None else []
    hidden = [path for path in dict.fromkeys((*host.hidden, *beside)) if path not in packages]
    directories = [part.path for part in parts.values() if part.kind == "dir"]
    hidden = [path for path in hidden if system(path) or _below(path, directories)]
    own = [m.dst for m in jail.mounts]
    return Seen(
        parts=tuple(
            part
            for part in sorted(parts.values(), key=lambda p: (p.path.count("/"), p.path))
            if _missing(part.path, directories, hidden)
            and not (part.kind == "link" and any(dst.startswith(part.path + "/") for dst in own))
        ),
        hidden=tuple(sorted(hidden, key=lambda path: (path.count("/"), path))),
        packages=packages,
        roots=tuple(dict.fromkeys(root for python in pythons for root in python.roots)),
    )


def _missing(path: str, directories: list[str], hidden: list[str]) -> bool:
    """Nothing else shows it."""
    if path.startswith(("/proc/", "/dev/")) and not path.startswith("/dev/shm/"):
        return False  # the jail's own
    covered = max((h for h in hidden if _below(path, [h])), key=len, default="")
    shown = max((d for d in directories if _below(path, [d])), key=len, default="")
    return len(covered) > len(shown) if shown or system(path) else True


def _below(path: str, directories: list[str]) -> bool:
    return any(path.startswith(directory + "/") for directory in directories)


NOTHING = Seen()


def _passwd(jail: Jail) -> tuple[bytes, bytes]:
    users = {0: "root", 65534: "nobody", jail.uid: "box" if jail.uid not in (0, 65534) else None}
    groups = {0: "root", 65534: "nogroup", jail.gid: "box" if jail.gid not in (0, 65534) else None}
    users[0], groups[0] = "root", "root"
    users[65534], groups[65534] = "nobody", "nogroup"
    home = {jail.uid: "/box"}
    passwd = "".join(
        f"{name}:x:{uid}:{jail.gid if uid == jail.uid else uid}::{home.get(uid, '/')}:/bin/sh\n"
        for uid, name in users.items()
    )
    return passwd.encode(), "".join(f"{name}:x:{gid}:\n" for gid, name in groups.items()).encode()


def run_tmpfs(jail: Jail) -> list[str]:
    """Where every run gets a tmpfs of its own, unless the jail binds something there."""
    if any(m.kind == "box" for m in jail.mounts):
        return []
    bound = {m.dst for m in jail.mounts if m.kind != "tmpfs"}
    return [t for t in ("/box", "/tmp", "/dev/shm") if t not in bound]


def template(
    jail: Jail,
    host: Host,
    listing: Listing,
    kind: Kind,
    has_proc: bool,
    view: Seen = NOTHING,
    asked: Iterable[tuple[str, Node]] = (),
) -> list[MountRow]:
    """The rows of the read-only root that a keeper prepares once; ``asked``: of `asked_for`."""
    root = Node()
    if jail.rootfs is None:
        for entry in host.system:
            root.children[entry.name] = _entry(entry, SHOWN, "a system directory")
        etc = root.children["etc"] = Node(why="generated: only what programs need")
        passwd, group = _passwd(jail)
        for name, data in (
            ("passwd", passwd),
            ("group", group),
            (
                "hosts",
                b"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + jail.hostname.encode("utf-8", "replace") + b"\n",
            ),
            ("nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"),
        ):
            etc.children[name] = Node("file", "generated", data=data, is_dir=False)
        for entry in host.etc:
            put(root, "/etc/" + entry.name, _entry(entry, SHOWN, "configuration that runtimes read"), listing, kind)
    else:
        for entry in listing(str(jail.rootfs)):
            if entry.name not in OWN:
                root.children[entry.name] = _entry(entry, SHOWN, "of the rootfs")
    own_places(root, has_proc)
    shown: list[tuple[str, Part | None]] = [*((p, None) for p in view.hidden), *((p.path, p) for p in view.parts)]
    for path, part in sorted(shown, key=lambda row: row[0].count("/")):
        put(root, path, _part(part), listing, kind)
    for path, node in asked:
        put(root, path, node, listing, kind)
    found = [first("the new root")]
    flatten(root, "", found)
    return found


def first(why: str) -> MountRow:
    """The row of a keeper's first root."""
    options = b"mode\x00755\x00size\x001m\x00nr_inodes\x008192\x00"
    return MountRow("fs", "", why, source="tmpfs", attr=NOSUID | NODEV, data=options)


def own_places(root: Node, has_proc: bool) -> None:
    """Put what is never taken from a rootfs into this tree: `OWN`."""
    dev = root.children["dev"] = Node(why="only harmless devices")
    for name in DEVICES:
        dev.children[name] = Node("bind", "harmless", f"/dev/{name}", RDONLY | NOSUID | NOEXEC, is_dir=False)
    for name, link in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        dev.children[name] = Node("link", "as everywhere", data=f"/proc/self/fd{link}".encode(), is_dir=False)
    dev.children["shm"] = Node(why="mount point of the run's own tmpfs")
    for name in ("box", "tmp"):
        root.children[name] = Node(why="mount point of the run's own tmpfs")
    root.children["proc"] = Node(why="mount point of the procfs of the jail's pid namespace")
    if has_proc:
        # Never seen by a program: the keeper takes it away after it has made its own (see proc_mount).
        root.children["proc"] = Node("bind", "for mount_too_revealing()", "/proc", SHOWN | NOEXEC)


def _part(part: Part | None) -> Node:
    """None: something that is hidden."""
    if part is None:
        return Node("hidden", "hidden: packages or sources that nobody asked for")
    if part.kind in ("link", "text"):
        return Node("link" if part.kind == "link" else "file", PYTHON, data=part.data, is_dir=False)
    if part.kind == "made":
        return Node(why="a path to an interpreter leads through it")
    return Node("bind", PYTHON, part.path, SHOWN, is_dir=part.kind == "dir")


def tmpfs_options(jail: Jail, mode: str, size: int | str | None, inodes: int | None) -> tuple[tuple[str, str], ...]:
    """Of a tmpfs for the program."""
    return (
        ("mode", mode),
        ("uid", str(jail.uid)),
        ("gid", str(jail.gid)),
        ("size", "0" if size is None else str(size)),  # 0 means "no limit" to tmpfs, for size as for nr_inodes
        ("nr_inodes", "0" if inodes is None else str(inodes + 1)),
    )


def tmpfs(jail: Jail, limits: Limits) -> list[TmpfsRow]:
    """The tmpfs of one run, sized by its limits."""

    def row(target: str, mode: str, size: int | str | None, is_box: bool = False, ro: bool = False) -> TmpfsRow:
        attr = NOSUID | NODEV | (RDONLY if ro else 0)
        return TmpfsRow(target, "fresh for every run", tmpfs_options(jail, mode, size, limits.inodes), is_box, attr)

    sizes = {"/box": ("755", limits.disk), "/tmp": ("1777", limits.disk), "/dev/shm": ("1777", limits.memory)}
    rows = [row(t, *sizes[t], is_box=t == "/box") for t in run_tmpfs(jail) if t not in _tmpfs_at(jail)]
    rows += [row(m.dst, "755", m.size, m.dst == "/box", m.ro) for m in jail.mounts if m.kind == "tmpfs"]
    if len(rows) > MOST_TMPFS:
        own = len(rows) - len(_tmpfs_at(jail))
        why = f"at most {MOST_TMPFS - own} Mount.tmpfs beside the jail's own {own}; one can hold many directories"
        raise SpecError("mounts", f"{len(_tmpfs_at(jail))} tmpfs", why)
    return sorted(rows, key=lambda r: (r.target.count("/"), r.target))


def _tmpfs_at(jail: Jail) -> set[str]:
    return {m.dst for m in jail.mounts if m.kind == "tmpfs"}
