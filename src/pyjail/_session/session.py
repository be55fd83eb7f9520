"""`Session`: one /box over several runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.shown import Shown
from pyjail._live import process as live_process
from pyjail._live import streams as live_streams
from pyjail._plan import image
from pyjail._result.result import Result
from pyjail._session import box, contents
from pyjail._session.snapshot import Content, Snapshot
from pyjail._session.turn import Claim, Claimed, SessionTurn
from pyjail._spec import commands
from pyjail._spec.jail import Jail, Limits, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack, overload

    from pyjail._session.artefacts import ArtefactCache
    from pyjail._session.build import Build
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


class Session(Claimed, Shown):
    """A jail whose /box stays from run to run: write sources, compile, run many tests, read what they left.

    Everything else of a run is new as always: processes, namespaces, /tmp, limits, verdicts. One program runs at a
    time; files may be written, read, listed and removed meanwhile, too.

    Args:
        jail: as in `run`; nothing of it may be mounted at /box.
        limits: of runs that name none; default `Limits()`.
        disk: bytes (or "256M") of /box over all runs together. Default 64 MiB.
        inodes: files and directories in /box. Default 4096.

    Attributes:
        results: the last 1,000 `Result`s of this session, in order, with at most 64 MiB of outputs together; then the
            oldest are forgotten.
        cpu_time: s, of all runs so far. memory_peak: bytes, of the one that had most.

    Use it in a ``with`` statement, or `close` it.

    >>> import pyjail
    >>> with pyjail.Session() as s:
    ...     s.write("hello.txt", "hello")
    ...     _ = s.run(["sh", "-c", "cat hello.txt > copy"])
    ...     s.read("copy"), s.list()
    (b'hello', ['copy', 'hello.txt'])
    """

    def __init__(
        self,
        jail: Jail | None = None,
        *,
        limits: Limits | None = None,
        disk: int | str | None = 64 << 20,
        inodes: int | None = 4096,
    ) -> None:
        if jail is None:
            jail = Jail()
        elif not isinstance(jail, Jail):
            raise SpecError("jail", jail, "a pyjail.Jail is needed")
        if any(f"{m.dst}/".startswith("/box/") for m in jail.mounts):
            raise SpecError("jail", jail, "something is mounted in /box, which is to be the session's own")
        if limits is not None and not isinstance(limits, Limits):
            raise SpecError("limits", limits, "a pyjail.Limits is needed")
        size = units.size("disk", disk)
        count = units.count("inodes", inodes, most=1 << 50)
        workspace = Mount("workspace", "/box", None, False, size, count)
        self._disk = size
        # Fresh keepers end with their run; this one is the session's own as it is.
        jail = image.pinned(jail)  # what an image's name comes to mean later is not this session's
        super().__init__(replace(jail, mounts=(*jail.mounts, workspace), fresh=False), limits or Limits())

    # ---- runs ----

    if TYPE_CHECKING:

        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, read_only: bool = False, **options: Unpack[AsText]
        ) -> Result[str]: ...
        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, read_only: bool = False, **options: Unpack[Encoded]
        ) -> Result[str]: ...
        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, read_only: bool = False, **options: Unpack[AsBytes]
        ) -> Result[bytes]: ...
        @overload
        def run(
            self, args: Args, limits: Limits | None = None, *, read_only: bool = False, **options: Unpack[Options]
        ) -> Result[Any]: ...

    def run(
        self,
        args: Args,
        limits: Limits | None = None,
        *,
        read_only: bool = False,
        **options: Unpack[Options],
    ) -> Result:
        """Run a program in this session's /box and wait for it. Parameters, result and errors as of `pyjail.run`.

        ``read_only``: this program can read /box and not change it. ``files`` replace files that are there.
        Raises SpecError while another program of this session runs, KeeperError when the session is closed or lost.
        """
        check, files = options.pop("check", False), options.pop("files", None)
        command = commands.make(args, limits or self.limits, self.jail, **options)._replace(read_only=read_only)
        claim = Claim()
        try:
            self._enter(claim, args)
            for path, data in (files or {}).items():
                self.write(path, data)
            result = SessionTurn(self, claim, command).run()
        finally:
            claim.over = True
            self._end_unfinished()
        if check:
            result.check_returncode()
        return result

    def start(
        self,
        args: Args,
        limits: Limits | None = None,
        *,
        pty: bool | tuple[int, int] = False,
        read_only: bool = False,
        **options: Unpack[Live],
    ) -> live_process.Process:
        """Start a program in this session's /box, with live streams, as `pyjail.start`; ``read_only`` and ``files`` as
        of `run`. Raises what `run` raises before a program starts."""
        streams, turn, process = live_streams.taken(options, pty), None, None
        try:
            turn = turn_of(self, args, limits, read_only, streams, options)
            turn.open()
            process = live_process.begin(turn, streams)
            return process
        finally:
            if process is None:
                streams.close()
                if turn is not None:
                    turn.claim.over = True
                self._end_unfinished()

    def steps(
        self, steps: Iterable[Mapping[str, Any]], *, stop: bool = False, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        """Run commands one after the other: [{command, timeout, stdin}] -> [{stdout, stderr, exit_code, ...}].

        Each step is a mapping with ``command`` (a sequence, or a str for ``sh -c``), and, if wanted, ``timeout``
        (s of wall time), ``stdin`` (str or bytes), ``env``, ``cwd``, ``read_only``. A step that fails does not stop
        the next ones unless ``stop``. Each answer has stdout and stderr as str (undecodable bytes replaced), exit_code
        (None when a signal or a limit ended it; 127 or 126 when the command was not found or not executable), verdict,
        and the whole result. SpecError for a step that makes no sense, before any is run.

        >>> import pyjail
        >>> with pyjail.Session() as s:
        ...     done = s.steps([{"command": "echo x > y; false"}, {"command": ["cat", "y"]}])
        >>> [(d["exit_code"], d["stdout"]) for d in done]
        [(1, ''), (0, 'x\\n')]
        """
        from pyjail._session.steps import run_steps

        return run_steps(self, steps, stop, limits or self.limits)

    def build(
        self,
        args: Sequence[str | bytes | os.PathLike[str]],
        outputs: Sequence[str] = (),
        *,
        cache: ArtefactCache | None = None,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        tools: Sequence[str] = (),
        timeout: float | str | None = None,
    ) -> Build:
        """Run a command for what it makes in /box, or take that from ``cache`` when the same was made before.

        Args:
            args, limits, env, cwd, timeout: as of `run`.
            outputs: paths or patterns (as of ``collect=``) of the regular files that it makes.
            cache: an `ArtefactCache`; None: always run.
            tools: more programs that it uses, by name or path inside: another version of one makes another key.

        The key is of all files in /box, command, env, cwd, the jail, and the size and time of the program and of
        ``tools``; where the root has been written to, nothing is looked up or kept.
        On a hit the outputs are written into /box and nothing runs. Kept is what a run with verdict OK
        made when each of ``outputs`` is there. Returns a `Build`. Raises what `run`, `write` and `snapshot` raise.

        >>> import pyjail
        >>> with pyjail.Session() as s:
        ...     s.build(["sh", "-c", "echo made > out"], ("out",)).cached
        False
        """
        from pyjail._session.build import build

        def put(path: str, mode: int, content: Content) -> None:
            contents.put_content(self._ready(), path, mode, content)

        return build(self, put, self._disk, args, outputs, cache, limits, env, cwd, tools, timeout)

    @property
    def cpu_time(self) -> float:
        """s of CPU time of all runs so far."""
        return self._history.cpu_time

    @property
    def memory_peak(self) -> int | None:
        """bytes: the highest peak of a run so far; None when no run has told one."""
        return self._history.memory_peak

    # ---- the root ----

    def root_changes(self) -> list[RootChange]:
        """How the root differs from its image now, by path, with ``Jail(writable_root=)``. Not while a program runs.

        /box, /tmp, /dev and /proc are not of it, nor is what is mounted elsewhere. Raises SpecError where the root is
        read-only, OSError for more than a million entries, 64 MiB of names, or paths longer than 4,000 bytes.
        """
        from pyjail._session.changes import changes

        return self._alone("root_changes", changes)

    def commit(self, name: str, **how: Unpack[How]) -> Image:
        """Make an image of what the root is now: the image that it began as, and a layer of what was changed.

        Args:
            name: of the image in the store. What had it before loses it.
            env: variables, besides those of the image, for runs of it. cmd, entrypoint: words of its own command; an
                empty list takes the image's away. working_dir: absolute. user: a name or a number. Each by default as
                the image has it.
            bounds: how large it may be (`images.Bounds`). max_size: bytes (or "20G") on disk that all trees may take.

        Not while a program runs. /box, /tmp and mounts are not of it; FIFOs and sockets are left out; modes and owners
        become what those of any image become (docs/images.md). Digest and id are the same for the same changes, times
        of files included; where nothing was changed the tree is the image's. Returns the `images.Image`. Raises
        SpecError where there is no such root, or no image below it; ImageError for what no image can be; HostError;
        OSError as of `root_changes`.
        """
        from pyjail._session.commit import commit

        return self._alone("commit", lambda keeper: commit(keeper, name, how))

    # ---- files ----

    def write(self, path: str | os.PathLike[str], data: Any, mode: int = 0o644) -> None:
        """Write a file below /box as the jail's user, over one that is there: bytes, str, PathLike (a copy) or `File`.

        Directories on the way are made. Raises SpecError, PermissionError where its modes do not let the jail's user
        (an old file of mode 0444, too), OSError (ENOSPC: the session's disk or inodes are used up; no file of this name
        is there then, neither the old one nor a part of the new).
        """
        box.write(self._ready(), path, data, mode)

    def read(self, path: str | os.PathLike[str], limit: int | str | None = 64 << 20) -> bytes:
        """A regular file's content, read as the jail's user; no symlink is followed.

        Raises SpecError when it is longer than ``limit`` bytes, OSError when it is not there, no file, or may not be
        read (PermissionError).
        """
        return box.read(self._ready(), path, limit)

    def list(self, pattern: str = "**") -> list[str]:
        """Paths of files and directories below /box that match a pattern (``**`` recurses), sorted.

        What is in a directory that the jail's user may not read, or deeper than 4,000 bytes of path, has no name here.
        Raises OSError for more than 100,000 entries.
        """
        return box.names(self._ready(), pattern)

    def remove(self, path: str | os.PathLike[str], *, recursive: bool = False) -> None:
        """Remove a file, or a directory (with all that is in it when ``recursive``). Raises OSError."""
        box.remove(self._ready(), box.place(path), recursive)

    def clear(self) -> None:
        """Empty /box, whatever is in it. Not while a program runs."""
        self._alone("clear", contents.clear)

    def snapshot(self) -> Snapshot:
        """All that is in /box now, whatever its modes say, to be put back by `restore` as often as needed. Not while a
        program runs. Raises OSError for more than 100,000 entries."""
        return self._alone("snapshot", lambda keeper: contents.snapshot(keeper, self._disk))

    def restore(self, snapshot: Snapshot) -> None:
        """Make /box what it was, whatever is in it now. Not while a program runs."""
        if not isinstance(snapshot, Snapshot):
            raise SpecError("snapshot", snapshot, "what Session.snapshot returned is needed")
        self._alone("restore", lambda keeper: contents.restore(keeper, snapshot))

    def close(self) -> None:
        """End what runs, and the session with its /box. May be called twice."""
        self._end("this session is closed")

    def to_dict(self) -> dict[str, Any]:
        """What stands, in types that `json.dumps` takes: a "session" of docs/data.md. /box is `snapshot`'s to tell."""
        from pyjail._base.plain import head, plain

        told = {name: plain(value) for name, value in self._table()}
        results = [result.to_dict() for result in self.results]
        return {**head("session"), "closed": self._closed, **told, "results": results}

    def _state(self) -> str:
        return "closed" if self._closed else "running" if self._is_running() else "idle"

    def _table(self) -> Iterator[tuple[str, Any]]:
        yield "state", self._state()
        yield "runs", self._history.forgotten + len(self.results)
        for name in ("jail", "limits"):
            yield name, getattr(self, name)
        yield "disk", self._disk
        yield "inodes", self.jail.mounts[-1].inodes
        for name in ("cpu_time", "memory_peak"):
            yield name, getattr(self, name)
        yield "results", tuple(self.results)

    def _words(self) -> Iterator[str]:
        runs = self._history.forgotten + len(self.results)
        yield f"of {units.show_size(self._disk)}"
        yield f"{runs} runs: {self._closed or self._state()}"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def turn_of(
    session: Session, args: Any, limits: Limits | None, read_only: bool, streams: live_streams.Streams, options: Any
) -> SessionTurn:
    """What `Session.start` begins with these arguments: nobody else's program runs then until it is over."""
    claim, files = Claim(), options.pop("files", None)
    try:
        session._enter(claim, args)
        command = streams.command(args, limits or session.limits, session.jail, options)
        turn = SessionTurn(session, claim, command._replace(read_only=read_only))
    except BaseException:
        claim.over = True
        raise
    turn.writes = [partial(session.write, path, data) for path, data in (files or {}).items()]
    return turn
