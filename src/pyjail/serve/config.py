"""How a service is to run, as frozen data: `Config`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyjail import Jail, Limits
from pyjail.languages import Language

DEFAULTS = Limits(cpu_time=5, wall_time=15, memory="256M", processes=64, output="1M", disk="64M")
MAXIMA = Limits(
    cpu_time=60, wall_time=120, memory="1G", processes=256, output="10M", disk="256M", inodes=20000, file_size="256M",
    open_files=1024, stack="1G", core=0, collect="64M", cpus=1.0, address_space=None,
)  # fmt: skip


@dataclass(frozen=True)
class Token:
    """Who may use the service.

    Attributes:
        name: the tenant whose runs and files these are. sha256: hex digest of the secret; the secret itself is kept
            nowhere.
        role: "run", "read" (results, no runs), "metrics" or "admin". concurrent: of its programs at once; None: all.
        queue: of its programs that wait. rate: such as "10/minute"; "" for none. expires: seconds since the epoch.
    """

    name: str
    sha256: str
    role: str = "run"
    concurrent: int | None = None
    queue: int | None = None
    rate: str = ""
    expires: float | None = None


@dataclass(frozen=True)
class Admission:
    """How many run at once, and how many may wait for that.

    Attributes:
        concurrent: programs that run at once. queue: requests that wait. patience: seconds that one waits at most.
        inflight: bytes of bodies that are held at once. rate: of each client, such as "60/minute"; "" for none.
    """

    concurrent: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    queue: int = 256
    patience: float = 30.0
    inflight: int = 256 << 20
    rate: str = ""


@dataclass(frozen=True)
class Edge:
    """Who may connect, how long and with how much.

    Attributes:
        hosts: names that the Host header may have, besides those of the loopback. origins: of pages that may call it,
            besides its own. proxies: addresses whose X-Forwarded-For counts. embed: origins that may frame the page.
        body: bytes of a body. head_time, body_time: seconds in which they have to come; rate: bytes per second that a
            body, and the reader of an answer, have at least. stall: seconds that a reader may take nothing.
        connections: in all, and of one client.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    embed: tuple[str, ...] = ()
    body: int = 16 << 20
    head_time: float = 10.0
    body_time: float = 30.0
    rate: int = 16 << 10
    stall: float = 30.0
    connections: int = 1024
    connections_per_client: int = 64


@dataclass(frozen=True)
class Files:
    """Files that wait for runs.

    Attributes: bytes of one (``file``) and of one tenant's (``total``), how many (``count``), seconds since their last
    use (``keep``), bytes of the disk that stay free (``floor``).
    """

    file: int = 10 << 20
    total: int = 1 << 30
    count: int = 100_000
    keep: float = 86400.0
    floor: int = 1 << 30


@dataclass(frozen=True)
class Jobs:
    """Runs that are fetched later: how often one is tried, seconds after which its worker counts as dead, seconds that
    its result is kept, bytes of one tenant's (in the file), a PostgreSQL address instead of the file."""

    attempts: int = 2
    lease: float = 30.0
    keep: float = 86400.0
    total: int = 4 << 30
    postgres: str = ""


@dataclass(frozen=True)
class Places:
    """Sessions and boxes.

    Attributes:
        count: that are open at once; share: of them, one tenant's. idle: seconds that one stays unused, where it names
            none; longest_idle: that it may name. lifetime: seconds that one is there, whoever uses it.
        file: bytes of a file that is written into one, or read from it, by itself. snapshots: bytes of memory that all
            snapshots of them may take; disk: that the files of all may, by the limits that they were opened with; those
            of one tenant, half of that.
    """

    count: int = 32
    share: int = 8
    idle: float = 300.0
    longest_idle: float = 3600.0
    lifetime: float = 86400.0
    file: int = 64 << 20
    snapshots: int = 256 << 20
    disk: int = 2 << 30


@dataclass(frozen=True)
class Terminals:
    """Terminals over WebSockets.

    Attributes:
        count: that are open at once, those that wait for a slot included; share: of them, one tenant's.
        idle: seconds in which nothing is typed or shown, where one names none, and at most.
        lifetime: seconds that a program before a terminal may have; 0: as serve.maxima.wall_time says.
        unread: bytes of input that a program has not read. window: bytes that are shown before they have been taken.
    """

    count: int = 32
    share: int = 8
    idle: float = 120.0
    lifetime: float = 0.0
    unread: int = 256 << 10
    window: int = 64 << 10


@dataclass(frozen=True)
class Observe:
    """What is told of the service: whether there is a ``log`` on standard error, "ADDRESS:PORT" where ``metrics`` are
    besides /metrics, whether there are ``traces`` by OpenTelemetry."""

    log: bool = True
    metrics: str = ""
    traces: bool = False


@dataclass(frozen=True)
class Config:
    """A service.

    Attributes:
        address, port: where it listens; unix: or a socket's path. open: without tokens on an address that others reach.
        state: directory of what it keeps; "" for one that goes with it. jail: of every program. limits: where a request
            names none; maxima: what it may ask for. tokens: none means that whoever reaches it may use it.
        languages: by name, those of the file over those that there are; empty: only these.
        faces: other services whose clients it serves, by name, with their settings. root: whose paths are at the root.
        drain: seconds that running programs have when it is ended. playground: whether there is a page.
    """

    address: str = "127.0.0.1"
    port: int = 8000
    unix: str = ""
    open: bool = False
    state: str = ""
    jail: Jail = field(default_factory=Jail)
    limits: Limits = DEFAULTS
    maxima: Limits = MAXIMA
    tokens: tuple[Token, ...] = ()
    admission: Admission = field(default_factory=Admission)
    edge: Edge = field(default_factory=Edge)
    files: Files = field(default_factory=Files)
    jobs: Jobs = field(default_factory=Jobs)
    places: Places = field(default_factory=Places)
    terminals: Terminals = field(default_factory=Terminals)
    observe: Observe = field(default_factory=Observe)
    languages: Mapping[str, Language] = field(default_factory=dict)
    faces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    root: str = "seeds"
    drain: float = 30.0
    playground: bool = True
    precheck: str = "off"
