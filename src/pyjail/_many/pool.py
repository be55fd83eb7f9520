"""`Pool`: a fixed number of warm keepers for the threads of one program."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pyjail._base.errors import SpecError
from pyjail._base.gate import Place, nobody, thread_waker, wait_in_turn
from pyjail._base.threads import Threads
from pyjail._many.warm import Warm, Warmed
from pyjail._result.result import Result
from pyjail._run import run as run_module
from pyjail._run.turn import deadline_of
from pyjail._spec import commands as spec_commands
from pyjail._spec.commands import OPTIONS, Command
from pyjail._spec.jail import Jail, Limits

if TYPE_CHECKING:
    from typing import Unpack, overload

    from pyjail._spec.parameters import (
        Args,
        AsBytes,
        AsText,
        Encoded,
        Options,
    )

CommandLike = Sequence[str | bytes | os.PathLike[str]] | Mapping[str, Any]


class Pool(Warmed):
    """At most ``size`` jails at once, served by keepers that are started ahead of time.

    Any number of threads may call `run`; who comes when all places are taken waits, and is served in the order of
    coming. A keeper that dies is replaced: its run, if the program had started, is a `Result` with verdict JAIL_ERROR.
    In a forked child the pool is an empty one of the same kind, with keepers of the child's own.

    Args:
        size: how many jails may run at once, 1 to 4096.
        jail: what is around the programs; default `Jail()`. With ``Jail(fresh=True)`` every run gets a new keeper, so
            none is kept warm and ``size`` is all that this does.
        limits: what a run may use that is not given its own; default `Limits()`. Warm keepers are ready for these.
        warm: keepers to start now; default ``size``. Others are started when they are needed: up to twice ``size`` in
            all, where runs come so closely, or under limits so different, that no armed one is there.
        idle_timeout: seconds after which a keeper that nobody used is ended; default 60, None: never.
        keep: how many stay nevertheless; default 1.
        pin: give each running jail a core of its own (one CPU; its hyper-threading siblings are left idle), which no
            other pinned pool of this process has. Default False.
        timeout: seconds that a run waits for its place, then `PoolExhaustedError`. Default None: as long as it takes.

    Raises:
        SpecError: an argument makes no sense. HostError: a control cannot be enforced here, or (``pin``) there are
        fewer cores than ``size``. SetupError, KeeperError: a keeper could not be made ready. OSError: this process is
        out of fds, threads or memory. Nothing is left when the constructor raises.

    >>> import pyjail
    >>> with pyjail.Pool(2, pyjail.Jail(hostname="judge")) as pool:
    ...     pool.run(["hostname"]).stdout
    ...     [r.stdout for r in pool.map([["echo", "1"], ["echo", "2"]])]
    b'judge\\n'
    [b'1\\n', b'2\\n']
    """

    def __init__(
        self,
        size: int,
        jail: Jail | None = None,
        *,
        limits: Limits | None = None,
        warm: int | None = None,
        idle_timeout: float | str | None = 60.0,
        keep: int = 1,
        pin: bool = False,
        timeout: float | str | None = None,
    ) -> None:
        self._warm = Warm(size, jail, limits, warm, idle_timeout, keep, pin, timeout)
        self._threads = Threads(size, "pyjail-pool")
        self._warm.begin()

    if TYPE_CHECKING:

        @overload
        def run(self, args: Args, limits: Limits | None = None, **options: Unpack[AsText]) -> Result[str]: ...
        @overload
        def run(self, args: Args, limits: Limits | None = None, **options: Unpack[Encoded]) -> Result[str]: ...
        @overload
        def run(self, args: Args, limits: Limits | None = None, **options: Unpack[AsBytes]) -> Result[bytes]: ...
        @overload
        def run(self, args: Args, limits: Limits | None = None, **options: Unpack[Options]) -> Result[Any]: ...

    def run(
        self,
        args: Args,
        limits: Limits | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """`pyjail.run` in this pool's jail, when a place is free.

        Args:
            timeout: the caller's own patience in seconds, from now: the wait for a place is in it.
            (The others are those of `pyjail.run`; ``limits`` defaults to the pool's.)

        Raises:
            PoolExhaustedError (also `TimeoutExpired`, TimeoutError): no place within the patience; nothing was started.
            PoolClosedError: the pool is closed. Otherwise as `pyjail.run`.
        """
        check = options.pop("check", False)
        return self._execute(self._command(args, limits, options), check)

    def map(
        self,
        commands: Iterable[CommandLike],
        limits: Limits | None = None,
        *,
        buffersize: int | None = None,
        **options: Any,
    ) -> Iterator[Result]:
        """Run many commands, ``size`` at a time; their results in the order of the commands.

        The first ones are started now. From then on a command is taken from ``commands`` when a result is taken from
        the iterator, so an endless iterable is fine.

        Args:
            commands: each a sequence of arguments, or a mapping of parameters of `run` for this one alone
                (``{"args": ["cat"], "input": b"x"}``).
            limits, options: parameters of `run` for all of them.
            buffersize: how many commands may be taken before their results are; default twice the pool's size.

        Raises:
            What `run` raises, when that result's turn has come; commands behind it that wait are cancelled.

        >>> import pyjail
        >>> with pyjail.Pool(2) as pool:
        ...     [r.exit_code for r in pool.map(({"args": ["sh"], "input": b"exit %d" % i} for i in range(3)))]
        [0, 1, 2]
        """
        if buffersize is None:
            buffersize = 2 * self.size
        elif isinstance(buffersize, bool) or not isinstance(buffersize, int) or buffersize < 1:
            raise SpecError("buffersize", buffersize, "a number of commands from 1 on is needed")
        return in_order(lambda command: self._submit(*parameters(command, limits, options)), commands, buffersize)

    def close(self) -> None:
        """Take no more runs, wait for those that were asked for, end all keepers. May be called twice."""
        self._end("this pool is closed", kill=False)

    def terminate(self) -> None:
        """End all keepers now: programs that run are killed and their verdict is JAIL_ERROR; who waits gets
        `PoolClosedError`, a command of `map` that was not started `concurrent.futures.CancelledError`."""
        self._end("this pool was terminated", kill=True)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """`close`; `terminate` when the block is left by an exception."""
        if kind is None:
            self.close()
        else:
            self.terminate()

    # ---- inside ----

    def _command(self, args: Any, limits: Limits | None, options: Mapping[str, Any]) -> Command:
        warm = self._warm
        chosen = warm.limits if limits is None else limits
        command = spec_commands.make(args, chosen, warm.jail, **options)
        warm.check(command)
        return command

    def _execute(self, command: Command, check: bool) -> Result:
        warm = self._warm
        deadline = deadline_of(command)
        place = Place(warm.gate, nobody)
        try:
            if not warm.gate.enter_now(place):
                wait_in_turn(place, lambda: warm.patience(deadline))
            warm.look_after()
            result = run_module.execute(warm.fitted(command, place), warm.keepers, deadline)
        finally:
            place.leave()
        if check:
            result.check_returncode()
        return result

    def _submit(self, args: Any, limits: Any, options: dict[str, Any]) -> Future[Result]:
        """`run` in a thread of the pool; SpecError now."""
        check = options.pop("check", False)
        return self._threads.submit(self._execute, self._command(args, limits, options), check)

    def _end(self, why: str, kill: bool) -> None:
        self._threads.shutdown(wait=not kill, cancel_futures=kill)
        self._finish(why, kill)

    def _finish(self, why: str, kill: bool = False) -> None:
        warm = self._warm
        wake, wait = thread_waker()
        warm.gate.close(why, refuse=kill)
        if kill:
            warm.end(why)
        warm.gate.when_empty(wake)
        wait(None)
        warm.end(why)


def parameters(
    command: CommandLike, limits: Limits | None, options: Mapping[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """(args, limits, the other parameters of `run`) of one command and what holds for all."""
    given = dict(options)
    args: Any = command
    if isinstance(command, Mapping):
        given.update(command)
        if "args" not in command:
            raise SpecError("commands", command, 'a mapping needs "args"')
        args, limits = given.pop("args"), given.pop("limits", limits)
    wrong = next((name for name in given if name not in OPTIONS and name != "check"), None)
    if wrong is not None:
        known = ", ".join(("args", "limits", *OPTIONS, "check"))
        raise SpecError(str(wrong), given[wrong], f"no parameter of this run(); there are {known}")
    return args, limits, given


def in_order(
    submit: Callable[[CommandLike], Future[Result]], commands: Iterable[CommandLike], buffersize: int | None
) -> Iterator[Result]:
    """The results of all commands. At most ``buffersize`` of them are submitted before their results are taken."""
    try:
        source = iter(commands)
    except TypeError:
        raise SpecError("commands", commands, "an iterable of commands is needed") from None
    futures: deque[Future[Result]] = deque()

    def fill() -> None:
        nonlocal source
        while buffersize is None or len(futures) < buffersize:
            try:
                futures.append(submit(next(source)))
            except StopIteration:
                return
            except Exception as e:  # told when its turn has come: those before it are fine
                source = iter(())
                failed: Future[Result] = Future()
                failed.set_exception(e)
                futures.append(failed)

    def results() -> Iterator[Result]:
        try:
            while futures:
                result = futures.popleft().result()
                fill()
                yield result
        finally:
            for future in futures:
                future.cancel()

    fill()
    return results()
