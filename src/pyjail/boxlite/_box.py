"""One box of a runtime: `Box`, over `pyjail.aio.Box`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pyjail import KeeperError, Limits, Mount, Snapshot, aio
from pyjail.boxlite import _copy, _images, _store
from pyjail.boxlite import _results as results
from pyjail.boxlite._errors import (
    InvalidStateError,
    StoppedError,
    TimeoutError,
    UnsupportedError,
    ours,
)
from pyjail.boxlite._execution import Execution
from pyjail.boxlite._info import BoxInfo, BoxMetrics, BoxStateInfo
from pyjail.boxlite._kept import Kept
from pyjail.boxlite._options import (
    MEMORY_MIB,
    PROCESSES,
    UNSET,
    BoxOptions,
    CopyOptions,
    network,
    positive,
)  # fmt: skip
from pyjail.boxlite._packages import Packages
from pyjail.boxlite._snapshots import SnapshotHandle

INODES = 65536
AT_ONCE = 64  # programs of one box
GRACE_S = 0.5  # between the time of a program and the end of what it left behind


async def _killed(inner: aio.Box) -> None:
    with contextlib.suppress(KeeperError):  # it is gone already
        await inner.kill()


class NetworkHandle:
    """The network of a box, which nothing outside is connected to."""

    async def tunnel(self, port: int) -> Any:
        """UnsupportedError."""
        raise UnsupportedError("a box has no port that can be reached: run the client in it, with network='loopback'")

    revoke_tunnel = update_inbound = update_outbound = tunnel


class Box:
    """A box by `Boxlite.create`: many programs in one place, until it is stopped. ``async with`` starts and stops it.

    Attributes: ``id`` (str), ``name`` (str or None), ``snapshot`` (`SnapshotHandle`), ``network``.
    """

    def __init__(self, runtime: Any, options: BoxOptions, name: str | None) -> None:
        self._runtime, self.options, self.name = runtime, options, name
        self.id = uuid.uuid4().hex
        self.snapshot, self.network = SnapshotHandle(self), NetworkHandle()
        self._created = datetime.now(UTC)
        self._started: datetime | None = None
        self._inner: aio.Box | None = None
        self._lock: asyncio.Lock | None = None
        self._view: _images.View | None = None
        self._python: str | None = None  # its environment, on the host
        self._packages: Packages | None = None
        self._env: dict[str, str] = {}
        self._ended = False
        self._files: Snapshot | None = None  # of a stopped box that is kept
        self._deadline: float | None = None  # CLOCK_MONOTONIC
        self._timer: asyncio.TimerHandle | None = None
        self._killer: asyncio.Task[None] | None = None
        self._live: weakref.WeakSet[Execution] = weakref.WeakSet()
        self._programs = self._errors = 0

    def __repr__(self) -> str:
        return f"<Box {self.name or self.id}: {self._state()}>"

    def _state(self) -> str:
        return "running" if self._inner is not None else "stopped" if self._started else "configured"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._inner is not None

    @functools.cached_property
    def limits(self) -> Limits:
        """Of the box as a whole; the wall time is that of each program."""
        options = self.options
        wall = self._runtime.options.timeout_seconds if options.timeout_seconds is UNSET else options.timeout_seconds
        return Limits(
            cpu_time=None,
            wall_time=wall,
            memory=int((options.memory_mib or MEMORY_MIB) * (1 << 20)),
            processes=PROCESSES,
            cpus=float(options.cpus or 1),
            file_size=None,
            open_files=1024,
        )

    async def start(self) -> Box:
        """Make it, if it does not run; a stopped one that was kept has its files again."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if self._inner is None:
                if self._ended:
                    raise StoppedError(f"box {self.name or self.id} is gone: it was stopped, and not kept")
                try:
                    with ours():
                        await self._start()
                except BaseException:
                    self._runtime.failed += 1
                    self._drop()
                    raise
        return self

    async def _start(self) -> None:
        options, runtime = self.options, self._runtime.options
        self._view = view = await asyncio.to_thread(
            _images.view, options.image, options.rootfs_path, runtime.images, runtime.jail
        )
        _images.checked(options.user, view.jail)
        jail = replace(view.jail, network=network(options.network))
        if view.python:
            self._python = _store.environment()  # quicker than a thread
            self._packages = Packages(_store.site(self._python))
            env = {**jail.env, "PATH": f"{_store.INSIDE}/bin:{jail.env.get('PATH', '/usr/bin:/bin')}"}
            jail = replace(jail, mounts=(*jail.mounts, Mount.bind(self._python, _store.INSIDE)), env=env)
        whole = self.limits
        disk = (whole.memory or 0) // 2 if options.disk_size_gb is None else int(options.disk_size_gb * (1 << 30))
        inner = aio.Box(jail, whole, disk=disk, inodes=INODES, writable=view.writable, concurrency=AT_ONCE)
        try:
            await inner.__aenter__()
            if self._files is not None:
                await inner.restore(self._files)
            if options.working_dir:
                await inner.run(["mkdir", "-p", "--", options.working_dir])
        except BaseException:
            await inner.close()
            raise
        self._env = dict(jail.env)
        self._inner, self._started, self._files = inner, datetime.now(UTC), None
        if options.timeout_seconds not in (UNSET, None):
            self._deadline = time.monotonic() + options.timeout_seconds
            self._timer = asyncio.get_running_loop().call_later(options.timeout_seconds + GRACE_S, self._expire)

    def _expire(self) -> None:
        """The time of the box is over: what its programs left behind goes, too."""
        if self._inner is not None:
            self._killer = asyncio.ensure_future(_killed(self._inner))

    @property
    def inner(self) -> aio.Box:
        """The `pyjail.aio.Box`. StoppedError, InvalidStateError when it does not run."""
        if self._inner is None:
            if self._started:
                raise StoppedError(f"box {self.name or self.id} was stopped")
            raise InvalidStateError("Box not started. Use 'async with ... as box:' or call 'await box.start()' first.")
        return self._inner

    async def run(
        self,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        user: str | int | None = None,
        timeout: float | None = None,
        cwd: str | None = None,
        input: bytes | None = None,
    ) -> results.ExecResult:
        """Run a program and wait for its end; see `SimpleBox.exec`. What it leaves in the background lives on."""
        inner, given = self.inner, self._given(env, user, timeout, cwd)
        self._programs += 1
        try:
            with ours():
                result = await inner.run(list(args), orphans="keep", input=input, **given)
            return results.told(result, args[0])
        except Exception:
            self._errors += 1
            raise

    async def exec(
        self,
        command: str,
        args: Iterable[str] | None = None,
        env: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        tty: bool = False,
        user: str | int | None = None,
        timeout_secs: float | None = None,
        cwd: str | None = None,
        window: tuple[int, int] = (24, 80),
    ) -> Execution:
        """Start a program with live streams; a box that does not run is started first.

        Args:
            args: of the program. env: more variables. tty: a terminal of its own, of ``window`` (rows, columns).
            user: None or 1000. timeout_secs: as ``timeout`` of `SimpleBox.exec`. cwd: default the box's.

        Raises: as `SimpleBox.exec`; what ends the program is told by `Execution.wait`.
        """
        await self.start()
        inner, given = self.inner, self._given(dict(env or {}), user, timeout_secs, cwd)
        self._programs += 1
        with ours():
            process = await inner.start([command, *(args or ())], pty=window if tty else False, orphans="keep", **given)
        execution = Execution(process, command, f"{self.id}-{self._programs}", tty)
        self._live.add(execution)
        return execution

    def _given(
        self, env: Mapping[str, str] | None, user: str | int | None, timeout: float | None, cwd: str | None
    ) -> dict[str, Any]:
        """What `pyjail.aio.Box.run` is given of this."""
        assert self._view is not None
        _images.checked(user, self._view.jail)
        variables = {**self._env, **dict(self.options.env), **(env or {})}
        wall = self.wall(timeout)
        limits = self.limits if wall == self.limits.wall_time else replace(self.limits, wall_time=wall)
        given = {"limits": limits, "env": variables}
        return {**given, **({"cwd": place} if (place := cwd or self.options.working_dir) else {})}

    def wall(self, timeout: float | None) -> float | None:
        """The wall time of a program that starts now, in s. TimeoutError: that of the box is over."""
        positive("timeout", timeout)
        wall = self.limits.wall_time if timeout is None else timeout
        if self._deadline is None:
            return wall
        left = self._deadline - time.monotonic()
        if left <= 0.001:
            raise TimeoutError(f"the {self.options.timeout_seconds:g} s of this box are over (timeout_seconds=)")
        return left if wall is None else min(wall, left)

    async def copy_in(
        self, host_path: str | os.PathLike[str], container_dest: str, copy_options: CopyOptions | None = None
    ) -> None:
        """Copy a file or directory of the host into the box; see `SimpleBox.copy_in`."""
        with ours(files=True):
            await _copy.copy_in(self.inner, os.fspath(host_path), container_dest, copy_options or CopyOptions())

    async def copy_out(
        self, container_src: str, host_dest: str | os.PathLike[str], copy_options: CopyOptions | None = None
    ) -> dict[str, str]:
        """Copy a file or directory of the box to the host; see `SimpleBox.copy_out`."""
        with ours(files=True):
            return await _copy.copy_out(self.inner, container_src, os.fspath(host_dest), copy_options or CopyOptions())

    async def info(self) -> BoxInfo:
        """What it is, and whether it runs."""
        running, options = self._inner is not None, self.options
        return BoxInfo(
            self.id, self.name, BoxStateInfo(self._state(), running), options.image,
            "" if self._view is None else self._view.served, float(options.cpus or 1),
            int(options.memory_mib or MEMORY_MIB), self._created, self._started,
        )  # fmt: skip

    async def metrics(self) -> BoxMetrics:
        """What its programs have used."""
        inner = self._inner
        used = (0, 0) if inner is None else (int(inner.cpu_time * 1000), inner.memory_peak or 0)
        return BoxMetrics(self._programs, self._errors, *used)

    async def stop(self) -> None:
        """End all of its programs; its files go, unless it is to be kept (``auto_remove=False``). Twice is fine."""
        inner, self._inner = self._inner, None
        if inner is None:
            return
        try:
            if self.options.kept:
                with ours():
                    await inner.kill()
                    self._files = await inner.snapshot()
        finally:
            self._ended = self._files is None
            try:
                await asyncio.gather(*(execution.end() for execution in list(self._live)))
                await inner.close()
            finally:
                self._drop()
                await self._runtime._stopped(self)

    @property
    def kept(self) -> bool:
        """Whether it is stopped, and its files are there."""
        return self._files is not None

    def _record(self) -> Kept:
        """What is written of a box that is kept."""
        assert self._files is not None
        return Kept(self.id, self.name, self.options, self._created, self._files)

    def _adopt(self, kept: Kept) -> None:
        """Be the box that was kept."""
        self.id, self._created, self._files, self._started = kept.id, kept.created, kept.files, kept.created

    def _forget(self) -> None:
        """Its files are gone; it cannot be started any more."""
        self._files, self._ended = None, True

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._python is not None:
            _store.drop(self._python)
        self._timer = self._deadline = self._python = None

    @property
    def has_python(self) -> bool:
        """Whether its Python is the running one, in an environment of its own."""
        return self._python is not None

    @property
    def packages(self) -> Packages:
        """What its Python imports from, besides its own library."""
        if self._python is None or self._packages is None:
            self.inner  # noqa: B018 - which raises when it does not run
            raise UnsupportedError("packages are installed for this host's Python: image='python:slim'")
        return self._packages

    async def __aenter__(self) -> Box:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()
