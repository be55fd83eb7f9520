"""What the user wants besides `Limits`, as frozen, validated data: `Mount`, `File`, `Link`, `Jail`. No I/O here."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping

from pyjail._base import lazy, records, units
from pyjail._base.errors import SpecError
from pyjail._base.records import dataclass
from pyjail._base.shown import Shown
from pyjail._spec.limits import Limits as Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from pyjail._images.record import Image
    from pyjail._spec.egress import Egress
    from pyjail._spec.seccomp import SeccompPolicy

DEFAULT_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/box", "LANG": "C.UTF-8"}
KEEPER = 65533  # the keeper's id inside a jail, above all that a jail may have
NULL, CAPTURED, GIVEN, MERGED = "null", "captured", "fd", "stdout"  # what a stream is: enum pj_stdio
PIPE, STDOUT, DEVNULL = -1, -2, -3  # subprocess's
PORT = 3128  # of 127.0.0.1 in a jail with an `Egress`: what proxies are used to


def with_python(env: Env) -> Env:
    """The environment of a program whose jail has an interpreter of its choice: that one is first in PATH."""
    return Env({**env, "PATH": f"/python/bin:{env.get('PATH', DEFAULT_ENV['PATH'])}"})


def _set(obj: object, name: str, value: object) -> None:
    object.__setattr__(obj, name, value)


def inside(field: str, value: object) -> str:
    """An absolute path inside the jail, normalised; no "..", no NUL, not longer than PATH_MAX."""
    path = text(field, value)
    if not path.startswith("/") or ".." in path.split("/"):
        raise SpecError(field, value, 'an absolute path without ".." is needed')
    if len(os.fsencode(path)) >= 4096:
        raise SpecError(field, value, "longer than a path can be (4095 bytes)")
    norm = posixpath.normpath(path)
    return "/" + norm.lstrip("/")


def text(field: str, value: object) -> str:
    """A path or argument as str (surrogateescape for bytes); no NUL."""
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise SpecError(field, value, "str, bytes or PathLike is needed")
    result = os.fsdecode(value)
    if "\0" in result:
        raise SpecError(field, value, "a NUL byte cannot be passed to a program")
    try:
        os.fsencode(result)
    except UnicodeEncodeError:
        raise SpecError(field, value, "holds a lone surrogate that is no byte in disguise") from None
    return result


def outside(field: str, value: object) -> str:
    """An absolute path of the host; ".." stays, for the kernel to say where it leads."""
    path = text(field, value)
    if not path.startswith("/"):
        raise SpecError(field, value, "an absolute path of the host is needed")
    return path if ".." in path.split("/") else os.path.normpath(path)


class Tree(str):  # where the files of a jail's image are: the rootfs that its plan has beside it
    id = ""


@dataclass(frozen=True)
class Mount(Shown):
    """One more thing that a jail sees. Use `Mount.bind`, `Mount.tmpfs` or `Mount.link`."""

    kind: str
    dst: str
    src: str | None = None
    ro: bool = True
    size: int | None = None
    inodes: int | None = records.field(default=None, repr=False)  # of a workspace
    target: str | None = None

    @staticmethod
    def bind(src: str | os.PathLike[str], dst: str | None = None, ro: bool = True) -> Mount:
        """The host's file or directory ``src`` at ``dst`` inside (default: the same path), read-only by default.

        ``src`` is resolved once, when a keeper is started; its mount point is made in the jail, not on the host.
        The program meets it with its outside ids, which own nothing: what only its owner may read stays unreadable.

        >>> Mount.bind("/usr/share/dict", "/words")
        Mount(kind='bind', dst='/words', src='/usr/share/dict', ro=True, size=None, target=None)
        """
        source = outside("src", src)
        return Mount("bind", inside("dst", source if dst is None else dst), source, ro)

    @staticmethod
    def tmpfs(dst: str, size: int | str, ro: bool = False) -> Mount:
        """An empty directory of at most ``size`` bytes, fresh for every run. With ``ro`` it stays empty."""
        return Mount("tmpfs", inside("dst", dst), None, ro, units.size("size", size))

    @staticmethod
    def link(dst: str, target: str) -> Mount:
        """A symlink at ``dst`` that leads to ``target``, a path inside: so /box, or a program, has another name, too.

        It is a part of the jail's read-only files. What a program asks where it is says the target: `getcwd`.

        >>> Mount.link("/sandbox", "/box").target
        '/box'
        """
        return Mount("link", inside("dst", dst), target=inside("target", target))

    def __post_init__(self) -> None:
        if self.kind not in (
            "bind",
            "tmpfs",
            "link",
            "workspace",
            "pipe",
            "box",
            "part",
        ):  # some are of `Session`, `Box`
            raise SpecError("kind", self.kind, '"bind", "tmpfs" or "link" is needed')
        inside("dst", self.dst)
        if not isinstance(self.ro, bool):
            raise SpecError("ro", self.ro, "True or False is needed")
        if self.kind == "link" or self.target is not None:
            with lazy.lock:
                from pyjail._spec import links
            links.check(self.kind, self.dst, self.target and inside("target", self.target))
        if (self.kind == "bind") != (self.src is not None):
            raise SpecError("src", self.src, "a bind needs a source, a tmpfs has none")
        if self.kind == "tmpfs" and not isinstance(self.size, int):
            raise SpecError("size", self.size, "a tmpfs needs a size")


@dataclass(frozen=True, repr=False)
class File(Shown):
    """Content and mode of one file of ``files=``: ``File(b"#!/bin/sh\\n", 0o755)``."""

    data: bytes | str
    mode: int = 0o644

    def __post_init__(self) -> None:
        if not isinstance(self.data, (bytes, str)):
            raise SpecError("data", self.data, "bytes or str is needed")
        if isinstance(self.mode, bool) or not isinstance(self.mode, int) or not 0 <= self.mode <= 0o777:
            raise SpecError("mode", self.mode, "permission bits from 0 to 0o777 are needed")


@dataclass(frozen=True, repr=False)
class Link(Shown):
    """A symlink of ``files=``: ``Link("/dev/stdin")`` leads there for who follows it inside; nothing outside does."""

    target: str

    def __post_init__(self) -> None:
        target = text("target", self.target)
        if not 0 < len(os.fsencode(target)) < 4096:
            raise SpecError("target", self.target, "a path of 1 to 4095 bytes is needed")
        _set(self, "target", target)


class Env(Mapping[str, str]):
    """An environment that does not change: hashable, picklable, in the order given."""

    __slots__ = ("_items", "packed")

    def __init__(self, items: Mapping[Any, Any], field: str = "env") -> None:
        if not isinstance(items, Mapping):
            raise SpecError(field, items, "a mapping of names to values is needed")
        pairs = []
        for name, value in items.items():
            key = text(field, name)
            if not key or "=" in key:
                raise SpecError(field, name, 'a variable\'s name is not empty and has no "="')
            try:
                pairs.append((key, text(field, value)))
            except SpecError as e:
                raise SpecError(field, value, f"the value of {key!r}: {e.reason}") from None
        self._items = tuple(pairs)
        self.packed = tuple(f"{k}={v}".encode("utf-8", "surrogateescape") for k, v in pairs)  # as execve takes it

    def __getitem__(self, name: str) -> str:
        for key, value in self._items:
            if key == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))  # as __eq__, blind to order

    def __eq__(self, other: object) -> bool:
        return dict(self) == other if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return repr(dict(self._items))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self._items),)


_HOSTNAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


@dataclass(frozen=True, repr=False)
class Jail(Shown):
    """Everything around one program, except its limits. Hashable and picklable; equal jails share keepers.

    Attributes:
        rootfs: None = this host's system directories, read-only; or a directory to be the root.
        mounts: tuple of `Mount`.
        hostname: what uname(2) says inside. Default "pyjail".
        uid, gid: of the program, inside. Default 1000. Outside it is an unprivileged id of the keeper's own.
        network: "none" (default) = a network namespace with nothing in it; "loopback" = with lo up, fresh for
            every run; an `Egress` = the same, and a proxy in it that lets the program reach the hosts of a list.
        seccomp: "default", "strict" (compute-only; a refusal ends the run with verdict SECURITY), "none", or a
            `SeccompPolicy`.
        landlock: a second fence around files where the kernel has Landlock. Default True.
        proc: a /proc with the run's processes alone (True, the default), none, or "full": with what hosts tell, too.
        env: the environment of programs that are not given one by ``run(env=)``.
        fresh: a new keeper, so new namespaces of every kind, for every run. Default False.
        deterministic: what a program can see of chance is the same in every run: no address randomization, the first
            pid, CLOCK_MONOTONIC and CLOCK_BOOTTIME from 0 (where the kernel can; the receipt says so), and unless
            the environment says otherwise PYTHONHASHSEED=0, LC_ALL=C.UTF-8, TZ=UTC. The calendar (CLOCK_REALTIME),
            getrandom(2) and the kernel's scheduling stay as they are. Default False.
        strict: refuse to start (`HostError`) when a control cannot be enforced here. Default True; with False
            the receipt says what is missing.
        python: a Python of this host, such as ``sys.executable``: `python3` and `python` are that one, first in PATH
            of every run, with the packages of its environment. None, the default: no packages; `python3` is the
            system's, and the running interpreter is there under its own path, to run what needs none.
        writable_root: bytes (or "512M") of what may be written of the root of a rootfs or image, which itself stays
            as it is: files are made, changed (EOVERFLOW: only its owner's) and removed anywhere, in memory that counts
            as the program's, until the run, the `Session` or the `Box` ends. Default None: it is read-only.
        image: an `Image`, or its name or digest in the store (docs/images.md): its files are the root, read-only;
            instead of a rootfs. Its variables and its user are there where ``env`` and ``uid`` are the default ones.

    >>> Jail(hostname="judge").network
    'none'
    """

    rootfs: str | os.PathLike[str] | None = None
    mounts: tuple[Mount, ...] = ()
    hostname: str = "pyjail"
    uid: int = 1000
    gid: int = 1000
    network: Literal["none", "loopback"] | Egress = "none"
    seccomp: Literal["default", "strict", "none"] | SeccompPolicy = "default"
    landlock: bool = True
    proc: bool | Literal["full"] = True
    env: Mapping[str, str] = Env(DEFAULT_ENV)
    fresh: bool = False
    deterministic: bool = False
    strict: bool = True
    python: str | os.PathLike[str] | None = None
    image: str | Image | None = None
    writable_root: int | str | None = None

    def __post_init__(self) -> None:
        if self.image is not None or self.python is not None or self.writable_root is not None:
            with lazy.lock:
                from pyjail._spec import roots

            _set(self, "image", roots.image(self.image, self.rootfs, Tree, self.python))
            _set(self, "writable_root", roots.writable(self.writable_root, self.rootfs, self.image))
        for field in ("rootfs", "python"):
            if (value := getattr(self, field)) is not None and type(value) is not Tree:
                _set(self, field, outside(field, value))
        mounts = self.mounts
        if not isinstance(mounts, (tuple, list)) or not all(isinstance(m, Mount) for m in mounts):
            raise SpecError("mounts", mounts, "a tuple of Mount.bind(...), Mount.tmpfs(...), Mount.link(...) is needed")
        seen: set[str] = set()
        for mount in mounts:
            if mount.dst in seen:
                raise SpecError("mounts", mount.dst, "two mounts cannot have the same destination")
            if mount.dst in ("/", "/proc", "/dev", "/dev/null") or mount.dst.startswith("/proc/"):
                raise SpecError("mounts", mount.dst, "root, /proc and /dev are the jail's own; see rootfs= and proc=")
            seen.add(mount.dst)
        _set(self, "mounts", tuple(mounts))
        name = text("hostname", self.hostname)
        if not 1 <= len(name) <= 64 or not set(name) <= _HOSTNAME:
            raise SpecError("hostname", name, 'needed are 1 to 64 letters, digits, "-", "." and "_"')
        for field in ("uid", "gid"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < KEEPER:
                raise SpecError(field, value, "a number from 0 to 65532 is needed")
        if self.network not in ("none", "loopback"):
            with lazy.lock:
                from pyjail._spec.egress import Egress

            if not isinstance(self.network, Egress):
                raise SpecError("network", self.network, 'must be "none", "loopback" or an Egress')
        if isinstance(self.seccomp, str):
            if self.seccomp not in ("default", "strict", "none"):
                raise SpecError("seccomp", self.seccomp, 'must be "default", "strict", "none" or a SeccompPolicy')
        else:
            with lazy.lock:
                from pyjail._spec.seccomp import SeccompPolicy

            if not isinstance(self.seccomp, SeccompPolicy):
                raise SpecError("seccomp", self.seccomp, 'must be "default", "strict", "none" or a SeccompPolicy')
        for field in ("landlock", "proc", "fresh", "deterministic", "strict"):
            if not isinstance(value := getattr(self, field), bool) and (field, value) != ("proc", "full"):
                raise SpecError(field, value, "True or False is needed" + (field == "proc") * ', or "full"')
        if not isinstance(self.env, Env):
            _set(self, "env", Env(self.env))
        if self.writable_root is not None and not any(m.kind in ("workspace", "box") for m in mounts):
            _set(self, "fresh", True)  # what one run has written is not for the next one

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Jail:
        """The ``[jail]`` table of a TOML file; unknown keys are a `SpecError` that names the nearest right one."""
        with lazy.lock:
            from pyjail._spec import config

        return config.jail(path, cls, Mount, Limits)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: all fields; `Jail.from_dict` makes it again."""
        with lazy.lock:
            from pyjail._base import plain

        return {name: plain.plain(getattr(self, name)) for name in records.names(self)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Jail:
        """The inverse of `to_dict`; fields that are missing have their default. SpecError for what makes no jail.

        >>> Jail.from_dict({"hostname": "judge"}) == Jail(hostname="judge")
        True
        """
        with lazy.lock:
            from pyjail._spec import document

        return cls(**document.jail(cls, Mount, d))
