"""`AsyncProcess`: a program whose streams are live, for event loops."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.fds import Fd
from pyjail._base.loops import Loop, current
from pyjail._base.records import replace
from pyjail._live import streams, used
from pyjail._live.communicate import to_bytes
from pyjail._live.process import Process, reap
from pyjail._result.result import Result
from pyjail._result.subprocess_errors import TimeoutExpired
from pyjail._result.undecoded import OutputDecodeError
from pyjail._run.turn import KILL_PATIENCE_S, Turn
from pyjail._verdict.outcome import undecoded
from pyjail.aio._flight import in_thread, reported
from pyjail.aio._reader import AsyncReader
from pyjail.aio._writer import AsyncWriter


class AsyncProcess:
    """A program in its jail, of one event loop. Use it in an ``async with`` statement, which always ends it.

    Attributes:
        args: as given. stdin: `AsyncWriter`; stdout, stderr: `AsyncReader`; None where there is no pipe.
        result: the `Result` once it has ended; before, None. limits: its `Limits`.
    """

    def __init__(self, process: Process, turn: Turn, fds: list[Fd]) -> None:
        self._command = command = turn.command
        self.args, self.limits = command.args, command.limits
        self._process, self._turn = process, turn
        self._watching = False
        self._others: list[Any] = []
        self._before: used.Used | None = None
        stdin, stdout, stderr = fds
        # Any: who asked for pipes need not ask whether they are there.
        self.stdin: AsyncWriter | Any = None if stdin.number < 0 else AsyncWriter(stdin, command.decode)
        self.stdout: AsyncReader | Any = None if stdout.number < 0 else AsyncReader(stdout, command.decode)
        self.stderr: AsyncReader | Any = None if stderr.number < 0 else AsyncReader(stderr, command.decode)

    def __repr__(self) -> str:
        return f"<Async{repr(self._process)[1:]}"

    @property
    def result(self) -> Result | Any:
        """The `Result` once `wait` or `poll` has told of its end."""
        return self._process.result

    @property
    def returncode(self) -> int | None:
        """None while it runs, as far as `poll` and `wait` have told."""
        return self._process.returncode

    def poll(self) -> int | None:
        """Its returncode when it has ended, else None. Raises what `wait` raises."""
        return None if self._watching else self._process.poll()

    async def wait(self, timeout: float | str | None = None) -> int:
        """Wait for its end: its returncode. Any number of tasks may wait. Cancelled, the program runs on.

        Args:
            timeout: s, or text such as "500ms"; 0 is a look.

        Raises:
            TimeoutExpired: it still runs after ``timeout`` s. ExecError: it could not be executed. SetupError.
        """
        loop = current()
        patience = units.patience(timeout)
        if not await self._wait(loop, patience, shield=False):
            raise TimeoutExpired(self.args, patience or 0.0)
        loop.checkpoint()
        return self._process.wait()

    async def _wait(self, loop: Loop, timeout: float | None, *, shield: bool) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while not self._process.ended:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not self._watching:
                return await self._watch(loop, left, shield)
            flag = loop.flag()
            self._others.append(flag)
            try:
                if not await loop.wait(flag, left, shield=shield):
                    return False
            finally:
                self._others.remove(flag)
        return True

    async def _watch(self, loop: Loop, seconds: float | None, shield: bool) -> bool:
        """Until its report is there. One task does so at a time; when it leaves, another one takes over."""
        self._watching = True
        try:
            if not await reported(loop, self._turn, seconds, shield=shield):
                return False
            await in_thread(loop, partial(_conclude, self._process))
            return True
        except GeneratorExit:  # the loop is closed: whoever ended the keeper before left its socket to us
            self._turn.abandon()
            self._turn.keeper.close()
            raise
        finally:
            self._watching = False
            for flag in self._others:
                flag.set()

    def used(self) -> used.Used:
        """What it has used until now: `Used`, with its memory and processes now, and its CPU time since this was called
        first. All None when it has ended."""
        if self._process.ended:
            return used.Used()
        now = used.read(self._leaves())
        self._before = self._before or now
        return used.since(self._before, now)

    def _leaves(self) -> Iterable[str]:
        return used.leaves(self._turn.keeper.cgroup.paths)

    def send_signal(self, number: int) -> None:
        """Send a signal to the program's main process. Nothing happens when it has ended, SIGKILL is `kill`."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM to the program's main process, which may catch it."""
        self._process.terminate()

    def kill(self) -> None:
        """End the program and everything it has started. `wait` then tells what happened."""
        self._process.kill()

    def resize(self, rows: int, columns: int) -> None:
        """Change the window of the terminal; the program gets SIGWINCH."""
        import termios

        if not self._command.terminal or self.stdout is None or self.stdout.closed:
            raise SpecError("pty", None, "this process has no terminal: start(..., pty=True)")
        termios.tcsetwinsize(self.stdout.fd, streams.window((rows, columns)))

    async def communicate(self, input: Any = None, timeout: float | str | None = None) -> tuple[Any, Any]:
        """Write ``input``, read all that it writes, wait: (stdout, stderr), as `subprocess.Popen.communicate`.

        Raises TimeoutExpired after ``timeout`` s; the program runs on, and what was read is still to be read. So it is
        when this is cancelled. With ``errors="strict"`` OutputDecodeError, which has the result, when it has ended.
        """
        data, patience = to_bytes(self._command.decode, self.stdin, input), units.patience(timeout)
        found: dict[AsyncReader, Any] = {}
        bytes_of: dict[AsyncReader, bytes] = {}

        async def collect(stream: AsyncReader) -> None:
            try:
                found[stream] = await stream.read()
            except Exception:
                if stream.undecodable is None:
                    raise
                bytes_of[stream] = await stream.rest()

        readers = [s for s in (self.stdout, self.stderr) if s is not None and not s.closed]
        try:
            await _within(patience, [partial(self._feed, data), self._finish, *(partial(collect, s) for s in readers)])
        except BaseException as e:
            for stream, text in found.items():
                stream.put_back(text)
            if isinstance(e, _Expired):
                raise TimeoutExpired(self.args, patience or 0.0, *map(_seen, (self.stdout, self.stderr))) from None
            raise
        self._process.wait()
        self.close()
        for stream in bytes_of:
            raise self._undecoded(stream.undecodable, {s: s.encoded(text) for s, text in found.items()} | bytes_of)
        out, err = (None if s is None else found.get(s, s.empty) for s in (self.stdout, self.stderr))
        return out, err

    def _undecoded(self, error: Any, output: dict[AsyncReader, bytes]) -> OutputDecodeError:
        out, err = (None if s is None else output.get(s, b"") for s in (self.stdout, self.stderr))
        return undecoded(replace(self._process.result, stdout=out, stderr=err), error)

    async def _feed(self, data: memoryview) -> None:
        if self.stdin is None or self.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self.stdin.put(data)
            await self.stdin.drain()
        if not self._command.terminal:  # there an end is something that is typed
            await self.stdin.close()

    async def _finish(self) -> None:
        await self._wait(current(), None, shield=False)

    def close(self) -> None:
        """Close its streams, at once. A program that reads stdin sees the end of it."""
        if self.stdin is not None:
            self.stdin.abort()
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    async def __aenter__(self) -> AsyncProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close stdin, wait, close the rest; after an exception or a cancellation, kill first."""
        if kind is not None and issubclass(kind, GeneratorExit):  # the loop is closed: nothing can be awaited
            self.close()
            end(self._process)
            return
        loop = current()
        told = kind is not None or self._process.ended
        try:
            if not told:
                await self._let_end()
        except GeneratorExit:
            self.close()
            end(self._process)
            raise
        except BaseException:
            await self._reap(loop)
            raise
        await self._reap(loop)
        loop.checkpoint()
        if not told:
            self._process.poll()  # raises what it could not be started for, as the sync block does

    async def _let_end(self) -> None:
        """Until it ends by itself: no more input, and its output goes nowhere."""

        async def discard(stream: AsyncReader) -> None:
            while await stream.raw():
                pass

        calls: list[Callable[[], Any]] = [self._finish]
        if self.stdin is not None and not self.stdin.busy:
            calls.append(partial(self._feed, memoryview(b"")))
        readers = [s for s in (self.stdout, self.stderr) if s is not None and not s.closed and not s.busy]
        await _within(None, [*calls, *(partial(discard, s) for s in readers)])

    async def _reap(self, loop: Loop) -> None:
        self.kill()
        if not await self._wait(loop, KILL_PATIENCE_S, shield=True):
            await in_thread(loop, self._turn.abandon)
        self.close()


class SessionProcess(AsyncProcess):
    """One in a session: a thread waits for its end, for others read the keeper's socket, too."""

    def __init__(self, process: Process, turn: Turn, fds: list[Fd]) -> None:
        super().__init__(process, turn, fds)
        self._flag: Any = None  # of the task that waits
        try:
            self._over = _over(partial(_conclude, process), self._tell)
        except OSError:
            end(process)
            raise

    def _tell(self) -> None:
        if self._flag is not None:
            self._flag.set()

    async def _watch(self, loop: Loop, seconds: float | None, shield: bool) -> bool:
        self._watching, self._flag = True, loop.flag()
        try:
            return self._over.is_set() or await loop.wait(self._flag, seconds, shield=shield)
        except GeneratorExit:
            self._process.kill()
            raise
        finally:
            self._watching = False
            for flag in self._others:
                flag.set()


class _Expired(Exception):
    """The time of `_within` is over."""


async def _within(seconds: float | None, calls: Sequence[Callable[[], Any]]) -> None:
    """Await all of them at once. `_Expired` after so many seconds: they have been cancelled."""
    done = current().flag()
    left = len(calls)

    async def one(call: Callable[[], Any]) -> None:
        nonlocal left
        await call()
        left -= 1
        if not left:
            done.set()

    async def expire() -> None:
        if not await current().wait(done, seconds):
            raise _Expired

    await current().together([*(partial(one, call) for call in calls), expire])


def _seen(stream: AsyncReader | None) -> Any:
    return None if stream is None else stream.waiting


def _conclude(process: Process) -> None:
    """Its error, if there is one, is told by `Process.wait`."""
    with contextlib.suppress(Exception):
        process.wait()


def _over(call: Callable[[], None], tell: Callable[[], None]) -> threading.Event:
    """Set when this call is done, in a thread of its own, which tells so then."""
    over = threading.Event()

    def work() -> None:
        try:
            call()
        finally:
            over.set()
            tell()

    try:
        threading.Thread(target=work, name="pyjail-aio-wait", daemon=True).start()
    except RuntimeError as e:
        raise OSError(errno.EAGAIN, f"{e}: raise RLIMIT_NPROC or the cgroup's pids.max") from None
    return over


def end(process: Process) -> None:
    """Kill it, and wait until it is gone. Waits in this thread."""
    process.kill()
    reap(process)
