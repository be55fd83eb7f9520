"""`run`: one command through plan, keeper, facts and verdict to a `Result`."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Mapping, Sequence

from pyjail import _cgroup, _command, _idle, _lazy, _outcome, _prepare, _verdict, _wire
from pyjail._command import Command
from pyjail._errors import HostError, JailError, KeeperError, SetupError
from pyjail._fds import memfd
from pyjail._idle import Idle
from pyjail._keeper import Keeper, Lease
from pyjail._native import lib
from pyjail._plan import RunLimits
from pyjail._prepare import Plan
from pyjail._result import Result
from pyjail._spare import spares
from pyjail._spec import Jail, Limits
from pyjail._talk import Gone, Late
from pyjail._wire import Failure, parse_reply, parse_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Unpack, overload

    from pyjail._parameters import Args, AsBytes, AsText, Encoded, Options

KILL_PATIENCE_S = 10.0
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
    command = _command.make(
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


_CGROUP_STEPS = ("cgroup", "cgroup_enter")


def execute(command: Command, keepers: Idle = idle, deadline: float | None = None) -> Result:
    """The whole way of one validated command. ``deadline``: when its timeout has begun already."""
    if deadline is None and command.timeout is not None:
        deadline = deadline_of(command)
    looked = False
    lease: Lease = []
    try:
        while True:
            try:
                plan = _prepare.prepare(command)
                keeper = ready(plan, command, keepers, lease) or start(plan, command, keepers, lease)
                try:
                    outcome = begin(keeper, command, plan) or (
                        conclude(keeper, command, plan.run)
                        if deadline is None
                        else await_report(keeper, command, plan.run, deadline)
                    )
                except IdleDeath:
                    forsake(keeper, keepers)
                    continue
                return settle(keeper, command, outcome, keepers)
            except (SetupError, HostError) as e:
                if looked or not outdated(e):
                    raise
            _prepare.look_again()
            looked = True
    except BaseException:
        keepers.abandon(lease)
        raise


def deadline_of(command: Command) -> float | None:
    """When the caller's patience ends, if it begins now."""
    if command.timeout is None:
        return None
    load_errors()
    return time.monotonic() + command.timeout


def load_errors() -> None:
    """What may be raised: when it is, there may be no fd left to load it with."""
    with _lazy.lock:
        from pyjail import _expired

    del _expired


def outdated(e: SetupError | HostError) -> bool:
    """Somebody took a controller or a directory away since we looked; nothing was started: `look_again`, once more."""
    return e.step in _CGROUP_STEPS if isinstance(e, SetupError) else e.control == "cgroup"


# ---- the parts of a keeper's turn, shared with the event loops (_flight.py) ----

# What it comes to: the result or what to raise, and whether the keeper can serve again.
Outcome = tuple[Result | BaseException, bool]


def ready(plan: Plan, command: Command, keepers: Idle, lease: Lease) -> Keeper | None:
    """A warm keeper that may serve this command, in ``lease``. Never waits."""
    return None if command.attach is not None else keepers.ready(plan.template, plan.run, lease)


def start(plan: Plan, command: Command, keepers: Idle, lease: Lease) -> Keeper:
    """A new keeper, in ``lease``: some milliseconds, in which the command is packed."""
    return keepers.start(plan.template, plan.host, command.attach, meanwhile=lambda: plan.blob, lease=lease)


def start_armed(command: Command, keepers: Idle) -> Keeper:
    """A new keeper, leased, with a jail for the command's limits made: ready to start a program at once."""
    plan = _prepare.prepare(command)
    lease: Lease = []
    try:
        keeper = start(plan, command, keepers, lease)
        failure = arm(keeper, plan.blob)
        if failure is not None:
            raise _outcome.failed(failure, plan.template, plan.run, command)
        keeper.armed, keeper.served = plan.run, True
    except Gone:
        keepers.abandon(lease)
        raise KeeperError("a new keeper died while it made ready: killed from outside?") from None
    except BaseException:
        keepers.abandon(lease)
        raise
    return keeper


def forsake(keeper: Keeper, keepers: Idle) -> None:
    """It died while it had no work: nothing was started, so the caller starts over."""
    closed = keeper.ended  # by `close`, in another thread
    keepers.drop(keeper)
    if not keeper.served and not closed:
        raise KeeperError("a new keeper died before the program started: killed from outside?") from None


def usable(command: Command, outcome: Outcome) -> bool:
    """Whether the keeper that brought this outcome may serve again."""
    result, reusable = outcome
    return (
        reusable
        and not command.jail.fresh
        and not (isinstance(result, SetupError) and result.step in _CGROUP_STEPS)
    )  # fmt: skip


def settle(keeper: Keeper, command: Command, outcome: Outcome, keepers: Idle) -> Result:
    """Give the keeper back, or end it; return or raise what came out."""
    put_away(keeper, command, outcome, keepers)
    result, _ = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def put_away(keeper: Keeper, command: Command, outcome: Outcome, keepers: Idle) -> None:
    """Give the keeper back, or end it."""
    keeper.served = True
    _, reusable = outcome
    keeper.let_go()
    if usable(command, outcome):
        keepers.give(keeper)
    elif command.jail.fresh and command.attach is None and reusable:
        spares.replace(keeper, keepers, lambda: start_armed(_true(command), keepers))
    else:
        keepers.drop(keeper)


def _true(like: Command) -> Command:
    """A command of nothing, in the same jail under the same limits."""
    return _command.make(["true"], like.limits, like.jail)


class IdleDeath(Exception):
    """The keeper was dead before it could start anything."""


def begin(keeper: Keeper, command: Command, plan: Plan) -> Outcome | None:
    """Start the program; None: its report is to come. Waits for the keeper only when there are files to write."""
    try:
        if command.input is None and not command.files:
            keeper.submit(lib.OP_RUN, plan.blob, command.fds)
        else:
            outcome = _begin_with_files(keeper, command, plan)
            if outcome is not None:
                return outcome
    except Gone:
        raise IdleDeath from None
    if keeper.served:
        _outcome.load()
    else:
        _outcome.memory_total()  # as `load` has it
    return None


def _begin_with_files(keeper: Keeper, command: Command, plan: Plan) -> Outcome | None:
    if command.files:
        failure = arm(keeper, plan.blob)
        if failure is not None:
            return _not_started(keeper, command, plan.run, failure), True
        try:
            with _lazy.lock:
                from pyjail import _files

            _files.write_inputs(keeper, command.files)
        except (JailError, OSError) as e:
            keeper.send(lib.OP_RELEASE)
            return e, True
    if command.input is None:
        keeper.submit(lib.OP_RUN, plan.blob, command.fds)
    else:
        with memfd("pyjail-stdin", command.input, seal=True) as stdin:
            keeper.submit(lib.OP_RUN, plan.blob, (stdin.number, *command.fds))
    return None


def arm(keeper: Keeper, blob: bytes) -> Failure | None:
    """Have the command's jail made, and no program started. `Gone` when the keeper is."""
    keeper.armed = None
    keeper.submit(lib.OP_ARM, blob)
    keeper.sock.settimeout(None)
    return parse_reply(keeper.answer(keeper.turn)[0])[1]


def _not_started(keeper: Keeper, command: Command, run_part: RunLimits, failure: Any) -> Result | BaseException:
    """A failure before there was a program: MEMORY when memory was the reason, else an exception."""
    facts = _wire.not_started(failure)
    if _verdict.starved(facts, run_part, _outcome.memory_total()):
        return _outcome.result(keeper, command, run_part, facts, b"", b"", None)
    return _outcome.failed(failure, keeper.template, run_part, command)


def await_report(keeper: Keeper, command: Command, run_part: RunLimits, deadline: float | None) -> Outcome:
    """`conclude`, or the end of the run when the caller's patience ends."""
    try:
        return conclude(
            keeper, command, run_part, None if deadline is None else max(0.001, deadline - time.monotonic())
        )
    except Late:
        with _lazy.lock:
            from pyjail._expired import expired

        return expired(keeper, command)


def conclude(keeper: Keeper, command: Command, run_part: RunLimits, patience: float | None = None) -> Outcome:
    """Receive the report, or learn of the keeper's death. `Late` after ``patience`` s: the run goes on."""
    try:
        raw = keeper.receive(patience)
    except Gone:
        return unreported(keeper, command)
    return read(keeper, command, run_part, raw)


def unreported(keeper: Keeper, command: Command) -> Outcome:
    """It has hung up: `IdleDeath`, or what that means for the program that it had started."""
    if not keeper.started:
        raise IdleDeath from None
    return _outcome.lost(keeper, command), False


def read(keeper: Keeper, command: Command, run_part: RunLimits, raw: bytes) -> Outcome:
    """What this report says."""
    if raw[0] != lib.REPLY_REPORT:
        kind, failure = parse_reply(raw)
        if failure is None:
            return KeeperError(f"the keeper answered {kind} where a report was due"), False
        return _not_started(keeper, command, run_part, failure), True
    facts = parse_report(raw)
    keeper.stuck = facts.left
    kept, more = facts.out_kept
    out = keeper.output(0, kept) if kept else b""
    err = keeper.output(1, more) if more else b""
    collected = None
    if command.collect:
        keeper.holds = True
        with _lazy.lock:
            from pyjail import _files

        try:
            collected = _files.Collector(keeper, command.collect, command.limits).run()
        except Gone:
            return _outcome.lost(keeper, command), False
    keeper.armed = run_part
    if facts.failure is not None and not _verdict.starved(facts, run_part, _outcome.memory_total()):
        return _outcome.failed(facts.failure, keeper.template, run_part, command), True
    return _outcome.result(keeper, command, run_part, facts, out, err, collected), not facts.left


def _exit() -> None:
    """Interpreter exit: other threads must not start over what is being taken down."""
    _idle.shut_all()
    _cgroup.remove_all(for_good=True)


def close() -> None:
    """End all warm keepers of this process, those of pools too, and remove their cgroups. The next run starts new ones.

    Called at interpreter exit by itself; call it before dropping privileges or moving to another cgroup.
    """
    spares.rest()
    _idle.close_all()
    _cgroup.remove_all()


def _after_fork() -> None:
    _idle.forget_all()
    _cgroup.forget()
    _prepare.look_again()


atexit.register(_exit)
os.register_at_fork(after_in_child=_after_fork)
