"""Inspect AI's sandbox ``pyjail``: a `pyjail.Box` for each environment of each sample. No daemon, no image, no root.

The extra ``inspect`` registers it with Inspect: ``inspect eval task.py --sandbox pyjail``, ``sandbox="pyjail"``,
``sandbox=("pyjail", "jail.toml")``, or with a `PyjailConfig`:

>>> from inspect_ai.util import SandboxEnvironmentSpec
>>> from pyjail.integrations.inspect import PyjailConfig
>>> SandboxEnvironmentSpec("pyjail", PyjailConfig(limits={"memory": "2G"}, disk="1G")).type
'pyjail'

Programs run as the jail's user (uid 1000); nobody else is there, no root. What is left in the background lives until
the sample ends. A program that a limit or the filter ended is no success, and one line in its stderr says why; what
failed on our side is `inspect_ai.util.SandboxUnavailableError`. docs/inspect.md has the rest.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Literal, overload

import anyio
from inspect_ai._util.error import PrerequisiteError  # has no public name; its text is shown without a traceback
from inspect_ai.log import transcript
from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUserUnsupportedError,
    concurrency,
    sandboxenv,
)
from pydantic import BaseModel

import pyjail
from pyjail import ExecError, Limits, SpecError, Verdict, aio
from pyjail.integrations.inspect import _outcome
from pyjail.integrations.inspect._config import PyjailConfig, resolve

__all__ = ["PyjailConfig", "PyjailSandboxEnvironment"]

HOME = "/box"
_GIB = 1 << 30


def __dir__() -> list[str]:
    return sorted(__all__)


def _programs() -> int:
    """At once, in all boxes of this process: each has the CPU and memory of its box, and most wait for something."""
    return max(64, 16 * len(os.sched_getaffinity(0)))


@sandboxenv(name="pyjail")
class PyjailSandboxEnvironment(SandboxEnvironment):
    """One environment of a sample: a box, whose directory /box relative paths start from."""

    _open: ClassVar[weakref.WeakSet[PyjailSandboxEnvironment]] = weakref.WeakSet()

    def __init__(self, box: aio.Box, program: Limits) -> None:
        super().__init__()
        self._box = box
        self._program = program.to_dict()
        self._users: set[str] | None = None
        self._held = AsyncExitStack()

    @classmethod
    async def task_init(cls, task_name: str, config: BaseModel | str | None) -> None:
        """Make a box of each environment and run ``true`` in it: what fails here would fail in each sample.

        Raises PrerequisiteError, with what this machine lacks and the fix.
        """
        settings = _resolved(config)
        for name in settings.each():
            try:
                (environment,) = (await cls._boxes(settings, [name])).values()
                try:
                    await environment.exec(["true"], concurrency=False)
                finally:
                    await environment.close()
            except pyjail.SpecError as e:
                raise PrerequisiteError(f"ERROR: pyjail, environment {name!r}: {e}") from e
            except RuntimeError as e:
                rows = await anyio.to_thread.run_sync(pyjail.doctor)
                lines = [f"{row.layer}: {row.why}. Fix: {row.fix}" for row in rows if row.status == "no" and row.fix]
                raise PrerequisiteError("\n".join([f"ERROR: no box can be held here. {e}", *lines])) from e

    @classmethod
    async def task_cleanup(cls, task_name: str, config: BaseModel | str | None, cleanup: bool) -> None:
        """Close what samples that were interrupted have left open. Without ``cleanup`` boxes live on until Inspect
        ends: no box outlives the process that made it."""
        if cleanup:
            for environment in list(cls._open):
                await environment.close()

    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:
        """Remove what evals that were killed have left: their cgroups. Their programs died with them."""
        if id is not None:
            raise PrerequisiteError(f"pyjail: no box has the name {id!r}: each ends with its eval. Leave the name out")
        removed = await anyio.to_thread.run_sync(pyjail.cgroup.clean)
        print(f"pyjail: {len(removed)} left by evals that are gone, removed" if removed else "pyjail: nothing is left")

    @classmethod
    async def sample_init(
        cls, task_name: str, config: BaseModel | str | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """A box for each environment of the configuration; the first one is the default."""
        settings = _resolved(config)
        return dict(await cls._boxes(settings, list(settings.each())))

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: BaseModel | str | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """End all programs, and the boxes."""
        with anyio.CancelScope(shield=True):
            for environment in environments.values():
                await environment.as_type(PyjailSandboxEnvironment).close()

    @classmethod
    def default_concurrency(cls) -> int | None:
        """Samples at once: 4 for each CPU, at least 16, fewer when the default memory of their boxes is not there."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return max(1, min(max(16, 4 * len(os.sched_getaffinity(0))), memory // _GIB))

    @classmethod
    def config_files(cls) -> list[str]:
        """Taken from the task's directory where nothing else is said."""
        return ["pyjail.toml"]

    @classmethod
    def is_docker_compatible(cls) -> bool:
        """No: a compose file is refused."""
        return False

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """Out of a log."""
        return PyjailConfig(**config)

    @classmethod
    async def _boxes(cls, config: PyjailConfig, names: list[str]) -> dict[str, PyjailSandboxEnvironment]:
        """Those of these names; none when one of them cannot be made."""
        made: dict[str, PyjailSandboxEnvironment] = {}
        each = config.each()
        try:
            for name in names:
                s = each[name]
                jail, limits, program = s.made()
                box = aio.Box(
                    jail, limits, disk=s.disk, inodes=s.inodes, writable=s.writable, concurrency=s.concurrency
                )
                environment = cls(box, program)
                with _outcome.running("", None):
                    await environment._held.enter_async_context(box)
                made[name] = environment
                cls._open.add(environment)
        except BaseException:
            with anyio.CancelScope(shield=True):
                for environment in made.values():
                    await environment.close()
            raise
        return made

    async def close(self) -> None:
        """End all programs and the box. Twice is fine."""
        self._open.discard(self)
        await self._held.aclose()

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a program in the box; what it leaves in the background lives on.

        Args:
            cmd: the program, by PATH of ``env`` or of the jail, and its arguments.
            input: for its stdin. cwd: relative to /box. env: added to the jail's.
            user: None, or the jail's own.
            timeout: seconds. It is killed with all its children then.
            timeout_retry: no second try is ever made: a program that is killed is gone for certain.
            concurrency: wait while very many programs run in all boxes.

        Raises:
            SandboxUserUnsupportedError: another user. TimeoutError: with ``truncated_output``. PermissionError: no
            program, or none that may be executed. OutputLimitExceededError: more than Inspect takes.
            SandboxUnavailableError: pyjail or this machine failed.
        """
        await self._refuse(user)
        if any("\0" in word for word in (*cmd, cwd or "", *(env or {}), *(env or {}).values())):
            raise ValueError("embedded null byte")
        limits = self._limits(timeout)
        async with _turn(concurrency):
            with _outcome.running(cmd[0] if cmd else "", cwd):
                try:
                    result = await self._box.run(
                        [_argument(word) for word in cmd],
                        limits,
                        orphans="keep",
                        input=input.encode() if isinstance(input, str) else input,
                        cwd=posixpath.join(HOME, cwd) if cwd else None,
                        env={**self._box.jail.env, **env} if env else None,
                    )
                except ExecError as e:
                    if isinstance(e, PermissionError):
                        raise
                    return _outcome.not_started(e, cmd[0])
        if result.verdict in (Verdict.MEMORY, Verdict.CPU_TIME, Verdict.SECURITY):
            transcript().info(_outcome.event(result, cmd[0]), source="pyjail")
        return _outcome.ended(result, limits.wall_time)

    def _limits(self, timeout: float | None) -> Limits:
        wall = self._program["wall_time"]
        if timeout is not None:
            wall = max(0.001, timeout) if wall is None else min(wall, max(0.001, timeout))
        return Limits(**{**self._program, "wall_time": wall, "output": SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE})

    async def _refuse(self, user: str | None) -> None:
        """SandboxUserUnsupportedError for any user but the one that all programs are."""
        uid = str(self._box.jail.uid)
        if user is None or user == uid:
            return
        if self._users is None:
            passwd = ""
            with contextlib.suppress(OSError, SpecError):
                passwd = (await self._box.read("/etc/passwd")).decode("utf-8", "replace")
            rows = [line.split(":") for line in passwd.splitlines()]
            self._users = {row[0] for row in rows if len(row) > 2 and row[2] == uid}
        if user not in self._users:
            raise SandboxUserUnsupportedError(f"pyjail: all programs of a box are uid {uid}; {user!r} is not in it")

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """As the jail's user; directories above it are made."""
        data = contents.encode() if isinstance(contents, str) else contents
        with _outcome.reaching(file):
            await self._box.write(file, data)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """As the jail's user. OutputLimitExceededError: it has more than INSPECT_SANDBOX_MAX_READ_FILE_SIZE bytes."""
        try:
            with _outcome.reaching(file):
                data = await self._box.read(file, SandboxEnvironmentLimits.MAX_READ_FILE_SIZE)
        except SpecError as e:
            if e.field != "limit":
                raise
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None) from None
        return data.decode("utf-8") if text else data

    def default_polling_interval(self) -> float:
        """Seconds: a program is started in milliseconds here."""
        return 0.2


def _resolved(config: BaseModel | str | None) -> PyjailConfig:
    try:
        return resolve(config)
    except (ValueError, OSError) as e:
        raise PrerequisiteError(f"ERROR: pyjail: {e}") from e


def _argument(word: str) -> bytes:
    """A model may write half of a pair of surrogates: no program can be given that, so it gets "?"."""
    try:
        return os.fsencode(word)
    except UnicodeEncodeError:
        return word.encode("utf-8", "replace")


@asynccontextmanager
async def _turn(wanted: bool) -> AsyncIterator[None]:
    if not wanted:
        yield
        return
    async with concurrency("pyjail", _programs(), resizable=True):
        yield
