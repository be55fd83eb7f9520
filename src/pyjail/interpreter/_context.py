"""A context: one interpreter process over a box, which is started anew when it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyjail
from pyjail import SpecError, Usage, Verdict
from pyjail.interpreter._frames import Done
from pyjail.interpreter._heard import Callback, Heard
from pyjail.interpreter._program import End, Program
from pyjail.interpreter._records import ENDED, Execution, Raised

MOST_CODE = 16 << 20  # bytes of a cell
DEFAULT = "default"  # the timeout of the interpreter


class Bounds:
    """How much a cell may give, in bytes, and what figures are drawn as."""

    def __init__(self, output: int, result: int, results: int, figures: tuple[str, ...]) -> None:
        self.output, self.result, self.results, self.figures = output, result, results, figures


class Context:
    """An interpreter of its own over the box of an `Interpreter`, made by `Interpreter.create_context`.

    Cells of one context run one after the other, whoever asks for them; those of several run at once. Contexts share
    the box's files, and are one tenant there: they can end each other.

    Attributes:
        id: a number, 0 for an interpreter's own.
    """

    def __init__(
        self,
        number: int,
        start: Callable[[], Program],
        bounds: Bounds,
        times: tuple[float | None, float],
        remove: Callable[[Context], None],
    ) -> None:
        self.id = number
        self._start, self._bounds, self._remove = start, bounds, remove
        self._timeout, self._grace = times
        self._program: Program | None = None
        self._count = 0
        self._lost = ""
        self._history: list[str] = []
        self._turn = threading.Lock()
        self._thread: int | None = None  # whose turn it is
        self._removed = False

    @property
    def history(self) -> tuple[str, ...]:
        """The cells that have succeeded, in order: also those whose state is lost, but none before a `restart`."""
        return tuple(self._history)

    def run(
        self,
        code: str,
        timeout: float | str | None = DEFAULT,
        *,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        on_result: Callback | None = None,
    ) -> Execution:
        """Run a cell: see `Interpreter.run`."""
        payload = _code(code)
        seconds = self._timeout if timeout == DEFAULT else seconds_of("timeout", timeout)
        heard = Heard(self._bounds.output, on_stdout, on_stderr, on_result)
        with self._alone():
            program = self._ready()
            lost, self._lost = self._lost, ""
            self._count += 1
            begun = time.monotonic()
            try:
                deadline = None if seconds is None else begun + seconds
                done = program.run(self._count.to_bytes(4, "big") + payload, heard, deadline, self._grace)
                heard.close()
            except BaseException as e:
                self._give_up(program, e)
                self._lost = self._lost or lost  # which is not told yet
                raise
            made = self._execution(done, heard, time.monotonic() - begun, program, lost)
            if made.ok:
                self._history.append(code)
            return made

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A block that nobody else is in. SpecError for who is in it already: a callback of the cell that runs."""
        me = threading.get_ident()
        if self._thread == me:
            raise SpecError("context", self.id, "a callback of its cell cannot wait for the cell: interrupt() it")
        with self._turn:
            self._thread = me
            try:
                yield
            finally:
                self._thread = None

    def _execution(self, done: Done | End, heard: Heard, wall: float, program: Program, lost: str) -> Execution:
        results, logs = tuple(heard.results), heard.logs()
        interrupted = program.late or program.interrupts > 0
        if isinstance(done, End):
            self._forget(done.why)
            return Execution(
                results, logs, Raised(ENDED, done.why), self._count, done.verdict, done.result.usage, interrupted,
                done.why, lost, heard.cut((0, 0)),
            )  # fmt: skip
        late = program.late and (done.signalled or done.error is not None)  # else it was done at that very moment
        verdict = Verdict.WALL_TIME if late else Verdict.OK if done.error is None else Verdict.RUNTIME_ERROR
        return Execution(
            results, logs, done.error, self._count, verdict, Usage(wall_time=wall), interrupted, "", lost,
            heard.cut(done.dropped),
        )  # fmt: skip

    def _give_up(self, program: Program, why: BaseException) -> None:
        """The cell is not waited for: an exception of a callback, an interrupt of this process, a jail that failed."""
        if isinstance(why, pyjail.JailError):
            self._forget(str(why))
            program.kill()
            return
        try:
            end = program.calm(self._grace)
        except BaseException:
            self._forget("its cell was given up")
            program.kill()
            raise
        if end is not None:
            self._forget(end.why)

    def _forget(self, why: str) -> None:
        self._program, self._lost = None, why

    def _ready(self) -> Program:
        """The process, which is started when there is none; one that has ended meanwhile is told as lost."""
        if self._removed:
            raise pyjail.KeeperError("this context is closed: create another one")
        program = self._program
        if program is not None and not program.silent():
            self._forget("its jail failed")
            self._forget(program.why_not_silent().why)
            program = None
        if program is None:
            self._count = 0
            program = self._program = self._start()
            self._look_again(program)
        return program

    def _look_again(self, program: Program) -> None:
        """It may have been removed while this was started: then its cell is not waited for."""
        if self._removed:
            program.process.kill()

    def start(self) -> None:
        """Start it now, when it is not running: the first cell then need not wait for it.

        Raises what `run` raises; KeeperError when it ended at once, as in too little memory.
        """
        with self._alone():
            program = self._ready()
            end = program.greet(self._grace)
            if end is not None:
                self._forget(end.why)
                raise pyjail.KeeperError(f"the interpreter ended when it started: {end.why}")

    def interrupt(self) -> None:
        """Interrupt the cell that runs, from another thread: it gets KeyboardInterrupt, and state is kept.

        When that does not end it within ``grace`` s, its process is killed and state is lost. Nothing happens when no
        cell runs.
        """
        program = self._program
        if program is not None and self._turn.locked():
            program.interrupt()

    def restart(self) -> None:
        """Start anew, without any state; /box stays. A cell that runs is waited for: `interrupt` it first."""
        with self._alone():
            self._end()

    def _end(self) -> None:
        program, self._program = self._program, None
        self._count, self._lost = 0, ""
        self._history.clear()
        if program is not None:
            program.kill()

    def replay(self, timeout: float | str | None = DEFAULT) -> list[Execution]:
        """Restart, and run the cells of `history` again, until one does not succeed. ``timeout``: of each."""
        cells = self.history
        self.restart()
        made: list[Execution] = []
        for code in cells:
            made.append(self.run(code, timeout))
            if not made[-1].ok:
                break
        return made

    def remove(self) -> None:
        """End it, for good. Twice is fine."""
        self._removed = True  # first: who is just starting it looks at this when it is there
        program = self._program
        if program is not None and self._turn.locked():
            program.process.kill()
        with self._alone():
            self._end()
        self._remove(self)


def _code(code: object) -> bytes:
    if not isinstance(code, str):
        raise SpecError("code", code, "a str is needed")
    payload = code.encode("utf-8", "surrogatepass")
    if len(payload) > MOST_CODE:
        raise SpecError("code", code, f"a cell of more than {MOST_CODE} bytes: write it to a file of the box")
    return payload


def seconds_of(field: str, value: Any) -> float | None:
    """s, or None for no end; "500ms" is taken, too."""
    try:
        return pyjail.Limits(wall_time=value).wall_time
    except SpecError as e:
        raise SpecError(field, value, e.reason) from None
