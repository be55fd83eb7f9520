"""A sandbox for deepagents (LangChain) that is a `pyjail.Box`: ``pip install 'pyjail-linux[langchain]'``.

>>> from pyjail.integrations.langchain import PyjailSandbox
>>> with PyjailSandbox() as sandbox:
...     sandbox.execute("echo $(( 6 * 7 ))")
ExecuteResponse(output='42\\n', exit_code=0, truncated=False)

``deepagents.create_deep_agent(model=..., backend=sandbox)`` is an agent that works in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from deepagents.backends.protocol import ExecuteResponse, FileDownloadResponse, FileUploadResponse
from deepagents.backends.sandbox import BaseSandbox

from pyjail import STDOUT, Box, Jail, JailError, Limits, Result, SetupError, SpecError, Verdict, aio
from pyjail.integrations import shared

__all__ = ["PyjailSandbox", "WRITABLE"]

WRITABLE = ("/tmp", "/var/tmp", "/home", "/large_tool_results", "/conversation_history", "/blobs")
"""The last three are where deepagents' middleware puts what is too long for a conversation."""

NAMES = {  # deepagents' words for what is wrong with a path
    errno.ENOENT: "file_not_found",
    errno.EISDIR: "is_directory",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
}


class PyjailSandbox(BaseSandbox):
    """A machine for one agent: commands and files in a `pyjail.Box`, which lives until `close`.

    Args:
        box: one that there is, which stays open after `close`; None: one of its own, of the arguments that follow.
        jail: what is around the commands. Default: `Jail` with its defaults in which `python` is found, too.
        limits: memory and processes of all commands together, the rest for each. Default:
            `pyjail.integrations.shared.AGENT_LIMITS`, 1 GiB, 120 s for a command.
        env: variables of every command, besides those of the jail.
        shell: what a command is given to, as its last argument.
        options: others of `pyjail.Box`: ``disk``, ``inodes``, ``writable``, ``concurrency``, ``idle_timeout``.

    A command starts in /box. What it leaves behind in the background lives on. stdout and stderr come as one text, in
    order. A limit that ends a command is told in the last line of its output, and as exit code 124; so is a timeout.
    Several commands may run at once.

    Attributes:
        box: the `pyjail.Box`. failure: the last failure of pyjail or of the machine, or None.

    Raises:
        HostError, SetupError, KeeperError: from every method, when the machine or pyjail failed. They end the agent's
            run, and are no output that the model sees; but for deepagents' tool `glob`, which shows it every exception,
            as an error, and goes on: ``failure`` has it then.
    """

    # Its wrapper loses what a command that is killed has printed, and asks a file of the program's for its exit code.
    enable_capture_offload = False

    def __init__(
        self,
        box: Box | None = None,
        *,
        jail: Jail | None = None,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        shell: Sequence[str] = ("/bin/bash", "-c"),
        **options: Any,
    ) -> None:
        if box is not None and (jail is not None or limits is not None or options):
            raise SpecError("box", box, "a box that there is has its jail, limits and options already")
        self._own = box is None
        if box is None:
            options.setdefault("writable", WRITABLE)
            box = Box(jail or shared.agents_jail(), limits or shared.AGENT_LIMITS, **options)
        self.box = box
        self._box = aio.Box.of(box)
        self._env = {**box.jail.env, **(env or {})}
        self._shell = tuple(shell)
        self.failure: JailError | None = None
        self._id = f"pyjail-{uuid.uuid4().hex[:12]}"

    @property
    def id(self) -> str:
        """A name of its own, for logs."""
        return self._id

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a shell command: its output, exit code, and whether output was cut off.

        Args:
            timeout: seconds until it is killed; None: the wall time of the limits; 0: as long as it takes.
        """
        with self._noted():
            try:
                return _response(self.box.run(*self._told(command, timeout), **self._options()))
            except SetupError as e:
                return _too_long(e)

    async def aexecute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """`execute`, awaited. A task that is cancelled ends its command, and is cancelled when that is gone."""
        with self._noted():
            try:
                return _response(await self._box.run(*self._told(command, timeout), **self._options()))
            except SetupError as e:
                return _too_long(e)

    def _told(self, command: str, timeout: int | None) -> tuple[list[str], Limits]:
        return [*self._shell, command], shared.patience(self.box.limits, timeout)

    def _options(self) -> dict[str, Any]:
        return {"env": self._env, "stderr": STDOUT, "text": True, "orphans": "keep"}

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Write files, as the box's user; what is wrong with one of them is told in its answer."""
        return [FileUploadResponse(path=path, error=self._moved(path, data)[1]) for path, data in files]

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Read files, as the box's user; what is wrong with one of them is told in its answer."""
        answers = [(path, *self._moved(path, None)) for path in paths]
        return [FileDownloadResponse(path=path, content=content, error=error) for path, content, error in answers]

    def _moved(self, path: str, data: bytes | None) -> tuple[bytes | None, str | None]:
        """The content that was read, and what was wrong; written when there is ``data``."""
        if not path.startswith("/"):
            return None, "invalid_path"
        try:
            with self._noted():
                if data is None:
                    return self.box.read(path), None
                self.box.write(path, data)
        except shared.OURS:
            raise
        except SpecError as e:
            return None, "invalid_path" if e.field == "path" else str(e)
        except OSError as e:
            return None, NAMES.get(e.errno or 0, str(e))
        return None, None

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except shared.OURS as e:
            self.failure = e
            raise

    def close(self) -> None:
        """End all that runs; the box, where it is its own, is gone with its files. Twice is fine."""
        if self._own:
            self.box.close()

    async def aclose(self) -> None:
        """`close`, without making the event loop wait."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> PyjailSandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _response(result: Result[str]) -> ExecuteResponse:
    shared.check(result)
    return ExecuteResponse(
        output=shared.with_ending(result.stdout, result),
        exit_code=shared.exit_code(result),
        truncated=result.verdict is Verdict.OUTPUT,
    )


def _too_long(error: SetupError) -> ExecuteResponse:
    """The answer to a command that no program can be given (128 KiB); any other error is raised."""
    if error.errno != errno.E2BIG:
        raise error
    return ExecuteResponse(output="The command is too long: write it to a file, and run that.\n", exit_code=126)
