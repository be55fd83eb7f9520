"""`Interpreter`: cells of Python in a jail that remember each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from pyjail import Box, Jail, KeeperError, Limits, SpecError
from pyjail.interpreter import _packages, _sent
from pyjail.interpreter._context import Bounds, Context, seconds_of
from pyjail.interpreter._heard import Callback
from pyjail.interpreter._program import Program
from pyjail.interpreter._records import Execution

LIMITS = Limits(cpu_time=None, wall_time=None, memory="512M")
FIGURES = ("png", "svg", "pdf", "jpeg")


class Interpreter:
    """Python in a jail, one cell after the other: what a cell defines is there for the next one.

    A cell's last expression is its result, in every form that the value has (a DataFrame as text and HTML, a figure of
    matplotlib as PNG); `await` works at the top level; `input` raises EOFError. What comes back is data: nothing from
    inside is unpickled or run. See docs/interpreter.md.

    Args:
        jail: as of `Box`. limits: of the interpreter, its whole life long; default: 512 MiB of memory, no end of time.
            A ``cpu_time`` or ``wall_time`` that is met ends it, and its state with it: for a cell there is ``timeout``.
        box: a `Box` to work in, which stays the caller's; else a new one, with ``disk`` bytes, that `close` ends.
        packages: wheels that cells can import, as pip names them: ["numpy==2.1"]. Resolved on this machine, no source,
            into a directory that all interpreters share and none can write to (docs/interpreter.md).
        wheelhouse: a directory with wheels: ``pip install`` inside, and ``packages``, take them from there alone.
        cwd, env: of the interpreter; ``env`` is added to the jail's.
        timeout: of cells that are given none, in s or as "500ms"; None: none. Default 300.
        grace: s that an interrupted cell is given before its interpreter is killed. Default 2.
        figures: what figures of matplotlib become: of "png", "svg", "pdf", "jpeg". Default ("png",).
        python: the interpreter, inside the jail. Default: the jail's own, else this one; python3 of a rootfs or image.
        max_output: bytes kept of a cell's stdout, and of its stderr. Default 16 MiB. max_result: bytes of one result,
            1 MiB. max_results: of all results of a cell, 16 MiB. What is cut is told: `Execution.cut`, `Display.cut`.

    Use it in a ``with`` statement, or `close` it. It starts with the first cell, or with `start`.

    Raises:
        SpecError: an argument makes no sense, or ``packages`` cannot be had as wheels. Others come from `run`.

    >>> import pyjail
    >>> with pyjail.Interpreter() as python:
    ...     _ = python.run("import math; r = 2")
    ...     python.run("print('area'); math.pi * r ** 2")
    <Execution [2] ok, text='12.566370614359172'>
    """

    def __init__(
        self,
        jail: Jail | None = None,
        limits: Limits | None = None,
        *,
        box: Box | None = None,
        packages: Sequence[str] = (),
        wheelhouse: str | os.PathLike[str] | None = None,
        cwd: str = "/box",
        env: Mapping[str, str] | None = None,
        timeout: float | str | None = 300.0,
        grace: float | str = 2.0,
        figures: Sequence[str] = ("png",),
        python: str | None = None,
        disk: int | str = "256M",
        max_output: int | str = "16M",
        max_result: int | str = "1M",
        max_results: int | str = "16M",
    ) -> None:
        if box is not None and (jail is not None or packages or wheelhouse is not None):
            given = "jail" if jail is not None else "packages" if packages else "wheelhouse"
            raise SpecError(given, "...", "the box is there already: Box(pyjail.interpreter.with_packages(jail, ...))")
        for name, value, kind in (("jail", jail, Jail), ("limits", limits, Limits), ("box", box, Box)):
            if value is not None and not isinstance(value, kind):
                raise SpecError(name, value, f"a pyjail.{kind.__name__} is needed")
        if env is not None and not isinstance(env, Mapping):
            raise SpecError("env", env, "a mapping of names to values is needed")
        if isinstance(figures, str) or not all(name in FIGURES for name in figures):
            raise SpecError("figures", figures, f"some of {', '.join(FIGURES)} are needed, in a tuple")
        self._limits = limits or LIMITS
        self._box, self._own = box, box is None
        furnished = partial(_packages.furnished, jail or Jail(), _packages.requirements(packages), wheelhouse, python)
        self._furnished, self._disk = furnished, disk
        self._python, self._cwd, self._env = python, cwd, dict(env or {})
        sizes = {"max_output": max_output, "max_result": max_result, "max_results": max_results}
        bytes_of = [_size(name, value) for name, value in sizes.items()]
        self._bounds = Bounds(bytes_of[0], bytes_of[1], bytes_of[2], tuple(figures))
        patience = seconds_of("grace", grace)
        if patience is None:
            raise SpecError("grace", grace, "seconds are needed: a cell may ignore its interrupt")
        self._times = seconds_of("timeout", timeout), patience
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._closed = False
        self._made = 0
        self._contexts: list[Context] = []
        self._default = self.create_context()

    # ---- cells ----

    def run(
        self,
        code: str,
        timeout: float | str | None = "default",
        *,
        context: Context | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        on_result: Callback | None = None,
    ) -> Execution:
        """Run a cell and wait for it.

        Args:
            code: Python. Lines ``!command`` and ``%pip install x`` work as in a notebook.
            timeout: s of the clock; then it is interrupted (KeyboardInterrupt, its state is kept), and killed with its
                interpreter when that does not end it. Default: the interpreter's.
            context: one of `create_context`; default: the interpreter's own.
            on_stdout, on_stderr: called with each piece of text when it comes, whoever wrote it: children, too.
            on_result: called with each `Display` when it comes. What a callback raises interrupts the cell, and is
                raised here.

        Returns:
            An `Execution`. Whatever the cell does is told there: exceptions, limits, that it ended the interpreter.

        Raises:
            SpecError: an argument makes no sense. KeeperError: closed; or the jail failed, not the cell. What
            `Box.start` raises: HostError, SetupError, ExecError.

        >>> import pyjail
        >>> with pyjail.Interpreter() as python:
        ...     python.run("1 / 0").error.name
        'ZeroDivisionError'
        """
        where = self._default if context is None else context
        return where.run(code, timeout, on_stdout=on_stdout, on_stderr=on_stderr, on_result=on_result)

    def start(self) -> None:
        """Start it now: the first cell then need not. Raises what `run` raises."""
        self._default.start()

    def interrupt(self) -> None:
        """Interrupt the cell that runs, from another thread; `Context.interrupt` has more."""
        self._default.interrupt()

    def restart(self) -> None:
        """Start anew, without any state; /box stays. A cell that runs is waited for: `interrupt` it first.

        >>> import pyjail
        >>> with pyjail.Interpreter() as python:
        ...     _ = python.run("x = 1")
        ...     python.restart()
        ...     python.run("x").error.value
        "name 'x' is not defined"
        """
        self._default.restart()

    @property
    def history(self) -> tuple[str, ...]:
        """The cells that have succeeded, in order: also those whose state is lost, but none before a `restart`."""
        return self._default.history

    def replay(self, timeout: float | str | None = "default") -> list[Execution]:
        """Restart, and run the cells of `history` again, until one does not succeed: state that was lost comes back.

        >>> import pyjail
        >>> with pyjail.Interpreter() as python:
        ...     _ = python.run("x = 1")
        ...     _ = python.run("import os; os._exit(1)")
        ...     _ = python.replay()
        ...     python.run("x").text
        '1'
        """
        return self._default.replay(timeout)

    # ---- contexts ----

    @property
    def contexts(self) -> tuple[Context, ...]:
        """Those that there are; the first is the interpreter's own, unless it was removed."""
        return tuple(self._contexts)

    def create_context(self, cwd: str | None = None, env: Mapping[str, str] | None = None) -> Context:
        """Another interpreter over the same box: its own process and its own state, the same files.

        >>> import pyjail
        >>> with pyjail.Interpreter() as python:
        ...     other = python.create_context()
        ...     _ = python.run("x = 1"), other.run("x = 2")
        ...     python.run("x").text, other.run("x").text
        ('1', '2')
        """
        if env is not None and not isinstance(env, Mapping):
            raise SpecError("env", env, "a mapping of names to values is needed")
        with self._lock:
            self._check()
            start = partial(self._start, self._cwd if cwd is None else cwd, {**self._env, **(env or {})})
            made = Context(self._made, start, self._bounds, self._times, self._removed)
            self._made += 1
            self._contexts.append(made)
        return made

    def _removed(self, context: Context) -> None:
        with self._lock:
            if context in self._contexts:
                self._contexts.remove(context)

    def _start(self, cwd: str, env: Mapping[str, str]) -> Program:
        box, bounds = self.box, self._bounds
        whole = {**box.jail.env, "MPLBACKEND": "agg", "MPLCONFIGDIR": "/tmp/matplotlib", **env}
        paths = (_packages.INSTALLED,) if "PIP_TARGET" in whole else ()
        greeting = _sent.greeting(bounds.result, bounds.results, bounds.figures, paths)
        args = [_packages.interpreter(box.jail, self._python), "-c", _sent.START]
        start = partial(box.start, args, self._limits, cwd=cwd, env=whole)
        return Program(start, greeting, bounds.result, bounds.results)

    # ---- the box ----

    @property
    def box(self) -> Box:
        """The `Box` that it works in: ``box.write``, ``box.read``, ``box.run``. It is made when it is first used."""
        with self._making:
            self._check()
            if self._box is None:
                self._box = Box(self._furnished(), self._limits, disk=self._disk)
            return self._box

    def _check(self) -> None:
        if self._closed:
            raise KeeperError("this interpreter is closed: make another one")

    def close(self) -> None:
        """End all contexts, and the box when it is the interpreter's own. Twice is fine."""
        self._closed = True
        for context in self.contexts:
            context.remove()
        with self._making:
            if self._own and self._box is not None:
                self._box.close()

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._contexts)} contexts" if len(self._contexts) != 1 else "open"
        return f"<Interpreter: {state}>"


def with_packages(
    jail: Jail | None = None,
    packages: Sequence[str] = (),
    wheelhouse: str | os.PathLike[str] | None = None,
    *,
    python: str | None = None,
) -> Jail:
    """A jail like this one, whose Python can import these packages: what ``Interpreter(packages=...)`` works in.

    Args:
        jail: default `Jail()`. packages, wheelhouse, python: as of `Interpreter`.

    Raises:
        SpecError: ``packages`` cannot be had as wheels; nothing of them was run.

    >>> import pyjail
    >>> pyjail.interpreter.with_packages() == pyjail.Jail()
    True
    """
    if jail is not None and not isinstance(jail, Jail):
        raise SpecError("jail", jail, "a pyjail.Jail is needed")
    return _packages.furnished(jail or Jail(), _packages.requirements(packages), wheelhouse, python)


def _size(field: str, value: Any) -> int:
    try:
        size = Limits(output=value).output
    except SpecError as e:
        raise SpecError(field, value, e.reason) from None
    if size is None:
        raise SpecError(field, value, "bytes are needed: what comes from inside has to have an end")
    return size
