"""What a box is asked for: `BoxOptions`, and the words that are taken for it. Nothing is looked at here."""

from __future__ import annotations

import difflib
import functools
import ipaddress
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pyjail import Egress, SpecError
from pyjail.boxlite._errors import InvalidArgumentError, UnsupportedError

MEMORY_MIB = 512  # of a box that is given none, as there
PROCESSES = 256
UNSET: Any = type("_Unset", (), {"__repr__": lambda self: "<the runtime's>"})()

# What the real package takes and a jail has nothing for, by why not.
_UNSUPPORTED = {
    "volumes": "nothing of the host is mounted into a box: use copy_in and copy_out",
    "ports": "no port of a box can be reached from outside: run the client in the box, too",
    "secrets": "there is no proxy between a box and a network",
    "advanced": "capabilities and health checks are not to be had: a program has no capability",
    "entrypoint": "a box has no main program: exec() it",
    "cmd": "a box has no main program: exec() it",
    "auto_stop": "a box runs until it is stopped",
    "auto_resume": "a stopped box is started by start()",
    "detach": "a box ends with the process that made it",
    "tty": "a box has no main program; InteractiveBox, or exec(tty=True) of a Box, have a terminal",
}


@dataclass
class OutboundNetworkSpec:
    """Which network a box reaches: ``mode`` "disabled", the default here, or "enabled" with the hosts of ``allow_net``:
    names, "*.NAME", addresses, networks, each at ports 443 and 80. "enabled" with none of them is not to be had."""

    mode: str = "disabled"
    allow_net: Sequence[str] = ()


@dataclass
class InboundNetworkSpec:
    """Who reaches a box from outside: ``mode`` "disabled", the default, is the only one there is."""

    mode: str = "disabled"
    allow_net: Sequence[str] = ()


@dataclass
class NetworkSpec:
    """Network of a box: ``NetworkSpec(mode="enabled", allow_net=["pypi.org"])``. What a box cannot have is refused when
    it is made. Names are spoken to by TLS of that name (443) or by plain http (80)."""

    outbound: OutboundNetworkSpec | None = None
    inbound: InboundNetworkSpec | None = None
    mode: str | None = None
    allow_net: Sequence[str] | None = None


@dataclass
class CopyOptions:
    """How `Box.copy_in` and `Box.copy_out` copy. ``recursive=False`` refuses directories."""

    recursive: bool = True
    overwrite: bool = True
    follow_symlinks: bool = False


@dataclass
class SnapshotOptions:
    """Nothing yet, as there."""


def network(value: Any) -> Literal["none", "loopback"] | Egress:
    """The network of the jail. UnsupportedError for what reaches further than a list of hosts."""
    if value is None or value in ("none", "disabled"):
        return "none"
    if value == "loopback":
        return "loopback"
    if isinstance(value, Egress):
        return value
    if isinstance(value, NetworkSpec):
        given = {mode for mode in (value.mode, value.outbound and value.outbound.mode) if mode}
        allowed = [*(value.allow_net or ()), *(value.outbound.allow_net if value.outbound else ())]
        alone = value.inbound is None or value.inbound.mode == "disabled"
        if alone and given <= {"disabled"} and not allowed:
            return "none"
        if alone and given == {"enabled"} and allowed:
            return _listed(allowed)
    why = (
        'a box reaches "none" (the default), "loopback", or the hosts of a list, by an Egress or a '
        'NetworkSpec(mode="enabled", allow_net=[...]); all of the internet is no list, and nobody reaches a box'
    )
    raise UnsupportedError(f"network={value!r}: {why}")


def _listed(allowed: Iterable[str]) -> Egress:
    """Names, wildcards, addresses and networks, each at the ports of https and http."""
    rules: list[str] = []
    for host in allowed:
        try:
            network = str(ipaddress.ip_network(host, strict=False))
        except ValueError:
            network = host
        rules += [f"{network}:{port}" for port in (443, 80)]
    try:
        return Egress(rules)
    except SpecError as e:
        raise UnsupportedError(f"allow_net={list(allowed)!r}: {e}") from None


def unexpected(function: str, name: str, known: Iterable[str]) -> TypeError:
    """That of a keyword that nobody takes, with the nearest that there is."""
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


@dataclass
class BoxOptions:
    """What a box is asked for, in the words of both the real package and BoxLite's pages.

    Args:
        image: a name that `pyjail.boxlite` maps to what is here. rootfs_path: a directory to be the root instead.
        memory_mib, memory_mb: MiB of memory of the whole box; the two are one. Default 512.
        cpus: cores, also a part of one. Default 1.
        timeout_seconds: s that each program may take, and the box as a whole from its start; None: no limit. Not
            given: each program has the runtime's (30 s), the box none.
        disk_size_gb: GiB that all files of the box may take together; they are memory of the box, too. Default half of
            its memory.
        working_dir: of programs. Default /box. env: their variables: a mapping, or (name, value) pairs.
        network: "none" (default), "loopback", an `Egress`, or a `NetworkSpec` with nothing enabled, or with a list.
        user: None, or 1000, the user that every program of a box is.
        auto_remove: False keeps the files of a stopped box under its name. auto_delete: 0 means the same.
        volumes, ports, secrets, advanced, entrypoint, cmd, auto_stop, auto_resume, detach, tty: None or empty.

    Raises:
        InvalidArgumentError: a value makes no sense. UnsupportedError: a jail cannot have it. TypeError: memory is
        given twice.
    """

    image: str | None = None
    rootfs_path: str | None = None
    cpus: float | None = None
    memory_mib: int | None = None
    disk_size_gb: float | None = None
    working_dir: str | None = None
    env: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    volumes: Any = ()
    network: Any = None
    ports: Any = ()
    auto_remove: bool | None = None
    auto_stop: Any = None
    auto_delete: int | None = None
    auto_resume: Any = None
    detach: Any = None
    entrypoint: Any = None
    cmd: Any = None
    user: str | int | None = None
    tty: Any = None
    advanced: Any = None
    secrets: Any = ()
    memory_mb: int | None = None
    timeout_seconds: float | None = field(default=UNSET)

    def __post_init__(self) -> None:
        if not self.image and not self.rootfs_path:
            raise InvalidArgumentError("Either 'image' or 'rootfs_path' must be provided")
        for name, why in _UNSUPPORTED.items():
            if getattr(self, name):
                raise UnsupportedError(f"{name}={getattr(self, name)!r}: {why}")
        if None not in (self.memory_mib, self.memory_mb) and self.memory_mib != self.memory_mb:
            raise TypeError("memory_mib= and memory_mb= are two words for one thing: give one")
        self.memory_mib = self.memory_mb = self.memory_mb if self.memory_mib is None else self.memory_mib
        for name in ("memory_mib", "cpus", "disk_size_gb", "timeout_seconds"):
            if getattr(self, name) is not UNSET:
                positive(name, getattr(self, name))
        network(self.network)
        try:
            self.env = {str(name): str(text) for name, text in dict(self.env or ()).items()}
        except (TypeError, ValueError):
            raise InvalidArgumentError(f"env={self.env!r}: a mapping or (name, value) pairs are needed") from None

    @property
    def kept(self) -> bool:
        """Whether the files of the box stay when it is stopped."""
        return self.auto_remove is False if self.auto_delete is None else self.auto_delete == 0


def positive(name: str, value: Any) -> None:
    """InvalidArgumentError for what is no number above 0; None is one."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidArgumentError(f"{name}={value!r}: a number above 0 is needed")


WORDS = tuple(BoxOptions.__dataclass_fields__)


def _checking(make: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(make)
    def init(self: BoxOptions, *args: Any, **given: Any) -> None:
        for name in given:
            if name not in WORDS:
                raise unexpected("BoxOptions", name, WORDS)
        make(self, *args, **given)

    return init


setattr(BoxOptions, "__init__", _checking(BoxOptions.__init__))  # noqa: B010 - to type checkers it stays what it is
