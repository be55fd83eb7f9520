"""`CodeBox`: a box to run Python code in."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from pyjail.boxlite._cells import Cells
from pyjail.boxlite._results import RunResult
from pyjail.boxlite._runtime import Boxlite
from pyjail.boxlite._simplebox import SimpleBox

LONGEST = 100_000  # bytes of code that are given as an argument (the kernel takes 128 KiB)


class CodeBox(SimpleBox):
    """A `SimpleBox` to run Python code in.

    Args:
        stateful: each `run` has what those before have defined, as cells of a notebook, by `pyjail.Interpreter`; a
            ``timeout`` interrupts and keeps it. Default False: each is a process of its own, as there.
        image: default "python:slim", which is the running Python without the packages of its environment.
        wheelhouse: a directory of wheels, from which `install_package` takes all; default what pip is configured for.
        memory_mib, memory_mb, cpus, runtime, kwargs: as `SimpleBox`.

    >>> import asyncio
    >>> async def main():
    ...     async with CodeBox() as box:
    ...         return await box.run("print('Hello, World!')")
    >>> asyncio.run(main())
    'Hello, World!\\n'
    """

    def __init__(
        self,
        image: str = "python:slim",
        memory_mib: int | None = None,
        cpus: float | None = None,
        runtime: Boxlite | None = None,
        *,
        stateful: bool = False,
        wheelhouse: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image, memory_mib=memory_mib, cpus=cpus, runtime=runtime, **kwargs)
        self._stateful = stateful
        self._cells: Cells | None = None
        self._wheelhouse = None if wheelhouse is None else os.fspath(wheelhouse)

    async def run(self, code: str, timeout: float | None = None) -> RunResult:
        """Run Python code: what it wrote to stdout, a str that also has ``stderr``, ``exit_code`` and ``result``.

        Each call is a process of its own, and what they share is files, unless the box is ``stateful``: then
        ``result`` is a `pyjail.interpreter.Execution`, whose ``text`` is the last expression's value. An exception of
        the code is no error of this: ``exit_code`` is 1 then, and ``stderr`` has it.

        Args:
            code: Python. timeout: s that it may take; default the box's ``timeout_seconds``.

        Raises:
            As `SimpleBox.exec`: TimeoutError, ResourceError and so on.

        >>> import asyncio
        >>> async def main():
        ...     async with CodeBox() as box:
        ...         return await box.run("print(1); 1 / 0")
        >>> result = asyncio.run(main())
        >>> result, result.exit_code, result.stderr.splitlines()[-1]
        ('1\\n', 1, 'ZeroDivisionError: division by zero')
        """
        if self._stateful:
            if self._cells is None:
                self._cells = Cells(self.box)
            return await self._cells.run(code, timeout)
        source = code.encode("utf-8", "surrogatepass")
        args, given = (["python3", "-c", code], None) if len(source) <= LONGEST else (["python3", "-"], source)
        done = await self.box.run(args, timeout=timeout, input=given)
        return RunResult(done.stdout, done.stderr, done.exit_code, done.result)

    async def stop(self) -> None:
        """End its programs, and it. StoppedError, InvalidStateError (RuntimeErrors both): it does not run."""
        cells, self._cells = self._cells, None
        try:
            if cells is not None:
                await cells.close()
        finally:
            await super().stop()

    async def run_script(self, script_path: str | os.PathLike[str], timeout: float | None = None) -> RunResult:
        """`run` of what is in a file of the host. Raises OSError, too: it cannot be read."""
        return await self.run(await asyncio.to_thread(Path(script_path).read_text), timeout)

    async def install_package(self, package: str, timeout: float | None = None) -> str:
        """`install_packages` of one."""
        return await self.install_packages(package, timeout=timeout)

    async def install_packages(self, *packages: str, timeout: float | None = None) -> str:
        """Install packages for the Python of this box: what pip said.

        Wheels are fetched outside of the box, which has no network, into a directory that it sees read-only at once;
        none of their code runs outside. It goes with the box.

        Args:
            packages: names, with versions if wanted: "numpy==2.1". timeout: s; default no limit.

        Raises:
            InvalidArgumentError: no such name. ExecError: pip failed. TimeoutError. UnsupportedError: this box has a
            Python of its own (rootfs_path=): install them there.
        """
        return await self.box.packages.install(packages, self._wheelhouse, timeout)
