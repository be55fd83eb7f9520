"""`SimpleBox`: a box to run commands in."""

from __future__ import annotations

import inspect
import os
from types import TracebackType
from typing import Any, Self

from pyjail import aio
from pyjail.boxlite._box import Box, NetworkHandle
from pyjail.boxlite._errors import InvalidStateError, StoppedError
from pyjail.boxlite._info import BoxInfo, BoxMetrics
from pyjail.boxlite._options import WORDS, BoxOptions, CopyOptions, unexpected
from pyjail.boxlite._results import ExecResult
from pyjail.boxlite._runtime import Boxlite
from pyjail.boxlite._snapshots import SnapshotHandle


class SimpleBox:
    """A box to run commands in: a jail that stays, made by ``async with`` or `start`, gone when that is left.

    Its programs are one tenant, unknown to the host and to other boxes; it has no network and nothing of the host but
    what its image stands for, read-only. A shared kernel is not a micro-VM: see the module.

    Args:
        image: a name such as "python:3.12-slim"; what it stands for here says the module.
        rootfs_path: a directory that is the root instead.
        memory_mib, memory_mb: MiB of memory of the whole box, all programs and files. Default 512.
        cpus: cores of the whole box, also a part of one. Default 1.
        runtime: a `Boxlite`; default `Boxlite.default`.
        name: unique among the boxes of the runtime. Default none.
        auto_remove: False: when it is stopped its files are kept under its name, for ``reuse_existing=True``.
        reuse_existing: go on with the box of this name, if there is one.
        timeout_seconds: s that each program may take, and the box from its start; None: no limit. Not given: each
            program has 30, the box no limit.
        kwargs: the other words of `BoxOptions`.

    Raises:
        InvalidArgumentError (a ValueError): a value makes no sense, or there is no image. TypeError: an unknown
        keyword, with the nearest one. UnsupportedError: what a jail cannot have. Entering it: NotFoundError, no such
        image; UnsupportedError, a limit cannot be kept on this machine (the fix is in the text); AlreadyExistsError.

    >>> import asyncio
    >>> async def main():
    ...     async with SimpleBox(image="python:slim", memory_mb=256, timeout_seconds=30) as box:
    ...         result = await box.exec("python", "-c", "print(6 * 7)")
    ...         return result.exit_code, result.stdout
    >>> asyncio.run(main())
    (0, '42\\n')
    """

    def __init__(
        self,
        image: str | None = None,
        rootfs_path: str | os.PathLike[str] | None = None,
        memory_mib: int | None = None,
        cpus: float | None = None,
        runtime: Boxlite | None = None,
        name: str | None = None,
        auto_remove: bool = True,
        reuse_existing: bool = False,
        **kwargs: Any,
    ) -> None:
        for word in kwargs:
            if word not in WORDS:
                raise unexpected(type(self).__name__, word, {*WORDS, *_words(type(self))})
        rootfs = None if rootfs_path is None else os.fspath(rootfs_path)
        self._options = BoxOptions(image, rootfs, cpus=cpus, memory_mib=memory_mib, auto_remove=auto_remove, **kwargs)
        self._runtime = Boxlite.default() if runtime is None else runtime
        self._name, self._reuse = name, reuse_existing
        self._box: Box | None = None
        self._created: bool | None = None

    async def start(self) -> Self:
        """Make the box, as ``async with`` does; nothing when it runs. Whoever calls this has to `stop` it."""
        if self._box is None:
            if self._reuse:
                box, created = await self._runtime.get_or_create(self._options, self._name)
            else:
                box, created = await self._runtime.create(self._options, self._name), True
            try:
                await box.start()
            except BaseException:
                if created:
                    await self._runtime.remove(box.id)
                raise
            self._box, self._created = box, created
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.shutdown()

    @property
    def box(self) -> Box:
        """The `Box` of the runtime. StoppedError, InvalidStateError (RuntimeErrors both): it does not run."""
        if self._box is None:
            if self._created is not None:
                raise StoppedError("this box was stopped")
            how = f"Use 'async with {type(self).__name__}(...) as box:' or call 'await box.start()' first."
            raise InvalidStateError(f"Box not started. {how}")
        return self._box

    @property
    def jail(self) -> aio.Box:
        """The `pyjail.aio.Box` that it is: files, processes, results."""
        return self.box.inner

    @property
    def id(self) -> str:
        """Its id, which no other box has."""
        return self.box.id

    @property
    def name(self) -> str | None:
        """Its name, or None."""
        return self._name

    @property
    def created(self) -> bool | None:
        """Whether it was new (True) or there before (False); None before it was started."""
        return self._created

    @property
    def snapshot(self) -> SnapshotHandle:
        """Its snapshots, by name."""
        return self.box.snapshot

    @property
    def network(self) -> NetworkHandle:
        """Its network, which nothing can be done with: UnsupportedError."""
        return self.box.network

    async def tunnel(self, port: int) -> Any:
        """UnsupportedError: a box has no port that can be reached."""
        return await self.network.tunnel(port)

    async def exec(
        self,
        cmd: str,
        *args: str,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        cwd: str | None = None,
    ) -> ExecResult:
        """Run a program and wait for its end. Several may run at once.

        Cancelling this (`asyncio.wait_for`) kills the program and all that it has started, and is raised when that is
        gone. What a program leaves in the background when it ends lives on, as long as the box does.

        Args:
            cmd: a program, looked up in PATH. args: its arguments; there is no shell but one that is called.
            env: more variables. user: None, or 1000. cwd: default the box's ``working_dir``, or /box.
            timeout: s that it may take. Default the box's ``timeout_seconds``.

        Returns:
            `ExecResult`: whatever the exit code is, negative for a signal.

        Raises:
            TimeoutError: it took too long. ResourceExhaustedError (ResourceError): it met the limit on memory or
            output. Either has been killed, and is in the error's ``result``. ExecutionError: it could not be executed.
            InternalError, EngineError: it is not the program's doing how this ended. UnsupportedError,
            InvalidArgumentError, StoppedError, InvalidStateError.
        """
        return await self.box.run([cmd, *args], env, user, timeout, cwd)

    async def copy_in(
        self,
        host_path: str | os.PathLike[str],
        container_dest: str,
        *,
        overwrite: bool = True,
        follow_symlinks: bool = False,
    ) -> None:
        """Copy a file or directory of the host into the box, as the box's user.

        Into a directory that is there it goes under its own name; ``DIR/.`` is what the directory holds.

        Raises: NotFoundError; AlreadyExistsError with ``overwrite=False``; StorageError: no right, no room.
        """
        await self.box.copy_in(host_path, container_dest, CopyOptions(True, overwrite, follow_symlinks))

    async def copy_out(
        self,
        container_src: str,
        host_dest: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        follow_symlinks: bool = False,
    ) -> dict[str, str]:
        """Copy a file or directory of the box to the host; the other way round as `copy_in`, with the same errors.

        Returns {path: why} of what was not copied: FIFOs, sockets, what the box's user may not read.
        """
        return await self.box.copy_out(container_src, host_dest, CopyOptions(True, overwrite, follow_symlinks))

    async def info(self) -> BoxInfo:
        """What it is: ``served`` says what it has instead of its image."""
        return await self.box.info()

    async def metrics(self) -> BoxMetrics:
        """What its programs have used so far."""
        return await self.box.metrics()

    async def stop(self) -> None:
        """End its programs, and it. StoppedError, InvalidStateError (RuntimeErrors both): it does not run."""
        await self.box.stop()
        self._box = None

    async def shutdown(self) -> None:
        """`stop`, and nothing when it does not run."""
        if self._box is not None:
            await self.stop()


def _words(kind: type) -> set[str]:
    """The keywords of all its constructors."""
    found = {name for each in kind.__mro__ if "__init__" in vars(each) for name in inspect.signature(each).parameters}
    return found - {"args", "kwargs"}
