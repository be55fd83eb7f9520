"""The only prober of the machine: reads /proc, /sys and the directories that jails are made of into a `Host`."""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
from collections.abc import Iterable

from pyjail._core.native import lib

from pyjail._base import lazy
from pyjail._base.errors import HostError, SpecError
from pyjail._base.fds import not_ours
from pyjail._base.records import NamedTuple
from pyjail._base.units import cpu_list
from pyjail._host import interpreter

# What a host view shows of the root directory, when it is there.
SYSTEM_DIRS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
# What programs need of /etc. Everything else of it stays outside: no shadow, no keys, no host configuration.
ETC = (
    "alternatives", "ld.so.cache", "localtime", "os-release", "protocols", "services", "ssl/certs", "ssl/openssl.cnf",
    "pki/tls/certs", "perl", "php",
    # What libraries read at their start. No settings that may hold a password: npmrc, Renviron.site.
    "fonts", "mime.types", "crypto-policies", "ssl/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted",
    "R/Renviron", "R/ldpaths", "R/Makeconf", "R/javaconf", "R/repositories", "ghostscript", "papersize", "texmf",
    "dotnet",
)  # fmt: skip
# A JVM's lib/security and conf are symlinks into /etc/java-N-openjdk.
ETC_PREFIXES = ("java-", "python3.", "jvm-", "ImageMagick-")


USED_V1 = frozenset(("memory", "pids", "cpu", "cpuacct", "cpuset", "blkio"))  # blkio: io's name there, to be explained
LEAF = r"/pyjail-leaf-[0-9a-f-]+\Z"  # what `pyjail.cgroup.enter_leaf` moved us into: ours is one above


class Hierarchy(NamedTuple):
    """One cgroup tree and our own directory in it. ``own`` is where this process is; leaves are made below.

    ``controllers``: as read, those it could give; after bring-up, those that it gives. ``root``: nothing is above
    ``own``, in the kernel's view; ``mount``: where the tree is mounted, the highest directory that we can see.
    """

    version: int
    controllers: frozenset[str]
    own: str
    writable: bool
    root: bool = False
    mount: str = ""


class Lacking(NamedTuple):
    """A controller that no cgroup gives us here, and what failed: `refusal` says why. "" is what v2 gives without a
    controller. ``step``: of `delegation.Situation`; "": no hierarchy in sight has it."""

    controller: str
    step: str = ""
    hierarchy: Hierarchy | None = None
    errno: int = 0

    @property
    def passing(self) -> bool:
        """For want of room, which may be there at the next look."""
        return self.errno in (errno.ENOSPC, errno.EAGAIN)


class Above(NamedTuple):
    """A limit of a cgroup above ours, which ours share with everything else in it."""

    controller: str
    value: int
    file: str


class Missing(NamedTuple):
    """A control that this host lacks, why, and what to do about it."""

    control: str
    cause: str
    fix: str = ""


class Entry(NamedTuple):
    """A name of a root directory: "dir" or "file" to bind, or a symlink to make again."""

    name: str
    kind: str  # "dir" | "file" | "link"
    source: str
    link: str = ""


class Host(NamedTuple):
    """What this machine can do, as far as reading tells; what only trying tells, the keeper reports."""

    arch: str
    kernel: str
    euid: int
    egid: int
    capabilities: int
    uid_ranges: tuple[tuple[int, int], ...]  # (first, count) of ids that exist in our user namespace
    pid_namespace: int  # its inode
    id_range: tuple[int, int] | None  # PYJAIL_ID_RANGE=FIRST:COUNT, the outside ids that keepers may take
    cpus: frozenset[int]  # that this process is on
    online: int  # how many a program can be on: an affinity, unlike a cpuset, can be undone inside
    hierarchies: tuple[Hierarchy, ...]
    landlock_abi: int
    psi: bool
    system: tuple[Entry, ...]
    etc: tuple[Entry, ...]
    python: interpreter.Python | None  # the running one
    hidden: tuple[str, ...]  # directories inside of what jails see that none sees unless it asks
    seccomp: bool = False  # a filter is around us
    subuids: tuple[int, int] | None = None  # (first, count) that newuidmap maps for this user; None = single mapping
    subgids: tuple[int, int] | None = None
    swap: bool = True  # some is in use now
    namespaces_off: tuple[str, ...] = ()  # this and the next two as `with_switches` reads them: to explain a refusal
    userns_clone: int = -1
    apparmor: bool = False
    refused: tuple[Lacking, ...] = ()  # what `_cgroups.bring_up` could not get
    above: tuple[Above, ...] = ()

    def refusal(self, controller: str) -> Lacking | None:
        """What trying to get this controller has told, when it is missing."""
        return next((r for r in self.refused if r.controller == controller), None)

    @property
    def privileged(self) -> bool:
        """CAP_SYS_ADMIN (21) besides `maps_ids`: sources can be opened before there is a user namespace."""
        return self.maps_ids and bool(self.capabilities & 1 << 21)

    @property
    def single_id(self) -> bool:
        """Our user namespace has one id, as `unshare --map-root-user` makes it: "root" is the caller."""
        return sum(count for _, count in self.uid_ranges) == 1

    @property
    def maps_ids(self) -> bool:
        """CAP_SETUID (7) and CAP_SETGID (6), and ids to map: keepers get ids of their own."""
        need = 1 << 7 | 1 << 6
        return self.capabilities & need == need and not self.single_id


def read(path: str) -> str:
    """A file's text, "" when there is none to be had. What we lack ourselves for now (`SHORT`) says nothing of that."""
    try:
        with open(path, "rb", buffering=0) as f:
            return f.readall().decode("utf-8", "surrogateescape")
    except OSError as e:
        not_ours(e)
        return ""


def names_in(directory: str) -> list[str]:
    """What is in a directory, nothing when it cannot be read; as `read` does."""
    try:
        return os.listdir(directory)
    except OSError as e:
        not_ours(e)
        return []


def octal(path: str) -> str:
    """Undo mountinfo's escapes: space, tab, newline and backslash are written as \\ooo."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), path) if "\\" in path else path


def cgroup_paths(cgroup: str) -> dict[str, str]:
    """{controller of v1, or "" for v2: our own cgroup}, from /proc/self/cgroup."""
    lines = [line.split(":", 2) for line in cgroup.splitlines()]
    return {name: path for _, names, path in lines for name in names.split(",")}


def cgroup_mounts(mountinfo: str, own: dict[str, str]) -> list[tuple[str, list[str], str, str]]:
    """(file system, keys of ``own`` that it is for, which cgroup it shows, where) of each mount of one."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fstype, _, options = right.split(" ", 2)
        if fstype in ("cgroup", "cgroup2"):
            names = [n for n in ([""] if fstype == "cgroup2" else options.split(",")) if n in own]
            fields = left.split(" ")
            found += [(fstype, names, octal(fields[3]), octal(fields[4]))] if names else []
    return found


def hierarchies(cgroup: str, mountinfo: str) -> tuple[Hierarchy, ...]:
    """Our own directory in each mounted cgroup hierarchy, from /proc/self/cgroup and /proc/self/mountinfo."""
    own = cgroup_paths(cgroup)
    found: dict[str, Hierarchy] = {}
    for fstype, names, root, point in cgroup_mounts(mountinfo, own):
        if fstype == "cgroup" and USED_V1.isdisjoint(names):
            continue
        path = own[names[0]]
        if root != "/":
            if path != root and not path.startswith(root + "/"):
                continue  # our cgroup is not below this mount: nothing to be had from it
            path = path[len(root) :]
        if "/pyjail-leaf-" in path:
            path = re.sub(LEAF, "", path)
        where = point.rstrip("/") + ("" if path == "/" else path)
        controllers = (
            frozenset(read(where + "/cgroup.controllers").split()) if fstype == "cgroup2" else frozenset(names)
        )
        version = 2 if fstype == "cgroup2" else 1
        # In a cgroup namespace "/" is somebody's cgroup all the same: only the kernel's own root has no cgroup.type.
        top = where == point and root == "/" and not (version == 2 and os.path.exists(where + "/cgroup.type"))
        found.setdefault(
            fstype + names[0], Hierarchy(version, controllers, where, os.access(where, os.W_OK), top, point)
        )
    return tuple(sorted(found.values(), key=lambda h: (-h.version, sorted(h.controllers))))


def entries(directory: str, names: list[str]) -> tuple[Entry, ...]:
    """What to bind and what to link of a directory; a symlink is made again, never followed."""
    found = []
    for name in names:
        path = f"{directory.rstrip('/')}/{name}"
        try:
            st = os.lstat(path)
        except OSError as e:
            not_ours(e)
            continue
        if stat.S_ISLNK(st.st_mode):
            found.append(Entry(name, "link", path, os.readlink(path)))
        elif stat.S_ISDIR(st.st_mode):
            found.append(Entry(name, "dir", path))
        elif stat.S_ISREG(st.st_mode):
            found.append(Entry(name, "file", path))
    return tuple(found)


def _etc() -> tuple[Entry, ...]:
    there = frozenset(names_in("/etc"))
    # Most of these hardly any machine has: to ask for each takes longer than to look which there may be.
    known = [n for n in ETC if n.partition("/")[0] in there or not there]
    extra = sorted([n for n in there if n.startswith(ETC_PREFIXES)])
    found = []
    for entry in entries("/etc", [*known, *extra]):
        if entry.kind == "link":  # /etc/localtime -> /usr/share/zoneinfo/...: fine; into what we do not show: bind it
            real = os.path.realpath(entry.source)
            if not real.startswith("/usr/") and os.path.isfile(real):
                entry = Entry(entry.name, "file", real)
        found.append(entry)
    return tuple(found)


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(f[0]), int(f[2])) for f in (line.split() for line in text.splitlines()) if len(f) == 3)


Ranges = tuple[tuple[int, int] | None, tuple[int, int] | None]


def _id_range(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    first, _, count = text.partition(":")
    if not (first.isdigit() and count.isdigit() and int(count) >= 2 and int(first) >= 1):
        raise SpecError("PYJAIL_ID_RANGE", text, "FIRST:COUNT is needed, two ids or more, such as 1879048192:8388608")
    return int(first), int(count)


def _subordinate(status: dict[str, str]) -> Ranges:
    """This user's subordinate ids, where newuidmap(1) and newgidmap(1) can give them."""
    if os.geteuid() == 0 or os.environ.get("PYJAIL_SUBORDINATE_IDS") == "0" or status.get("NoNewPrivs") == "1":
        return None, None  # with no_new_privs a setuid newuidmap gains nothing
    found = [read(f"/etc/{name}") for name in ("subuid", "subgid")]
    if not all(found):
        return None, None
    with lazy.lock:
        from pyjail._host import subordinate_ids

    return subordinate_ids.ranges(found)


_STATUS = ("CapEff:", "NoNewPrivs:", "Seccomp:")


def status_of() -> dict[str, str]:
    """{name: value} of what the kernel lets this process do, from /proc/self/status."""
    lines = [line.partition(":") for line in read("/proc/self/status").splitlines() if line.startswith(_STATUS)]
    return {name: value.strip() for name, _, value in lines}


def _online() -> int:
    text = read("/sys/devices/system/cpu/online")
    return len(cpu_list(text)) if text else max(os.sysconf("SC_NPROCESSORS_CONF"), len(os.sched_getaffinity(0)))


def _know_ourselves() -> None:
    """A pid that another namespace's /proc shows is another process: nothing there may be believed, nor written."""
    told = read("/proc/self/stat").partition(" ")[0]
    if told != str(os.getpid()):
        cause = "/proc is of another pid namespace" if told else "there is no /proc"
        fix = (
            "mount one in a mount namespace of its own: unshare --pid --fork --mount-proc, or mount -t proc proc /proc"
        )
        raise HostError("proc", cause, fix)


@functools.cache
def probe(pid: int) -> Host:
    """This machine, read once per process (``pid`` is the cache's key, so a fork reads again). Raises HostError."""
    _know_ourselves()
    status = status_of()
    subuids, subgids = _subordinate(status)
    python = interpreter.running()
    return Host(
        arch=os.uname().machine,
        kernel=os.uname().release,
        euid=os.geteuid(),
        egid=os.getegid(),
        capabilities=int(status.get("CapEff", "0"), 16),
        uid_ranges=_ranges(read("/proc/self/uid_map")),
        pid_namespace=os.stat("/proc/self/ns/pid").st_ino if os.path.exists("/proc/self/ns/pid") else 0,
        id_range=_id_range(os.environ.get("PYJAIL_ID_RANGE")),
        cpus=frozenset(os.sched_getaffinity(0)),
        online=_online(),
        hierarchies=hierarchies(read("/proc/self/cgroup"), read("/proc/self/mountinfo")),
        landlock_abi=lib.pj_landlock_abi(),
        psi=bool(read("/proc/pressure/cpu")),  # there, but not to be read, where it is switched off
        system=entries("/", list(SYSTEM_DIRS)),
        etc=_etc(),
        python=python,
        hidden=interpreter.hidden(python),
        seccomp=status.get("Seccomp", "0") == "2",
        subuids=subuids,
        subgids=subgids,
        swap=read("/proc/swaps").count("\n") > 1,
    )


def host() -> Host:
    """The `Host` of this process."""
    return probe(os.getpid())


def tree(directory: str) -> tuple[Entry, ...]:
    """The top level of a rootfs directory. Raises OSError as os.listdir does."""
    return entries(directory, sorted(os.listdir(directory)))


Identity = tuple[str, int, int, int]


def identities(binds: Iterable[str], rootfs: str | None) -> tuple[Identity, ...]:
    """(path, device, inode, and for a rootfs the last change of its top level) of what a jail is made from, now."""
    found = []
    for path in binds if rootfs is None else [rootfs, *binds]:
        try:
            st = os.stat(path)
            found.append((path, st.st_dev, st.st_ino, st.st_mtime_ns if path == rootfs else 0))
        except OSError:
            found.append((path, 0, 0, 0))  # compiling says what is wrong
    return tuple(found)


def kind_of(path: str) -> tuple[str, str]:
    """("dir" | "file", real path) of a bind source; "file" for anything that is no directory. Raises OSError."""
    real = os.path.realpath(path, strict=True)
    return ("dir" if os.path.isdir(real) else "file"), real
