"""`pyjail.aio.Box`: a `pyjail.Box` whose programs are watched by the event loop, each by its own socket."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pyjail._base.errors import KeeperError, SpecError
from pyjail._base.gate import Place
from pyjail._base.loops import current
from pyjail._base.rare_errors import PoolClosedError
from pyjail._box.box import Box as Sync
from pyjail._box.box import command_of, life_of, turn_of
from pyjail._box.keeper import Slot
from pyjail._box.turn import HINT, BoxTurn, admitted
from pyjail._live import streams as live_streams
from pyjail._live import used
from pyjail._many.warm import Source
from pyjail._result.result import Result
from pyjail._result.usage import Receipt
from pyjail._spec.commands import Command
from pyjail._spec.jail import Jail, Limits
from pyjail.aio._flight import Flight, in_thread
from pyjail.aio._process import AsyncProcess
from pyjail.aio._start import started
from pyjail.aio._twin import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Unpack, overload

    from pyjail._box.box import Orphans
    from pyjail._box.processes import BoxProcess
    from pyjail._result.contact import Contacts
    from pyjail._session.changes import RootChange
    from pyjail._session.commit import Image
    from pyjail._session.snapshot import Snapshot
    from pyjail._spec.parameters import (
        Args,
        AsBytes,
        AsText,
        Encoded,
        Live,
        Options,
    )


class _Slots(Source):
    """The places and slots of a box."""

    def __init__(self, box: Sync) -> None:
        self.life = life = life_of(box)
        super().__init__(life.gate, life.slots, None, HINT)

    def turn(self, command: Command, deadline: float | None) -> BoxTurn:
        return BoxTurn(command, self.life, deadline)

    def fitted(self, command: Command, place: Place) -> Command:
        admitted(place, command, self.life)
        return command


class LiveInBox(AsyncProcess):
    """One in a box, which has leaves of others beside its own."""

    def _leaves(self) -> list[str]:
        slot = self._turn.keeper
        leaf = slot.leaf if isinstance(slot, Slot) else None
        if not isinstance(slot, Slot) or not leaf:
            return []
        homes = slot.box.cgroup.boxes
        return used.beside(f"{homes[0]}/r{leaf}", homes)


class Box:
    """`pyjail.Box` for event loops: the same parameters, its methods awaitable. No thread waits for a program.

    A task that is cancelled in `run` ends that program, and no other, and is cancelled when it is gone; the box lives
    on. In any other method it is cancelled when that is done.

    Args, Attributes, Raises:
        Those of `pyjail.Box`.

    >>> import asyncio, pyjail
    >>> async def main():
    ...     async with pyjail.aio.Box() as box:
    ...         await box.write("a", "hello")
    ...         results = await asyncio.gather(*(box.run(["cat", "a"]) for _ in range(3)))
    ...         return [r.stdout for r in results]
    >>> asyncio.run(main())
    [b'hello', b'hello', b'hello']
    """

    def __init__(
        self,
        jail: Jail | None = None,
        limits: Limits | None = None,
        *,
        disk: int | str | None = "256M",
        inodes: int | None = 65536,
        writable: Sequence[str] = ("/tmp", "/var/tmp", "/home"),
        concurrency: int = 16,
        idle_timeout: float | str | None = None,
    ) -> None:
        self._sync = Sync(
            jail, limits, disk=disk, inodes=inodes, writable=writable, concurrency=concurrency,
            idle_timeout=idle_timeout,
        )  # fmt: skip
        self._source = _Slots(self._sync)

    @classmethod
    def of(cls, box: Sync) -> Box:
        """The awaitable door to a box that has the other one: both are of the same box, and close it.

        >>> import asyncio, pyjail
        >>> with pyjail.Box() as box:
        ...     asyncio.run(pyjail.aio.Box.of(box).run(["echo", "x"])).stdout
        b'x\\n'
        """
        if not isinstance(box, Sync):
            raise SpecError("box", box, "a pyjail.Box is needed")
        made = cls.__new__(cls)
        made._sync, made._source = box, _Slots(box)
        return made

    if TYPE_CHECKING:

        @overload
        async def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[AsText]
        ) -> Result[str]: ...
        @overload
        async def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[Encoded]
        ) -> Result[str]: ...
        @overload
        async def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[AsBytes]
        ) -> Result[bytes]: ...
        @overload
        async def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[Options]
        ) -> Result[Any]: ...

    async def run(
        self,
        args: Args,
        limits: Limits | None = None,
        *,
        orphans: Orphans = "kill",
        **options: Unpack[Options],
    ) -> Result:
        """As `pyjail.Box.run`. Cancelling it kills this program, and is raised when it is gone."""
        check = options.pop("check", False)
        command = command_of(self._sync, args, limits, orphans, options)
        life_of(self._sync).check()
        try:
            return await Flight(command, self._source).result(check)
        except PoolClosedError as e:  # it was closed while this one waited
            raise KeeperError(str(e)) from None

    async def start(
        self,
        args: Args,
        limits: Limits | None = None,
        *,
        orphans: Orphans = "kill",
        pty: bool | tuple[int, int] = False,
        **options: Unpack[Live],
    ) -> AsyncProcess:
        """As `pyjail.Box.start`: an `AsyncProcess`, as of `pyjail.aio.start`."""
        streams = live_streams.taken(options, pty)
        return await started(streams, lambda: turn_of(self._sync, args, limits, orphans, streams, options), LiveInBox)

    if TYPE_CHECKING:
        write: Callable[..., Coroutine[Any, Any, None]]
        read: Callable[..., Coroutine[Any, Any, bytes]]
        list: Callable[..., Coroutine[Any, Any, Sequence[str]]]
        remove: Callable[..., Coroutine[Any, Any, None]]
        copy_in: Callable[..., Coroutine[Any, Any, None]]
        copy_out: Callable[..., Coroutine[Any, Any, dict[str, str]]]
        snapshot: Callable[[], Coroutine[Any, Any, Snapshot]]
        restore: Callable[[Snapshot], Coroutine[Any, Any, None]]
        processes: Callable[[], Coroutine[Any, Any, Sequence[BoxProcess]]]
        commit: Callable[..., Coroutine[Any, Any, Image]]
        root_changes: Callable[[], Coroutine[Any, Any, Sequence[RootChange]]]
        kill: Callable[[], Coroutine[Any, Any, None]]
        close: Callable[[], Coroutine[Any, Any, None]]
    else:
        write = Method(Sync.write)
        read = Method(Sync.read)
        list = Method(Sync.list)
        remove = Method(Sync.remove)
        copy_in = Method(Sync.copy_in)
        copy_out = Method(Sync.copy_out)
        snapshot = Method(Sync.snapshot)
        restore = Method(Sync.restore)
        processes = Method(Sync.processes)
        commit = Method(Sync.commit)
        root_changes = Method(Sync.root_changes)
        kill = Method(Sync.kill)
        close = Method(Sync.close, anyway=True)

    @property
    def jail(self) -> Jail:
        """What is around its programs."""
        return self._sync.jail

    @property
    def limits(self) -> Limits:
        """Of the whole, and of each program that is given none."""
        return self._sync.limits

    @property
    def results(self) -> Any:
        """The last results, in the order of their ends."""
        return self._sync.results

    @property
    def cpu_time(self) -> float:
        """s of CPU time of all programs that have ended."""
        return self._sync.cpu_time

    @property
    def memory_peak(self) -> int | None:
        """bytes: the highest peak of one program so far; None when no program has told one."""
        return self._sync.memory_peak

    @property
    def egress(self) -> Contacts | None:
        """As `pyjail.Box.egress`: the loop waits for the proxy's answer, as a rule some tenths of a millisecond."""
        return self._sync.egress

    @property
    def receipt(self) -> Receipt:
        """As `pyjail.Box.receipt`: a box that has not been used is made, in which the loop waits some milliseconds."""
        return self._sync.receipt

    def to_dict(self) -> dict[str, Any]:
        """What stands, in types that `json.dumps` takes, as `pyjail.Box.to_dict` has it."""
        return self._sync.to_dict()

    def _repr_html_(self) -> str:
        return self._sync._repr_html_()

    def __repr__(self) -> str:
        return f"aio.{self._sync!r}"

    async def __aenter__(self) -> Box:
        loop = current()
        await in_thread(loop, life_of(self._sync).ready)
        try:
            loop.checkpoint()
        except BaseException:
            await in_thread(loop, self._sync.close)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
