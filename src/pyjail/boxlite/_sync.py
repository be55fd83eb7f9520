"""The same without ``await``: twins of the awaitable classes, by one wrapper.

They wait in the caller's thread; what they wait for runs on an event loop in a thread of its own, one for the process.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Self

from pyjail.boxlite._box import Box
from pyjail.boxlite._codebox import CodeBox
from pyjail.boxlite._execution import ExecStdin, ExecStdout, Execution
from pyjail.boxlite._runtime import Boxlite
from pyjail.boxlite._simplebox import SimpleBox
from pyjail.boxlite._snapshots import SnapshotHandle

_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _loops.clear()


os.register_at_fork(after_in_child=_forget)  # the thread is the parent's


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if not _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="pyjail-boxlite", daemon=True).start()
            _loops.append(loop)
        return _loops[0]


def wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it returns or raises. When the waiting is interrupted it is cancelled, and has ended when this raises."""
    future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except CancelledError:
        raise
    except BaseException:
        if not future.done():
            ended = threading.Event()
            future.add_done_callback(lambda _: ended.set())
            future.cancel()
            ended.wait()
        raise


def _blocking(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def method(self: Twin, *args: Any, **kwargs: Any) -> Any:
        given = [arg._of if isinstance(arg, Twin) else arg for arg in args]
        found = getattr(self._of, call.__name__)(*given, **kwargs)
        return _twin(wait(found) if inspect.iscoroutine(found) else found)

    return method


def _property(name: str, doc: str | None) -> property:
    return property(lambda self: _twin(getattr(self._of, name)), doc=doc)


def _public(kind: type) -> Iterator[str]:
    return (name for name in dir(kind) if not name.startswith("_"))


class Twin:
    """An object of a class whose methods are awaited, with methods that wait."""

    _kind: type = object

    def __init_subclass__(cls, of: type | None = None) -> None:
        if of is None:
            return
        cls._kind = of
        setattr(cls, "__signature__", inspect.signature(of))  # noqa: B010 - which type checkers do not know
        _TWINS[of] = cls
        for name in _public(of):
            if name in vars(cls):
                continue
            value = inspect.getattr_static(of, name)
            if isinstance(value, property):
                setattr(cls, name, _property(name, value.__doc__))
            elif inspect.isfunction(value):
                setattr(cls, name, _blocking(value))

    def __init__(self, *args: Any, runtime: Any = None, **kwargs: Any) -> None:
        if runtime is not None:
            kwargs["runtime"] = runtime._of if isinstance(runtime, Twin) else runtime
        self._of: Any = self._kind(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _twin(getattr(self._of, name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._of!r}>"

    def __enter__(self) -> Self:
        wait(self._of.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        wait(self._of.__aexit__(*error))


_TWINS: dict[type, type[Twin]] = {}


def _twin(value: Any) -> Any:
    """The twin of an object that has one; of a tuple, of what is in it."""
    kind = _TWINS.get(type(value))
    if kind is not None:
        made = kind.__new__(kind)
        made._of = value
        return made
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_twin, value))
    return value


class SyncExecStdin(Twin, of=ExecStdin):
    """`ExecStdin` without ``await``."""


class SyncExecStdout(Twin, of=ExecStdout):
    """`ExecStdout` for ``for``."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            return str(wait(self._of.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None


SyncExecStderr = SyncExecStdout


class SyncExecution(Twin, of=Execution):
    """`Execution` without ``await``."""


class SyncSnapshotHandle(Twin, of=SnapshotHandle):
    """`SnapshotHandle` without ``await``."""


class SyncBox(Twin, of=Box):
    """`Box` without ``await``."""


class SyncSimpleBox(Twin, of=SimpleBox):
    """`SimpleBox` without ``await``: the same parameters and methods.

    >>> with SyncSimpleBox(image="python:slim") as box:
    ...     box.exec("echo", "hello").stdout
    'hello\\n'
    """


class SyncCodeBox(Twin, of=CodeBox):
    """`CodeBox` without ``await``: the same parameters and methods.

    >>> with SyncCodeBox() as box:
    ...     box.run("print(6 * 7)")
    '42\\n'
    """


class SyncBoxlite(Twin, of=Boxlite):
    """`Boxlite` without ``await``. ``with`` and `start` are for what is written so; `stop` leaves its boxes alone."""

    @staticmethod
    def default() -> SyncBoxlite:
        """The runtime of this process that is used where none is given."""
        made: SyncBoxlite = _twin(Boxlite.default())
        return made

    @staticmethod
    def init_default(options: Any) -> None:
        """As `Boxlite.init_default`."""
        Boxlite.init_default(options)

    @staticmethod
    def rest(options: Any) -> Any:
        """UnsupportedError."""
        return Boxlite.rest(options)

    def start(self) -> Self:
        """Itself."""
        return self

    def stop(self) -> None:
        """Nothing: each box is stopped by itself, or by `shutdown`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()
