"""`Box`: a jail that stays, and any number of programs in it at once."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.records import replace
from pyjail._base.shown import Shown
from pyjail._box import copies, files, processes, whole
from pyjail._box.jail import WRITABLE, made
from pyjail._box.life import Life
from pyjail._box.turn import BoxTurn, execute
from pyjail._live import process as live_process
from pyjail._live import streams as live_streams
from pyjail._result.result import Result
from pyjail._result.usage import Receipt
from pyjail._session.snapshot import Snapshot
from pyjail._spec import commands
from pyjail._spec.commands import Command
from pyjail._spec.jail import Jail, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, Unpack, overload

    from pyjail._result.contact import Contacts
    from pyjail._session.changes import RootChange
    from pyjail._session.commit import How, Image
    from pyjail._spec.parameters import (
        Args,
        AsBytes,
        AsText,
        Encoded,
        Live,
        Options,
    )

    Orphans = Literal["kill", "keep"]

MOST_AT_ONCE = 200


class Box(Shown):
    """A jail that stays: several programs at once in one place, with /box, /tmp, /var/tmp and /home kept, a server in
    the background still there for the next command, files read and written as the jail's user.

    Every program has limits, verdict, usage and receipt of its own, and the box has limits that hold for all of them
    together. They share pids, /dev/shm, SysV objects and, with ``network="loopback"``, ports; they may signal each
    other: the programs of a box are one tenant. Who judges programs that must not see each other keeps a jail for each.

    The box is made when it is first used. Any number of threads may use it. In a forked child it is the parent's.

    Args:
        jail: as in `run`; nothing of it may be mounted in the writable places. Default `Jail()`.
        limits: ``memory``, ``processes`` and ``cpus`` are of the whole box. All of it is what each program gets that
            is not given limits of its own; ``disk`` and ``inodes`` are those below. Default `Limits()`.
        disk: bytes (or "256M") of all writable places together. inodes: files and directories in them.
        writable: directories, besides /box and /dev/shm, that programs may write to and that stay. They begin empty.
        concurrency: how many programs of `run` there may be at once, 1 to 200; one more waits for its turn.
        idle_timeout: s without a program or a file request after which the box closes itself; what was kept in the
            background does not count as use. Default None: never.

    Attributes:
        jail, limits: what its programs get. results: the last 1,000 `Result`s, with at most 64 MiB of outputs.
        cpu_time: s, of all programs so far. memory_peak: bytes, of the one that had most.
        egress: `Contacts` of all programs so far, with ``Jail(network=Egress(...))``; the results' own are None.

    Raises:
        SpecError: an argument makes no sense. The first use: HostError where the box cannot be held, whatever
        ``jail.strict`` says (it needs cgroups with the pids controller); SetupError, KeeperError. From then on
        KeeperError when it is closed, or lost because its keeper was killed.

    >>> import pyjail
    >>> with pyjail.Box() as box:
    ...     box.write("hello.txt", "hello")
    ...     _ = box.run(["sh", "-c", "cat hello.txt > /tmp/copy"])
    ...     box.run(["cat", "/tmp/copy"]).stdout, box.read("/tmp/copy")
    (b'hello', b'hello')
    """

    def __init__(
        self,
        jail: Jail | None = None,
        limits: Limits | None = None,
        *,
        disk: int | str | None = "256M",
        inodes: int | None = 65536,
        writable: Sequence[str] = WRITABLE,
        concurrency: int = 16,
        idle_timeout: float | str | None = None,
    ) -> None:
        self._disk = units.size("disk", disk)
        self._inodes = units.count("inodes", inodes, most=1 << 50)
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= MOST_AT_ONCE:
            raise SpecError("concurrency", concurrency, f"a number of programs from 1 to {MOST_AT_ONCE} is needed")
        first = commands.make(["true"], limits, jail)
        own = made(first.jail, self._disk, self._inodes, writable)
        self._life = Life(own, self._fit(first.limits), concurrency, units.seconds("idle_timeout", idle_timeout))
        weakref.finalize(self, self._life.forgotten).atexit = False  # then all keepers end anyway

    def _fit(self, limits: Any) -> Limits:
        """The disk is the box's, whatever a program is given."""
        if not isinstance(limits, Limits):
            raise SpecError("limits", limits, "a pyjail.Limits is needed")
        return _fitted(limits, self._disk, self._inodes)

    @property
    def jail(self) -> Jail:
        """What is around its programs."""
        return self._life.jail

    @property
    def limits(self) -> Limits:
        """Of the whole, and of each program that is given none."""
        return self._life.limits

    # ---- programs ----

    if TYPE_CHECKING:

        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[AsText]
        ) -> Result[str]: ...
        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[Encoded]
        ) -> Result[str]: ...
        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[AsBytes]
        ) -> Result[bytes]: ...
        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, orphans: Orphans = "kill", **options: Unpack[Options]
        ) -> Result[Any]: ...

    def run(
        self,
        args: Args,
        limits: Limits | None = None,
        *,
        orphans: Orphans = "kill",
        **options: Unpack[Options],
    ) -> Result:
        """Run a program in this box and wait for it. Parameters, result and errors as of `pyjail.run`.

        Args:
            limits: of this program. Those of the box hold besides. Default: the box's.
            orphans: "keep": what it started and left behind lives on, and is told by `processes`; "kill", the default:
                it ends with the program.
            files: replace files that are there. timeout: from the call on, the wait for a place among them.

        Raises:
            KeeperError: the box is closed or lost. PoolExhaustedError (a TimeoutExpired): no place within the timeout.
        """
        check = options.pop("check", False)
        result = execute(command_of(self, args, limits, orphans, options), self._life)
        if check:
            result.check_returncode()
        return result

    def start(
        self,
        args: Args,
        limits: Limits | None = None,
        *,
        orphans: Orphans = "kill",
        pty: bool | tuple[int, int] = False,
        **options: Unpack[Live],
    ) -> live_process.Process:
        """Start a program in this box, with live streams or a terminal of its own: parameters, result and errors as of
        `pyjail.start`. It waits for no place: programs that wait for each other must all run."""
        streams = live_streams.taken(options, pty)
        try:
            return live_process.launch(turn_of(self, args, limits, orphans, streams, options), streams)
        except BaseException:
            streams.close()
            raise

    def processes(self) -> list[processes.BoxProcess]:
        """All processes that live in it now, the oldest first: those of programs that run, and those that were kept."""
        self._life.check()
        return processes.told(self._life)

    def kill(self) -> None:
        """End all programs now, those in the background, too; the box and its files stay. Whoever waits for one of
        them gets its `Result`."""
        self._life.check()
        processes.end_all(self._life)

    @property
    def results(self) -> list[Result]:
        """The last results, in the order of their ends."""
        return self._life.history.results

    @property
    def cpu_time(self) -> float:
        """s of CPU time of all programs that have ended."""
        return self._life.history.cpu_time

    @property
    def memory_peak(self) -> int | None:
        """bytes: the highest peak of one program so far; None when no program has told one."""
        return self._life.history.memory_peak

    @property
    def egress(self) -> Contacts | None:
        """What came of the connections of all its programs so far, those that are open with ``why`` "open"; None where
        the jail has no `Egress`. Its bounds are of the whole box. A closed box tells what it came to."""
        return self._life.contacts()

    @property
    def receipt(self) -> Receipt:
        """What holds the box as a whole, a row for each control, as the kernel says now. (Each `Result` has the receipt
        of its program.) It is made if it has not been used."""
        return whole.receipt(self._life)

    # ---- the root ----

    def root_changes(self) -> list[RootChange]:
        """How the root differs from its image now, by path, with ``Jail(writable_root=)``. Programs may run meanwhile.

        The places that a box keeps are not of it, nor are /dev and /proc. Raises what `Session.root_changes` does.
        """
        from pyjail._session.changes import changes

        return self._life.asked(changes)

    def commit(self, name: str, **how: Unpack[How]) -> Image:
        """As `Session.commit`. Besides, SpecError while a program runs, one in the background, too: `kill` first."""
        from pyjail._session.commit import commit

        with self._life.stillness(lambda: processes.living(self._life), "commit"):
            return self._life.asked(lambda keeper: commit(keeper, name, how))

    # ---- files ----

    def write(self, path: str | os.PathLike[str], data: Any, mode: int = 0o644) -> None:
        """Write a file as the jail's user: bytes or str. A relative path is one below /box.

        Directories on the way are made. A file that is there is written over in place, and keeps its mode. Raises
        PermissionError, IsADirectoryError, OSError (ENOSPC: disk or inodes are used up; no file of this name is there
        then), SpecError.
        """
        files.write(self._life, path, data, mode)

    def read(self, path: str | os.PathLike[str], limit: int | str | None = 64 << 20) -> bytes:
        """A regular file's content, read as the jail's user; symlinks are followed as a program in the box would.

        Raises FileNotFoundError, IsADirectoryError, PermissionError (in /proc, too: that one is for programs), OSError
        for what is no file; SpecError when it is longer than ``limit`` bytes.
        """
        return files.read(self._life, path, limit)

    def list(self, pattern: str = "**", root: str | os.PathLike[str] = "/box") -> list[str]:
        """Paths, below ``root``, of the files and directories that match a pattern (``**`` recurses), sorted.

        What is in a directory that the jail's user may not read, or that something else is mounted on, has no name
        here. Raises OSError for more than 100,000 entries, and when ``root`` is no directory that can be read.
        """
        return files.names(self._life, pattern, root)

    def remove(self, path: str | os.PathLike[str], *, recursive: bool = False) -> None:
        """Remove a file, a link, or a directory (with all that is in it when ``recursive``). Raises OSError."""
        files.remove(self._life, path, recursive)

    def copy_in(self, src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
        """Copy a file or a directory of the host, with all that is in it, to this path inside, as the jail's user.

        Files keep their permission bits, symlinks stay symlinks: none is followed below ``src``. What is at ``dst`` is
        written over, a directory is added to. Raises SpecError for a ``src`` that cannot be read, and what `write`
        raises.
        """
        copies.copy_in(self._life, src, dst)

    def copy_out(self, src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> dict[str, str]:
        """Copy a file or a directory of the box, with all that is in it, to this path of the host.

        It is read as the jail's user. Nothing is written outside of ``dst``, whatever a program made there: names are
        taken one by one, symlinks stay symlinks (do not follow them: a program chose where they lead), and none is
        followed on the way. Files are ours, with their permission bits; one of several names is one file with these
        names again. What is at ``dst`` is replaced, a directory is added to.

        Returns {path below ``src``: why} of what was not copied: FIFOs, sockets, what the user may not read, what is
        too large for a file of the host's.
        """
        return copies.copy_out(self._life, self._disk, src, dst)

    def snapshot(self) -> Snapshot:
        """All that is in /box and the other writable places now, whatever its modes say, under absolute paths, to be
        put back by `restore` as often as needed. (/dev/shm is not in it.) Programs may run meanwhile; then it holds of
        each file what was there when it was read. Raises OSError for more than 100,000 entries in one place."""
        return files.snapshot(self._life, self._disk)

    def restore(self, snapshot: Snapshot) -> None:
        """Make the writable places what they were, whatever is in them now.

        Raises SpecError while a program runs, one in the background, too (`kill` first), and for what is no snapshot
        of such a box.
        """
        if not isinstance(snapshot, Snapshot):
            raise SpecError("snapshot", snapshot, "what Box.snapshot returned is needed")
        with self._life.stillness(lambda: processes.living(self._life)):
            files.restore(self._life, snapshot)

    # ---- the whole ----

    def close(self) -> None:
        """End all that runs, and the box with its files. May be called twice."""
        self._life.end("this box is closed")

    def to_dict(self) -> dict[str, Any]:
        """What stands, in types that `json.dumps` takes: a "box" of docs/data.md. Files are `snapshot`'s to tell."""
        from pyjail._base.plain import head, plain

        told = {name: plain(value) for name, value in self._table()}
        results = [result.to_dict() for result in self.results]
        return {**head("box"), "closed": self._life.closed, **told, "results": results}

    def _state(self) -> str:
        life = self._life
        return "closed" if life.closed else "running" if life.slots.leased else "idle" if life.keeper else "new"

    def _table(self) -> Iterator[tuple[str, Any]]:
        yield "state", self._state()
        yield "runs", self._life.history.forgotten + len(self.results)
        for name in ("jail", "limits"):
            yield name, getattr(self, name)
        yield "disk", self._disk
        yield "inodes", self._inodes
        for name in ("cpu_time", "memory_peak", "egress"):
            yield name, getattr(self, name)
        yield "results", tuple(self.results)

    def _words(self) -> Iterator[str]:
        yield f"of {units.show_size(self._disk)}"
        yield f"{self._life.history.forgotten + len(self.results)} runs: {self._life.closed or self._state()}"

    def __enter__(self) -> Box:
        self._life.ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


@functools.lru_cache(maxsize=256)
def _fitted(limits: Limits, disk: int | None, inodes: int | None) -> Limits:
    """The same for the same: plans are kept by identity."""
    return replace(limits, disk=disk, inodes=inodes)


def life_of(box: Box) -> Life:
    """For `pyjail.aio`, which waits for its programs in another way."""
    return box._life


def command_of(box: Box, args: Any, limits: Limits | None, orphans: str, options: Any) -> Command:
    """What `Box.run` runs with these arguments."""
    given = box.limits if limits is None else box._fit(limits)
    return _left(commands.make(args, given, box.jail, **options), orphans)


def turn_of(
    box: Box, args: Any, limits: Limits | None, orphans: str, streams: live_streams.Streams, options: Any
) -> BoxTurn:
    """What `Box.start` begins with these arguments. KeeperError: the box is closed or lost."""
    given = box.limits if limits is None else box._fit(limits)
    command = streams.command(args, given, box.jail, options)
    box._life.check()
    return BoxTurn(_left(command, orphans), box._life, box=box)


def _left(command: Command, orphans: Any) -> Command:
    if orphans not in ("kill", "keep"):
        raise SpecError("orphans", orphans, 'what a program leaves behind: "kill" or "keep" is needed')
    return command._replace(keep=True) if orphans == "keep" else command
