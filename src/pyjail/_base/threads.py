"""Threads for calls that wait: started all at once or not at all, and what they owe is known after a fork."""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pyjail._base.rare_errors import PoolClosedError

START_S = 60.0


class Threads:
    """``size`` threads that take calls in the order of `submit`. They are started by the first one."""

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self.owed: set[Future[Any]] = set()
        self._reset()
        _all[id(self)] = self

    def _reset(self) -> None:
        self.owner = os.getpid()
        self.lock = threading.RLock()
        self.executor: ThreadPoolExecutor | None = None
        self.closed = False
        self.when_done: Callable[[], object] | None = None

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Raises OSError when this process cannot have so many threads, PoolClosedError after `shutdown`."""
        with self.lock:
            if self.closed:
                raise PoolClosedError("cannot take new commands after shutdown: make another pool")
            try:
                if self.executor is None:
                    self.executor = _started(self.size, self.name)
                future = self.executor.submit(call, *args)
            except RuntimeError as e:  # the interpreter is shutting down
                raise PoolClosedError(f"no new commands: {e}") from e
            self.owed.add(future)
        future.add_done_callback(self._paid)
        return future

    def _paid(self, future: Future[Any]) -> None:
        with self.lock:
            self.owed.discard(future)
            last = self._take_last()
        last()

    def _take_last(self) -> Callable[[], object]:
        if self.owed or not self.closed or self.when_done is None:
            return _nothing
        last, self.when_done = self.when_done, None
        return last

    def shutdown(
        self, *, wait: bool, cancel_futures: bool = False, when_done: Callable[[], object] | None = None
    ) -> None:
        """As `concurrent.futures.Executor.shutdown`. ``when_done()`` is called when the last call has ended."""
        with self.lock:
            self.closed = True
            executor = self.executor
            self.when_done = when_done or self.when_done
        if executor is not None:
            executor.shutdown(wait=wait, cancel_futures=cancel_futures)
        with self.lock:
            last = self._take_last()
        last()

    def forget(self) -> None:
        """After os.fork, in the child: there are no threads here, so nobody would ever answer."""
        closed, owed, parent = self.closed, self.owed, self.owner
        self.owed = set()
        self._reset()
        self.closed = closed
        for future in owed:
            Future.__init__(future)  # its lock may have been held by a thread that is not here
            future.set_exception(
                PoolClosedError(f"submitted before this process was forked: process {parent} gets the result")
            )


def _nothing() -> None:
    return None


def _started(size: int, name: str) -> ThreadPoolExecutor:
    """All threads run before any gets work: one that cannot be started later would leave its call in the queue."""
    executor = ThreadPoolExecutor(size, thread_name_prefix=name)
    here = threading.Barrier(size + 1)
    try:
        for _ in range(size):
            executor.submit(_wait, here)
        here.wait(START_S)
    except BaseException as e:
        here.abort()
        executor.shutdown(wait=False, cancel_futures=True)
        if isinstance(e, RuntimeError) and "start new thread" in str(e):
            fix = f"a smaller size than {size}, or raise RLIMIT_NPROC, pids.max or RLIMIT_AS of this process"
            raise OSError(errno.EAGAIN, f"{size} threads are needed, and this process may not start them: {fix}") from e
        raise
    return executor


def _wait(here: threading.Barrier) -> None:
    try:
        here.wait(START_S)
    except threading.BrokenBarrierError:
        return


_all: weakref.WeakValueDictionary[int, Threads] = weakref.WeakValueDictionary()


def _forget_all() -> None:
    for ref in _all.valuerefs():
        threads = ref()
        if threads is not None:
            threads.forget()


os.register_at_fork(after_in_child=_forget_all)
