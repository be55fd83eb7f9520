"""`run`: one command from a caller's words to its `Result`, and the keepers that all of this process share."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence

from pyjail._base import lazy
from pyjail._cgroups import tree
from pyjail._keeper import store
from pyjail._keeper.store import Idle
from pyjail._plan import prepare
from pyjail._result.result import Result
from pyjail._run.turn import Turn, load_errors
from pyjail._spec import commands
from pyjail._spec.commands import Command
from pyjail._spec.jail import Jail, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Unpack, overload

    from pyjail._spec.parameters import (
        Args,
        AsBytes,
        AsText,
        Encoded,
        Options,
    )

idle = Idle()


if TYPE_CHECKING:

    @overload
    def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[AsText]
    ) -> Result[str]: ...
    @overload
    def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Encoded]
    ) -> Result[str]: ...
    @overload
    def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[AsBytes]
    ) -> Result[bytes]: ...
    @overload
    def run(
        args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Options]
    ) -> Result[Any]: ...


def run(
    args: Sequence[str | bytes | os.PathLike[str]],
    limits: Limits | None = None,
    *,
    jail: Jail | None = None,
    input: bytes | str | None = None,
    stdin: object = None,
    stdout: object = None,
    stderr: object = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    files: Mapping[str, object] | None = None,
    collect: Sequence[str] = (),
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    check: bool = False,
    timeout: float | str | None = None,
    universal_newlines: bool | None = None,
    capture_output: bool | None = None,
) -> Result:
    """Run an untrusted program in a jail and tell exactly what happened.

    Args:
        args: the program and its arguments; never a shell string. A name without a slash is looked up in the
            jail's own PATH.
        limits: what it may use; default `Limits()`.
        jail: what is around it; default `Jail()`.
        input: bytes (str with ``text=True``) for its stdin. Default: empty, never the caller's terminal.
        stdin, stdout, stderr: a file, an fd, or `DEVNULL`; stdout and stderr are captured by default;
            ``stderr=STDOUT`` merges in order. The program has all that the fd's open mode allows; a terminal is
            refused unless it is a `Terminal`.
        env: the whole environment, instead of ``jail.env``; nothing is inherited.
        cwd: inside the jail; default /box.
        files: {relative path: bytes | str | PathLike (also of a directory) | File} written into /box first.
        collect: patterns (``**`` recurses) of regular files to read back from /box.
        text, encoding, errors: decode stdout and stderr as `subprocess` does, but that bytes which are no text are
            replaced by default: a program decides what it writes. ``errors="strict"`` raises.
        check: raise `JailedProcessError` unless the verdict is OK.
        timeout: the caller's own patience in seconds; then `TimeoutExpired`. (``limits.wall_time`` gives a verdict.)
        universal_newlines: another word for ``text``. capture_output: True, in other words the default.

    Returns:
        A `Result`, to type checkers a ``Result[bytes]``, with ``text`` or ``encoding`` a ``Result[str]``. A limit that
        was exceeded is a verdict, never an exception.

    Raises:
        SpecError: an argument makes no sense. HostError: a control cannot be enforced here (``jail.strict``).
        ExecError (also FileNotFoundError, PermissionError by errno): the program could not be executed.
        SetupError, KeeperError: the jail could not be built. OSError: this process is out of fds or memory.
        OutputDecodeError (also UnicodeDecodeError): with ``errors="strict"`` alone; it has the result.

    >>> import pyjail
    >>> pyjail.run(["echo", "hello"]).stdout
    b'hello\\n'
    """
    command = commands.make(
        args, limits, jail, input=input, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, files=files,
        collect=collect, text=text, encoding=encoding, errors=errors, timeout=timeout,
        universal_newlines=universal_newlines, capture_output=capture_output,
    )  # fmt: skip
    if check:
        load_errors()
    result = execute(command)
    if check:
        result.check_returncode()
    return result


def execute(command: Command, keepers: Idle = idle, deadline: float | None = None) -> Result:
    """The whole way of one validated command; ``deadline`` as `Turn` has it."""
    turn = Turn(command, keepers, deadline)
    return turn.attempted(turn.run)


def _exit() -> None:
    """Interpreter exit: other threads must not start over what is being taken down."""
    store.shut_all()
    tree.remove_all(for_good=True)


def close() -> None:
    """End all warm keepers of this process, those of pools too, their cgroups and proxy. The next run starts new ones.

    Called at interpreter exit by itself; call it before dropping privileges or moving to another cgroup.
    """
    with lazy.lock:
        from pyjail._base import endings

    store.close_all()
    endings.end_all()
    tree.remove_all()


def _after_fork() -> None:
    store.forget_all()
    tree.forget()
    prepare.look_again()


atexit.register(_exit)
os.register_at_fork(after_in_child=_after_fork)
