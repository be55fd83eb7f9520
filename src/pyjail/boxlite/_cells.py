"""Python code that remembers what was run before: `pyjail.aio.Interpreter` in a box."""

from __future__ import annotations

from dataclasses import replace

from pyjail import aio
from pyjail.boxlite import _results as results
from pyjail.boxlite import _store
from pyjail.boxlite._box import Box
from pyjail.boxlite._errors import ours


class Cells:
    """The interpreter of one box; it starts with the first cell."""

    def __init__(self, box: Box) -> None:
        self._box = box
        options = box.options
        with ours():
            self._python = aio.Interpreter(
                box=box.inner,
                limits=replace(box.limits, wall_time=None),
                cwd=options.working_dir or "/box",
                env=dict(options.env),
                timeout=None,
                python=f"{_store.INSIDE}/bin/python3" if box.has_python else "python3",
            )

    async def run(self, code: str, timeout: float | None) -> results.RunResult:
        """Run a cell; see `CodeBox.run`."""
        seconds = self._box.wall(timeout)
        with ours():
            cell = await self._python.run(code, seconds)
        said = "".join(cell.logs.stderr)
        if cell.error is not None:
            said += cell.error.traceback or f"{cell.error.name}: {cell.error.value}\n"
        done = results.ExecResult(0 if cell.ok else 1, "".join(cell.logs.stdout), said, cell.ended or None, cell)
        error = results.error_of(cell.verdict, "the code", replace(self._box.limits, wall_time=seconds), cell.ended)
        if error is not None:
            error.result = done
            raise error
        return results.RunResult(done.stdout, done.stderr, done.exit_code, cell)

    async def close(self) -> None:
        """End it. The box lives on."""
        await self._python.close()
