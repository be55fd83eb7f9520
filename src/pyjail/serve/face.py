"""What another service's interface is here: pure translations, request -> `Job`, `Outcome` -> answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyjail import Jail
from pyjail.serve.config import Config
from pyjail.serve.job import Group, Job, Outcome, Script
from pyjail.serve.problem import Problem


@dataclass(frozen=True)
class Asked:
    """A request, its body read: header names in lower case, ``params`` of the path, ``id`` of X-Request-ID.

    ``form``: {name: bytes} of a body of parts; None: it is none. ``filenames``: the names that its files came with.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    form: Mapping[str, bytes] | None = None
    filenames: Mapping[str, str] = field(default_factory=dict)
    tenant: str = ""
    client: str = ""
    id: str = ""


@dataclass(frozen=True)
class Answer:
    """``content`` as JSON, unless there is a ``body``."""

    content: Any = None
    status: int = 200
    body: bytes | None = None
    type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """A run that is fetched later.

    Attributes: ``id``; ``state`` as `store.Record` has it; ``body``, what was submitted; ``result`` of JSON, when it is
    done; ``reason`` why it is lost; ``created`` and ``ended``, seconds since the epoch, 0 for not yet.
    """

    id: str
    state: str
    body: Mapping[str, Any]
    result: Mapping[str, Any] | None = None
    reason: str = ""
    created: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True)
class Load:
    """How busy the service is: ``slots`` for programs, ``running`` in them, runs that are ``waiting`` to be done later,
    and those of late that are ``lost``; whether nobody has a slot any more, as it is ``ending``."""

    slots: int
    running: int
    waiting: int
    lost: int
    ending: bool


Hold = Callable[[int], None]


class Desk(Protocol):
    """What a face may ask the service for. Every method raises `Problem`."""

    config: Config
    settings: Mapping[str, Any]  # of this face: [faces.NAME]

    async def run(self, job: Job, watcher: Any = None) -> Outcome:
        """Once it has had its turn. ``watcher``: `piped.Watcher`, which sees it, and may talk to it."""

    async def steps(self, script: Script) -> Sequence[Outcome]:
        """As `run`, for all of them."""

    async def together(self, group: Group, watchers: Sequence[Any]) -> Sequence[Outcome]:
        """As `run`, for all of them at once: when there is a slot for each. ``watchers``: of each, or None."""

    async def image(self, name: str) -> Jail:
        """The jail whose files are that image's. Problem 400 for one that is not in the store."""

    async def submit(self, body: Mapping[str, Any], id: str, awaited: bool = False) -> str:
        """Have this done later, by the face's own maker of jobs: ``id``, 32 hex digits that nobody can guess.
        ``awaited``: the client learns the id with the result; see `store.Record`."""

    async def fetch(self, id: str, seconds: float) -> Kept | None:
        """What has become of it, once it has ended or so many seconds are over; None: there is none of this tenant."""

    async def submitted(self, skip: int, most: int) -> tuple[Sequence[str], int]:
        """Ids of what this tenant has submitted by this face, the newest first, at most so many after so many others;
        and how many there are in all."""

    async def forget(self, id: str) -> bool:
        """Keep no more what has been submitted, if it has ended; whether it is gone."""

    async def languages(self, *names: str) -> Mapping[str, str]:
        """{name: version} of those whose tools are here: of these names, or of all."""

    async def tools(self, language: str, jail: Jail) -> Jail:
        """The jail with what this machine has of a language's tools."""

    async def put(self, path: str, data: bytes) -> None:
        """Keep a file of this tenant and face by this name."""

    async def get(self, path: str) -> bytes | None:
        """The file of that name; None: there is none."""

    async def host(self, path: str, directories: Sequence[str], most: int) -> bytes:
        """What a file of this machine holds that lies below one of these. Problem 400 for any other."""

    async def drop(self, path: str) -> bool:
        """Whether there was one."""

    async def names(self) -> Sequence[str]:
        """Of all such files."""

    def load(self) -> Load:
        """Now."""

    def holding(self) -> AbstractContextManager[Hold]:
        """While the block lasts, what is called with numbers of bytes counts them as held by the service."""


Handler = Callable[[Asked, Desk], Awaitable[Answer]]


@dataclass(frozen=True)
class Endpoint:
    """``path`` with ``{name}`` for a part, ``{name:path}`` for the rest. ``forms``: bodies need not be JSON. ``runs``:
    it runs what was sent while the client waits, and does nothing else; its path has no parts."""

    method: str
    path: str
    handler: Handler
    forms: bool = False
    runs: bool = False


class Line(Protocol):
    """A WebSocket, as a face has it."""

    async def receive(self) -> str | bytes | None:
        """The next message; None: the client is gone."""

    async def send(self, data: str | bytes) -> None:
        """A message, unless the client is gone."""

    async def close(self, code: int, reason: str) -> None:
        """Nothing more is said."""


@dataclass(frozen=True)
class Socket:
    """``path`` of a WebSocket, and who talks on it until it returns; what it has begun has ended then.

    ``patience``: seconds in which the first message has to come, with the ``late`` code and reason else.
    """

    path: str
    talk: Callable[[Line, Desk], Awaitable[None]]
    patience: float | None = None
    late: tuple[int, str] = (1008, "")


class Face(Protocol):
    """One other service."""

    name: str

    def endpoints(self) -> Sequence[Endpoint]:
        """All that it answers to."""

    # One with WebSockets has ``sockets()``, a sequence of `Socket`, besides.

    def problem(self, problem: Problem) -> Answer:
        """As its clients expect to be told."""
