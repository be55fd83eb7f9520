"""`pyjail.aio.Session`: a `pyjail.Session` whose methods are awaited."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from pyjail._live import streams as live_streams
from pyjail._result.result import Result
from pyjail._session.session import Session as Sync
from pyjail._session.session import turn_of
from pyjail._spec.jail import Jail, Limits
from pyjail.aio._process import AsyncProcess, SessionProcess
from pyjail.aio._start import started
from pyjail.aio._twin import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Unpack

    from pyjail._session.changes import RootChange
    from pyjail._session.commit import Image
    from pyjail._spec.parameters import Args, Live

    Awaited = Callable[..., Coroutine[Any, Any, Any]]


def _hang_up(session: Sync, *args: Any, **kwargs: Any) -> None:
    session.hang_up()


class Session:
    """`pyjail.Session` for event loops: the same parameters, its methods awaitable.

    A task that is cancelled in `run`, `steps` or `build` ends the program, and the session is lost with its /box, as
    when a `pyjail.Session` is interrupted; in any other method it is cancelled when that is done.

    Args, Attributes, Raises:
        Those of `pyjail.Session`. A thread waits for the end of what `start` has started: the keeper of a session has
        one socket, for file requests, too, so no event loop can wait for it.

    >>> import asyncio, pyjail
    >>> async def main():
    ...     async with pyjail.aio.Session() as s:
    ...         await s.write("a", "hello")
    ...         await s.run(["sh", "-c", "cat a a > b"])
    ...         return await s.read("b")
    >>> asyncio.run(main())
    b'hellohello'
    """

    def __init__(
        self,
        jail: Jail | None = None,
        *,
        limits: Limits | None = None,
        disk: int | str | None = 64 << 20,
        inodes: int | None = 4096,
    ) -> None:
        self._sync = Sync(jail, limits=limits, disk=disk, inodes=inodes)

    if TYPE_CHECKING:
        run: Callable[..., Coroutine[Any, Any, Result]]
        steps: Awaited
        build: Awaited
        write: Awaited
        read: Callable[..., Coroutine[Any, Any, bytes]]
        list: Awaited
        remove: Awaited
        clear: Awaited
        snapshot: Awaited
        restore: Awaited
        commit: Callable[..., Coroutine[Any, Any, Image]]
        root_changes: Callable[[], Coroutine[Any, Any, Sequence[RootChange]]]
        close: Callable[[], Coroutine[Any, Any, None]]
    else:
        run = Method(Sync.run, _hang_up)
        steps = Method(Sync.steps, _hang_up)
        build = Method(Sync.build, _hang_up)
        write = Method(Sync.write)
        read = Method(Sync.read)
        list = Method(Sync.list)
        remove = Method(Sync.remove)
        clear = Method(Sync.clear)
        snapshot = Method(Sync.snapshot)
        restore = Method(Sync.restore)
        commit = Method(Sync.commit)
        root_changes = Method(Sync.root_changes)
        close = Method(Sync.close, anyway=True)

    async def start(
        self,
        args: Args,
        limits: Limits | None = None,
        *,
        pty: bool | tuple[int, int] = False,
        read_only: bool = False,
        **options: Unpack[Live],
    ) -> AsyncProcess:
        """As `pyjail.Session.start`: an `AsyncProcess`, as of `pyjail.aio.start`. Leaving its block by a cancellation
        ends that program; the session stays."""
        streams = live_streams.taken(options, pty)
        return await started(
            streams, lambda: turn_of(self._sync, args, limits, read_only, streams, options), SessionProcess
        )

    @property
    def results(self) -> Any:
        """Every `Result` of this session, in order."""
        return self._sync.results

    @property
    def cpu_time(self) -> float:
        """CPU time of all runs so far, in s."""
        return self._sync.cpu_time

    @property
    def memory_peak(self) -> int | None:
        """The highest memory of a run so far, in bytes."""
        return self._sync.memory_peak

    def to_dict(self) -> dict[str, Any]:
        """What stands, in types that `json.dumps` takes, as `pyjail.Session.to_dict` has it."""
        return self._sync.to_dict()

    def _repr_html_(self) -> str:
        return self._sync._repr_html_()

    def __repr__(self) -> str:
        return f"aio.{self._sync!r}"

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
