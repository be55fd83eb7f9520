"""A cell: compiled, run in the one namespace that all cells share, its end told."""

from __future__ import annotations

import _ast
import _signal
import os
import sys

from .channel import Channel
from .values import Shower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

AST_ONLY, TOP_LEVEL_AWAIT, COROUTINE = 0x400, 0x2000, 0x80
ANNOTATIONS = 0x1000000  # of `from __future__ import annotations`, which holds for later cells, too


class Cells:
    """The cells of one interpreter."""

    def __init__(self, channel: Channel, shower: Shower, namespace: dict[str, Any]) -> None:
        self.channel, self.shower, self.namespace = channel, shower, namespace
        self.flags = TOP_LEVEL_AWAIT
        self.sources: dict[str, str] = {}
        self.handler: Any = self.interrupt  # of SIGINT while a cell runs: a cell may have set its own
        self.signalled = False

    def interrupt(self, number: int, frame: object) -> None:
        """What SIGINT does while a cell runs."""
        self.signalled = True
        raise KeyboardInterrupt

    def note(self, number: int, frame: object) -> None:
        """What SIGINT does while none does."""
        self.signalled = True

    def settle(self) -> None:
        """Wait for a signal that was sent to a cell which has just ended, so that it does not meet the next one."""
        import time

        for _ in range(500):
            if self.signalled:
                break
            time.sleep(0.001)

    def run(self, number: int, source: str) -> None:
        """Run one, and send how it ended."""
        error: BaseException | None = None
        self.signalled = False
        self.shower.begin()
        try:
            try:
                _signal.signal(_signal.SIGINT, self.handler)
                self.channel.send({"type": "begun"})  # from now on an interrupt is this cell's
                self.execute(f"<cell {number}>", source)
            finally:
                handler = _signal.getsignal(_signal.SIGINT)
                _signal.signal(_signal.SIGINT, self.note)
                self.handler = handler if callable(handler) and handler != self.note else self.interrupt
        except BaseException as e:  # an interrupt may come in the last step, too
            error = e
            _signal.signal(_signal.SIGINT, self.note)
        self.flush()
        if not self.channel.ours:
            leave(error)
        told = None
        if error is not None:
            from .raised import described

            told = described(error)
            error = None
        shower = self.shower
        self.channel.send(
            {
                "type": "done",
                "error": told,
                "dropped": [shower.dropped, shower.dropped_bytes],
                "signalled": self.signalled,
            }
        )

    def execute(self, name: str, source: str) -> None:
        """Run the statements, then show the last one when it is an expression; then the figures that are open."""
        body, last = self.compiled(name, source)
        if body is not None and last is not None and not (body.co_flags | last.co_flags) & COROUTINE:
            exec(body, self.namespace)  # noqa: S102 -- this is what it is for
            sys.displayhook(eval(last, self.namespace))  # noqa: S307
        else:
            value = self.evaluated([code for code in (body, last) if code is not None])
            if last is not None:
                sys.displayhook(value)
        if "matplotlib.pyplot" in sys.modules:
            from .figures import show_all

            show_all(self.shower.show)

    def evaluated(self, codes: list[CodeType]) -> Any:
        """What the last one gives; all of them in one task when one of them awaits something."""
        if any(code.co_flags & COROUTINE for code in codes):
            from .awaits import run

            return run(codes, self.namespace)
        value = None
        for code in codes:
            value = eval(code, self.namespace)  # noqa: S307
        return value

    def compiled(self, name: str, source: str) -> tuple[CodeType | None, CodeType | None]:
        """(its statements, its last expression); SyntaxError."""
        try:
            tree = compile(source, name, "exec", AST_ONLY | self.flags, True)
        except SyntaxError:
            if "!" not in source and "%" not in source:
                self.keep(name, source)
                raise
            from .shell import translated

            source = translated(source)
            self.keep(name, source)
            tree = compile(source, name, "exec", AST_ONLY | self.flags, True)
        self.keep(name, source)
        last = None
        if tree.body and isinstance(tree.body[-1], _ast.Expr) and not silenced(source, tree.body[-1]):
            expression = _ast.Expression(body=tree.body.pop().value)
            last = compile(expression, name, "eval", self.flags, True)
        body = compile(tree, name, "exec", self.flags, True) if tree.body else None
        for code in (body, last):
            self.flags |= code.co_flags & ANNOTATIONS if code is not None else 0
        return body, last

    def keep(self, name: str, source: str) -> None:
        """Its lines are there for tracebacks."""
        self.sources[name] = source
        linecache = sys.modules.get("linecache")
        if linecache is not None:
            remember(linecache, name, source)

    def flush(self) -> None:
        """What was printed is out before the end is told."""
        streams: list[Any] = [sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__]
        for stream in streams:
            try:  # noqa: SIM105 -- contextlib would be imported for this only
                stream.flush()
            except BaseException:  # noqa: S110 -- closed, or no stream at all: the cell's own doing
                pass


def remember(linecache: Any, name: str, source: str) -> None:
    """The lines of a cell, as a file that is nowhere."""
    lines = [line + "\n" for line in lines_of(source)]
    linecache.cache[name] = (len(source), None, lines, name)


def lines_of(source: str) -> list[str]:
    """Its lines as the compiler counts them."""
    return source.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def silenced(source: str, last: Any) -> bool:
    """Whether a semicolon follows the last expression, which says that its value is not wanted."""
    line = lines_of(source)[last.end_lineno - 1].encode("utf-8", "surrogatepass")
    return bytes(line[last.end_col_offset :]).lstrip().startswith(b";")


def leave(error: BaseException | None) -> None:
    """The end of a forked child that came out of its cell: there is nobody whom it could tell of it."""
    if error is not None and not isinstance(error, SystemExit):
        try:
            from .raised import described

            os.write(2, described(error)["traceback"].encode("utf-8", "replace"))
        except BaseException:  # noqa: S110 -- stderr is closed
            pass
    os._exit(0 if error is None else 1)
