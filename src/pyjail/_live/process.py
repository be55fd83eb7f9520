"""`start`: a program whose streams are live while it runs."""

from __future__ import annotations

import contextlib
import io
import signal as signals
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pyjail._base import units
from pyjail._base.errors import KeeperError, SpecError
from pyjail._keeper.keeper import to_end
from pyjail._keeper.talk import Gone
from pyjail._live.streams import (
    Streams,
    file,
    taken,
    window,
)
from pyjail._result.result import Result
from pyjail._result.subprocess_errors import TimeoutExpired
from pyjail._run import run
from pyjail._run.attempts import IdleDeath, killed
from pyjail._run.turn import KILL_PATIENCE_S, Turn
from pyjail._spec.jail import Jail, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from pyjail._live.communicate import Conversation
    from pyjail._spec.parameters import Args, Live


def start(
    args: Args,
    limits: Limits | None = None,
    *,
    jail: Jail | None = None,
    pty: bool | tuple[int, int] = False,
    **options: Unpack[Live],
) -> Process:
    """Start a program in a jail and talk to it while it runs; all limits hold meanwhile.

    Args:
        args, limits, jail, env, cwd, files, collect, text, encoding, errors, universal_newlines: as in `run`.
        stdin, stdout, stderr: `PIPE` (the default) makes a live file of `Process`; else a file, an fd or `DEVNULL`;
            ``stderr=STDOUT`` merges. What is behind live streams is the caller's to bound: ``limits.output`` is of
            captured ones.
        pty: True or (rows, columns): all three are one new terminal, `Process.terminal`; 24 x 80 by default. It is the
            program's controlling terminal: ^C that you write reaches it as SIGINT.

    Returns:
        A `Process`. That the program cannot be executed is told by its `Process.wait`.

    Raises: what `run` raises before a program starts.

    >>> import pyjail
    >>> with pyjail.start(["cat"], text=True) as p:
    ...     _ = p.stdin.write("hello\\n")
    ...     p.stdin.flush()
    ...     p.stdout.readline()
    'hello\\n'
    >>> p.result.verdict
    <Verdict.OK: 'ok'>
    """
    streams = taken(options, pty)
    try:
        command = streams.command(args, limits, jail, options)
        return launch(Turn(command, run.idle), streams)
    except BaseException:
        streams.close()
        raise


def launch(turn: Turn, streams: Streams) -> Process:
    """Start its program. When that fails nothing is left of the turn; the streams stay the caller's."""

    def way() -> Process:
        turn.open()
        return begin(turn, streams)

    return turn.attempted(way)


def begin(turn: Turn, streams: Streams) -> Process:
    """Start its program; raise what it was not started for."""
    turn.begin()
    if turn.outcome is not None and isinstance(turn.outcome[0], BaseException):
        turn.end()  # raises it
    streams.give_up()
    return Process(turn, streams)


def reap(process: Process) -> None:
    """Wait until it is gone, as long as that takes at most when it has been killed; then without it."""
    with contextlib.suppress(Exception):
        process.wait(KILL_PATIENCE_S)
    if not process.ended:
        process._abandon()


def _forgotten(abandon: Callable[[], object]) -> None:
    """Nobody has it any more. An interrupt of this is nobody's: what it has stopped is done all the same, now or by the
    next run."""

    def end() -> None:
        abandon()

    to_end[abandon] = end
    try:
        end()
    except BaseException:
        end()
        raise
    to_end.pop(abandon, None)


class Process:
    """A program in its jail. Use it in a ``with`` statement, or `wait` for it: what is not waited for is ended when
    this object goes.

    Attributes:
        args: as given. stdin, stdout, stderr: live files (of bytes, unbuffered for reading what is there by
            ``.read1()``; of str with ``text=True``), or None. terminal: with ``pty=``, one file for both directions.
        result: the `Result`, once it has ended; before, None.
    """

    def __init__(self, turn: Turn, streams: Streams) -> None:
        command = turn.command
        self.args = command.args
        self.limits = command.limits
        self.result: Result | Any = None  # Any: who looks when it has ended need not ask whether it is there
        self._turn = turn
        self._error: BaseException | None = None
        self._conversation: Conversation | None = None
        self._waiting = threading.Lock()
        self._abandon = weakref.finalize(self, _forgotten, turn.finaliser())
        self._abandon.atexit = False  # then all keepers end anyway
        self.stdin = file(streams.ours[0], "w", command)
        self.stdout = file(streams.ours[1], "r", command)
        self.stderr = file(streams.ours[2], "r", command)
        tty = streams.terminal
        self.terminal: io.FileIO | Any = tty.hand_over(io.FileIO, "r+") if tty.number >= 0 else None
        if turn.outcome is not None:
            self._settle()

    def _settle(self) -> None:
        """Its end is known; only then its keeper goes: an interrupt of that loses neither."""
        result = self._turn.read()
        if isinstance(result, IdleDeath):
            self._error = killed()
        elif isinstance(result, BaseException):
            self._error = result
        else:
            self.result = result
        try:
            self._turn.put_away()
        except BaseException:
            self._abandon()
            raise
        self._abandon.detach()

    @property
    def ended(self) -> bool:
        """Whether its end is known, by `poll` or `wait`."""
        return self.result is not None or self._error is not None

    @property
    def returncode(self) -> int | None:
        """None while it runs, as far as `poll` and `wait` have told."""
        return None if self.result is None else self.result.returncode

    def poll(self) -> int | None:
        """Its returncode when it has ended, else None. Raises what `wait` raises."""
        self._look(0.0)
        if self._error is not None:
            raise self._error
        return self.returncode

    def wait(self, timeout: float | str | None = None) -> int:
        """Wait for its end: its returncode, as in `subprocess.Popen.wait`; `result` tells more.

        Args:
            timeout: s, or text such as "500ms"; 0 is a look.

        Raises:
            TimeoutExpired: it still runs after ``timeout`` s. ExecError: it could not be executed. SetupError.
        """
        patience = units.patience(timeout)
        if not self._look(patience):
            raise TimeoutExpired(self.args, patience or 0.0)
        if self._error is not None:
            raise self._error
        assert self.result is not None
        return self.result.returncode

    def _look(self, timeout: float | None) -> bool:
        """Whether its end is known, by then. Interrupted at any step, it can be asked again."""
        if self.ended:
            return True
        if not self._turn.ours:
            raise KeeperError("this process belongs to the process that was forked from")
        end = None if timeout is None else time.monotonic() + max(0.0, timeout)
        held: list[bool] = []  # filled by C alone: an interrupt must not leave the lock held and nobody who knows
        try:
            held.extend(map(self._waiting.acquire, (True,), (-1 if timeout is None else max(0.0, timeout),)))
            if held[0] and not self.ended and self._turn.wait(None if end is None else end - time.monotonic()):
                self._settle()
            return self.ended
        finally:
            if held and held[0]:
                self._waiting.release()

    def send_signal(self, number: int) -> None:
        """Send a signal to the program's main process. Nothing happens when it has ended, SIGKILL is `kill`."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 64:
            raise SpecError("signal", number, "a number from 1 to 64")
        if number == signals.SIGKILL:
            self.kill()
        elif not self.ended:
            with contextlib.suppress(Gone):
                self._turn.signal(int(number))

    def terminate(self) -> None:
        """Send SIGTERM to the program's main process, which may catch it."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """End the program and everything it has started. `wait` then tells what happened."""
        if not self.ended:
            with contextlib.suppress(Gone):
                self._turn.kill()

    def resize(self, rows: int, columns: int) -> None:
        """Change the window of the terminal; the program gets SIGWINCH."""
        import termios

        if self.terminal is None:
            raise SpecError("pty", None, "this process has no terminal: start(..., pty=True)")
        termios.tcsetwinsize(self.terminal.fileno(), window((rows, columns)))

    def communicate(self, input: Any = None, timeout: float | str | None = None) -> tuple[Any, Any]:
        """Write ``input``, read all that it writes, wait: (stdout, stderr), as `subprocess.Popen.communicate`.

        Raises TimeoutExpired after ``timeout`` s, with what was read. The program still runs then; called again without
        ``input``, or with the same, this goes on where it was, and returns all from the first byte. What a text stream
        has read ahead, when you have read from it before, is in that stream only. OutputDecodeError, which has the
        result, with ``errors="strict"``.
        """
        from pyjail._live.communicate import Conversation, communicate, outputs

        patience = units.patience(timeout)
        end = None if patience is None else time.monotonic() + patience
        talk = self._conversation
        if talk is None:
            talk = Conversation(self.stdin, (self.stdout, self.stderr), self._turn.command.decode, input)
            self._conversation = talk
        else:
            talk.check(input)
        if not communicate(talk, end) or not self._look(None if end is None else end - time.monotonic()):
            raise TimeoutExpired(self.args, patience or 0.0, *talk.so_far())
        self.wait()  # raises what it could not be started for
        self.close()
        return outputs(talk, self.result)

    def close(self) -> None:
        """Close its streams. A program that reads stdin sees the end of it."""
        for stream in (self.stdin, self.stdout, self.stderr, self.terminal):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):  # what is still buffered, and nobody reads
                    stream.close()

    def __repr__(self) -> str:
        from pyjail._base.brief import short

        end = "running" if not self.ended else self._error if self.result is None else self.result.verdict.value
        return f"<Process {short(self.args)}: {end}>"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Close stdin, wait, close the rest; after an exception, kill first. What nobody has read is not kept."""
        if not self._turn.ours:  # a forked child leaves the block: it is the parent's
            self.close()
            return
        if kind is not None:
            self.kill()
        if self.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self.stdin.close()
        if kind is None and not self.ended:
            try:
                from pyjail._live.communicate import discard

                discard(self.stdout, self.stderr)
                self.wait()
            except BaseException:
                self.kill()
                reap(self)
                raise
        reap(self)
        self.close()
