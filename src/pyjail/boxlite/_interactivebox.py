"""`InteractiveBox`: a shell with a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty as tty_module
from types import TracebackType
from typing import Any, Self

from pyjail.boxlite._errors import InvalidArgumentError, InvalidStateError
from pyjail.boxlite._execution import Execution
from pyjail.boxlite._results import ExecResult
from pyjail.boxlite._runtime import Boxlite
from pyjail.boxlite._simplebox import SimpleBox

PATIENCE_S = 3  # with a shell that was told to end


class InteractiveBox(SimpleBox):
    """A `SimpleBox` with a shell on a terminal of its own, which ``async with`` connects with yours.

    Args:
        image: as `SimpleBox`. shell: a program. Default /bin/sh.
        tty: True: what you type goes to the shell, what it says to your terminal, and leaving the block waits until it
            has ended. False: neither; `execution` is there to talk to it. None, the default: whether stdin is a
            terminal.
        memory_mib, memory_mb, cpus, runtime, name, auto_remove, kwargs: as `SimpleBox`. The shell has a time limit only
            with ``timeout_seconds``.

    >>> import asyncio
    >>> async def main():
    ...     async with InteractiveBox(image="python:slim", tty=False) as box:
    ...         await box.execution.stdin().send_input("exit 3\\n")
    ...         return await box.wait()
    >>> asyncio.run(main()).exit_code
    3
    """

    def __init__(
        self,
        image: str | None = None,
        shell: str = "/bin/sh",
        tty: bool | None = None,
        memory_mib: int | None = None,
        cpus: float | None = None,
        runtime: Boxlite | None = None,
        name: str | None = None,
        auto_remove: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("timeout_seconds", None)
        super().__init__(
            image, memory_mib=memory_mib, cpus=cpus, runtime=runtime, name=name, auto_remove=auto_remove, **kwargs
        )
        self._shell = shell
        self._execution: Execution | None = None
        self._forwards = sys.stdin.isatty() if tty is None else tty
        self._tasks: list[asyncio.Task[Any]] = []
        self._settings: list[Any] | None = None

    @property
    def execution(self) -> Execution:
        """The shell: its ``stdin()``, ``stdout()``, ``resize_tty``. InvalidStateError before it was started."""
        if self._execution is None:
            raise InvalidStateError("Box not started. Use 'async with InteractiveBox(...) as box:'.")
        return self._execution

    async def start(self) -> Self:
        """Make the box, start the shell, connect the terminal."""
        if self._execution is None:
            if self._forwards and not sys.stdin.isatty():
                raise InvalidArgumentError("tty=True: stdin is no terminal that could be connected")
            await super().start()
            try:
                window = os.get_terminal_size(sys.stdin.fileno()) if self._forwards else os.terminal_size((80, 24))
                shape = (window.lines or 24, window.columns or 80)
                self._execution = await self.box.exec(self._shell, tty=True, window=shape)
                if self._forwards:
                    self._connect(self._execution)
            except BaseException:
                await self.shutdown()
                raise
        return self

    def _connect(self, shell: Execution) -> None:
        fd = sys.stdin.fileno()
        self._settings = termios.tcgetattr(fd)
        tty_module.setraw(fd, termios.TCSANOW)
        typed: asyncio.Queue[bytes] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, lambda: typed.put_nowait(os.read(fd, 1024)))
        self._tasks = [loop.create_task(self._type(shell, typed)), loop.create_task(self._show(shell))]

    async def _type(self, shell: Execution, typed: asyncio.Queue[bytes]) -> None:
        while data := await typed.get():
            await shell.stdin().send_input(data)
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        await shell.stdin().send_input(b"\x04")  # as a terminal says that there is no more

    async def _show(self, shell: Execution) -> None:
        async for text in shell.stdout():
            os.write(sys.stdout.fileno(), text.encode())

    async def wait(self) -> ExecResult:
        """Wait until the shell has ended: how it was. Raises as `SimpleBox.exec`."""
        return await self.execution.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._forwards and self._execution is not None:
                await self.wait()
                await asyncio.wait(self._tasks[1:], timeout=PATIENCE_S)
        finally:
            self._restore()
            await super().__aexit__(kind, value, tb)

    def _restore(self) -> None:
        """Your terminal is as it was."""
        for task in self._tasks:
            task.cancel()
        if self._settings is not None:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._settings)
        self._tasks, self._settings = [], None

    async def stop(self) -> None:
        """End the shell and the box."""
        self._restore()
        self._execution = None
        await super().stop()
