"""`JailExecutor`: a `concurrent.futures.Executor` whose calls are commands in jails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from pyjail._base.errors import SpecError
from pyjail._many.pool import (
    CommandLike,
    Pool,
    in_order,
    parameters,
)
from pyjail._result.result import Result
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


class JailExecutor(Executor):
    """A `Pool` as a `concurrent.futures.Executor`: commands go in, futures of `Result` come out.

    Everything that takes futures works: `as_completed`, `wait`, callbacks, `asyncio.wrap_future`. As with every
    executor a future that runs cannot be cancelled (its limits end it), one that waits can; and the interpreter exits
    when what was submitted is done, unless `shutdown` or `terminate` said otherwise. A future that was submitted
    before `os.fork` ends in the child with `PoolClosedError`.

    Args:
        size: how many jails may run at once; default: the CPUs that this process may use.
        max_workers: another name for ``size``, the one that other executors have.
        jail, limits, warm, idle_timeout, keep, pin: as for `Pool`.

    Raises:
        As `Pool`.

    >>> import pyjail
    >>> from concurrent.futures import as_completed
    >>> with pyjail.JailExecutor(2) as executor:
    ...     futures = [executor.submit(["sh", "-c", f"exit {n}"]) for n in range(3)]
    ...     sorted(future.result().exit_code for future in as_completed(futures))
    [0, 1, 2]
    """

    def __init__(
        self,
        size: int | None = None,
        jail: Jail | None = None,
        *,
        max_workers: int | None = None,
        limits: Limits | None = None,
        warm: int | None = None,
        idle_timeout: float | str | None = 60.0,
        keep: int = 1,
        pin: bool = False,
    ) -> None:
        if size is not None and max_workers is not None:
            raise SpecError("max_workers", max_workers, "the same as size: give one of them")
        if size is None:
            size = max_workers if max_workers is not None else len(os.sched_getaffinity(0))
        self._pool = Pool(size, jail, limits=limits, warm=warm, idle_timeout=idle_timeout, keep=keep, pin=pin)

    def __repr__(self) -> str:
        return f"<pyjail.JailExecutor{repr(self._pool).partition('Pool')[2]}"

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def submit(
            self, args: Args, limits: Limits | None = None, /, **options: Unpack[AsText]
        ) -> Future[Result[str]]: ...
        @overload
        def submit(
            self, args: Args, limits: Limits | None = None, /, **options: Unpack[Encoded]
        ) -> Future[Result[str]]: ...
        @overload
        def submit(
            self, args: Args, limits: Limits | None = None, /, **options: Unpack[AsBytes]
        ) -> Future[Result[bytes]]: ...
        @overload
        def submit(
            self, args: Args, limits: Limits | None = None, /, **options: Unpack[Options]
        ) -> Future[Result[Any]]: ...

    def submit(
        self, args: Sequence[str | bytes | os.PathLike[str]], limits: Limits | None = None, /, **options: Any
    ) -> Future[Result]:
        """Run a command as soon as there is a place; commands are started in the order of submission.

        Args:
            args, limits, options: the parameters of `pyjail.run`, but for ``jail``.

        Returns:
            A future of what `pyjail.run` returns or raises.

        Raises:
            SpecError: an argument makes no sense. PoolClosedError (also RuntimeError): after `shutdown`. OSError: this
            process cannot have as many threads as the executor has places.
        """
        if "limits" in options:
            limits = options.pop("limits")
        return self._pool._submit(*parameters(args, limits, options))

    def map(  # type: ignore[override]
        self,
        commands: Iterable[CommandLike],
        limits: Limits | None = None,
        *,
        buffersize: int | None = None,
        **options: Any,
    ) -> Iterator[Result]:
        """As `Pool.map`, but all commands are submitted now, unless ``buffersize`` bounds them."""
        if buffersize is not None:
            return self._pool.map(commands, limits, buffersize=buffersize, **options)
        return in_order(lambda command: self._pool._submit(*parameters(command, limits, options)), commands, None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more commands; the keepers end with the last one.

        Args:
            wait: return when all that was submitted is done. Default True.
            cancel_futures: cancel what was not started yet. Default False.
        """
        end = partial(self._pool._finish, "this executor is shut down")
        self._pool._threads.shutdown(wait=wait, cancel_futures=cancel_futures, when_done=end)

    def terminate(self) -> None:
        """Cancel what was not started, kill what runs (its futures have results with verdict JAIL_ERROR)."""
        self._pool.terminate()
